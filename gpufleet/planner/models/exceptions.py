"""What a quantised checkpoint stores otherwise than the rest: parts left in 16 bits, and parts in another format.

Owns the many keys under which publishers say it (`ignore`, `modules_to_not_convert`, `dynamic`, `quantized_layers`…) and
the reading of module names and patterns. Imported only for checkpoints with a quantization_config.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gpufleet.planner.models.storage import KEPT, Exceptional, format_of, named_format

_IGNORED = (
    "ignore", "modules_to_not_convert", "exclude_modules", "exclude", "ignored_layers", "llm_int8_skip_modules",
    "skip_modules", "modules_not_to_convert",
)  # fmt: skip
_IN_A_LAYER = frozenset({"attention", "mlp", "experts", "shared_experts", "state"})
_WORDS: tuple[tuple[str, frozenset[str]], ...] = (
    # Of several words in a name the first one here decides: an expert's gate_proj is an expert's.
    (r"lm_head|output_layer|embed_out", frozenset({"head"})),
    (r"embed|wte", frozenset({"embedding"})),
    (r"mtp|nextn|eh_proj", frozenset()),
    (r"shared_expert_gate|router|\bgate(?=$|[.*$])", frozenset({"router"})),
    (r"shared_expert|shared_mlp", frozenset({"shared_experts"})),
    (r"expert", frozenset({"experts"})),
    (r"linear_attn|mamba|conv1d|mixer\.(in|out)_proj|ssm|\bA_log|delta", frozenset({"state"})),
    (r"attn|attention|[qkvo]_proj|qkv|[qkv]_[ab]_proj|kv_[ab]", frozenset({"attention"})),
    (r"mlp|feed_forward|ffn|(gate|up|down)_proj|fc[12]\b|\bw[123]\b", frozenset({"mlp"})),
)
_ENCODERS = r"visual|vision|merger|projector|audio|speech|image|mm_"
_LAYERS = re.compile(r"(?:layers?|blocks?|h)[.\[(]+(\d+(?:\|\d+)*)")


def read_exceptions(quantized: Mapping[str, Any]) -> tuple[Exceptional, ...]:
    """All of them, the first that names a part decides. Entries that name no part are passed over, and those for single
    layers are put together."""
    merged: dict[tuple[frozenset[str], str, int], Exceptional] = {}
    for rule in (*_ignored(quantized), *_by_group(quantized), *_by_module(quantized)):
        key = (rule.parts, rule.format, rule.group)
        before = merged.get(key, rule).layers
        both = None if before is None or rule.layers is None else before | rule.layers
        merged[key] = rule._replace(layers=both)
    return tuple(rule for rule in merged.values() if rule.parts)


def _rule(name: str, stored: str, group: int = 0) -> Exceptional:
    """What a module's name, or a pattern of names, stands for."""
    plain = name.removeprefix("re:").replace("\\", "")
    layers = _LAYERS.search(plain)
    within = plain[layers.end() :] if layers else plain
    if re.search(_ENCODERS, plain):  # whose layers have numbers of their own
        return Exceptional(parts=frozenset({"vision", "audio"}), layers=None, format=stored, group=group)
    parts = next((parts for words, parts in _WORDS if re.search(words, within)), None)
    if parts is None:
        parts = _IN_A_LAYER if layers else frozenset()
    held = frozenset(int(i) for i in layers[1].split("|")) if layers else None
    return Exceptional(parts=parts, layers=held, format=stored, group=group)


def _names(value: Any) -> Iterator[str]:
    for name in value if isinstance(value, list | tuple) else ():
        if isinstance(name, str):
            yield name


def _ignored(quantized: Mapping[str, Any]) -> Iterator[Exceptional]:
    for key in _IGNORED:
        for name in _names(quantized.get(key)):
            yield _rule(name, KEPT)
    dynamic = quantized.get("dynamic")  # GPTQModel: "-:" leaves a module alone, "+:" or nothing changes its bits
    for name, changed in dynamic.items() if isinstance(dynamic, Mapping) else ():
        if str(name).startswith("-:"):
            yield _rule(str(name)[2:], KEPT)
        elif isinstance(changed, Mapping) and (stored := format_of(changed)):
            yield _rule(str(name).removeprefix("+:"), stored, _group(changed))


def _by_group(quantized: Mapping[str, Any]) -> Iterator[Exceptional]:
    """compressed-tensors: further groups with targets of their own."""
    groups = quantized.get("config_groups")
    for group in list(groups.values())[1:] if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        stored = format_of(weights) if isinstance(weights, Mapping) else None
        for name in _names(group.get("targets")) if stored else ():
            yield _rule(name, stored or KEPT, _group(weights or {}))


def _by_module(quantized: Mapping[str, Any]) -> Iterator[Exceptional]:
    """AutoRound and Model Optimizer: formats of single modules; Quark: of patterns of them."""
    for key in ("extra_config", "quantized_layers", "layer_quant_config"):
        modules = quantized.get(key)
        for name, own in modules.items() if isinstance(modules, Mapping) else ():
            if not isinstance(own, Mapping):
                continue
            bits, algorithm = own.get("bits"), own.get("quant_algo")
            stored = named_format(str(algorithm)) if algorithm else format_of(own)
            if isinstance(bits, int) and bits >= 16:
                stored = KEPT
            if stored:
                yield _rule(str(name), stored, _group(own))


def _group(own: Mapping[str, Any]) -> int:
    size = own.get("group_size")
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else 0
