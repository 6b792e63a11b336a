"""The parts of a model from the header of its files: every tensor with its own type and shape.

Owns which part a tensor belongs to, how many parameters a packed one stands for, and what contradicts the config beside
it. Leaves the reading of files to `stacks.headers`, and layers and cache to the config. Imported only where a document
names weight files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gpufleet.planner.models.fields import MOST_PARAMETERS, fail, whole
from gpufleet.planner.models.gguf import TYPES
from gpufleet.planner.models.parts import Part, Place, Role
from gpufleet.planner.models.storage import KEPT
from gpufleet.planner.precision import PRECISIONS

if TYPE_CHECKING:
    from gpufleet.planner.architecture import Architecture

_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F4": 0.5, "F6_E2M3": 0.75, "F6_E3M2": 0.75,
}  # fmt: skip
_NAMES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_PLAIN = frozenset({"F64", *_NAMES})
"""Types that a server makes its own type of while it loads them."""
_SCALES = re.compile(
    r"(scales?|scale_inv|weight_scale(_2|_inv)?|input_scale|qzeros|zeros|g_idx|weight_zero_point|weight_shape|absmax|"
    r"quant_map|quant_state\S*|nested_\S+|SCB|weight_format|weight_g_idx|[kv]_scale|[kv]_zero_point|blocks_scale)$"
)
_SKIPPED = re.compile(r"rotary_emb|inv_freq|rope_freqs|masked_bias|attn\.bias$|position_ids")
_NEXT_TOKENS = re.compile(r"(^|\.)(mtp|nextn|eh_proj|enorm|hnorm|shared_head)\b")


class _Kind(NamedTuple):
    """What the name of a tensor says: its part, what is fused with it, its role, and how GPUs share it."""

    pattern: re.Pattern[str]
    name: str
    slot: str
    role: Role
    share: str = "split"


def _kind(pattern: str, name: str, slot: str, role: Role, share: str = "split") -> _Kind:
    return _Kind(re.compile(pattern), name, slot, role, share)


_KINDS = (
    _kind(r"visual|vision|merger|projector|mm_|image_newline|^v\.", "vision", "", "vision"),
    _kind(r"audio|speech|^a\.", "audio", "", "vision"),
    _kind(r"embed_tokens_per_layer|per_layer_token_embd", "embedding", "per_layer", "embedding"),
    _kind(r"(embed_tokens|wte|word_embeddings|token_embd|tok_embeddings|embed_in|embeddings)\.weight$", "embedding", "", "embedding"),
    _kind(r"(^|\.)(lm_head|embed_out)\.|^output\.weight$|output_layer\.weight$", "head", "", "head"),
    _kind(r"router|(mlp|moe|feed_forward)\.gate\.|ffn_gate_inp|exp_probs_b", "router", "", "kept", "whole"),
    _kind(r"shared_experts?\.|_shexp|shared_mlp", "shared_experts", "", "linear"),
    _kind(r"experts\S*\.(down_proj|w2)|down_exps|output_linear", "experts", "down", "expert"),
    _kind(r"experts|_exps", "experts", "up", "expert"),
    _kind(r"(kv_a_proj_with_mqa|q_a_proj|attn_kv_a_mqa|attn_q_a|indexer\S*)", "attention", "low_rank", "linear", "whole"),
    _kind(r"(kv_b_proj|attn_[kv]_b|attn_kv_b)", "attention", "kv_b", "linear"),
    _kind(r"(q_b_proj|attn_q_b)", "attention", "q_b", "linear"),
    _kind(r"linear_attn|mamba|mixer|ssm_|conv1d|short_?conv", "state", "", "linear"),
    _kind(r"(qkv_proj|query_key_value|c_attn|Wqkv|attn_qkv)", "attention", "qkv", "linear", "fused"),
    _kind(r"(k_proj|v_proj|attn_k|attn_v)", "attention", "qkv", "linear", "kv"),
    _kind(r"(q_proj|attn_q)", "attention", "qkv", "linear"),
    _kind(r"(o_proj|attn_output|attention\.dense|attn\.c_proj|out_proj)", "attention", "out", "linear"),
    _kind(r"(down_proj|ffn_down|c_proj|fc2|dense_4h_to_h|w2)", "mlp", "down", "linear"),
    _kind(r"(gate|up|c_fc|fc1|dense_h_to_4h|w1|w3)", "mlp", "up", "linear"),
)  # fmt: skip
_OTHER = _kind("", "other", "", "linear", "whole")


class _Tensor(NamedTuple):
    """A row of a folded header."""

    name: str
    type: str
    shape: tuple[int, ...]
    layers: tuple[int, ...]
    each: int
    bytes_each: float

    @property
    def values(self) -> int:
        return math.prod(self.shape)


class Held(NamedTuple):
    """What files hold: the parts that a server loads, the parameters of all tensors, the bytes of all of them, and in
    which format most are stored, where only the tensors tell (GGUF)."""

    parts: tuple[Part, ...]
    checkpoint_parameters: int
    file_bytes: int
    format: str | None
    method: str | None


def read_files(rows: Any, model: Architecture) -> Held:
    """The parts that a folded header names (`stacks.headers`), for a model of this config.

    Raises RequirementError at `model.architecture` for rows that are none, and for files that hold another model.
    """
    tensors = [_tensor(row) for row in rows] if isinstance(rows, list) else []
    if not tensors:
        fail("", "the files hold no tensor", allowed="a model's safetensors or GGUF files")
    _check(tensors, model)
    held = _parts(tensors, model)
    total = sum(_parameters(t, model) * t.each * len(t.layers) for t in tensors if not _is_scale(t))
    if total > MOST_PARAMETERS:
        fail("tensors", "hold more parameters than any model has", given=total, allowed=f"up to {MOST_PARAMETERS:,}")
    file_bytes = math.ceil(sum(t.bytes_each * t.each * len(t.layers) for t in tensors))
    stored = None if _is_quantized(model) else _format(tensors)
    method = "gguf" if stored and PRECISIONS[stored].is_quantized else None
    return Held(held, total, file_bytes, stored, method)


def _is_quantized(model: Architecture) -> bool:
    return model.checkpoint_format is not None and PRECISIONS[model.checkpoint_format].is_quantized


def _tensor(row: Any) -> _Tensor:
    if not isinstance(row, list | tuple) or len(row) != 5:
        fail("tensors", "must be rows of name, type, shape, layers and number", given=str(row)[:80])
    name, kind, shape, layers, each = row
    sizes = tuple(whole(n, "tensors.shape", most=1 << 40) for n in shape)
    values = math.prod(sizes)
    if isinstance(kind, int):
        if kind not in TYPES:
            fail("tensors", "has a type that is not known", given=f"{name}: {kind}", allowed="the types of GGUF")
        named, block, size = TYPES[kind]
        if sizes and sizes[0] % block:
            fail("tensors", f"has rows that are no whole blocks of {block}", given=f"{name}: {list(sizes)}")
        return _Tensor(str(name), named, sizes, tuple(layers), int(each), values / block * size)
    if kind not in _BYTES:
        fail("tensors", "has a type that is not known", given=f"{name}: {kind}", allowed=", ".join(_BYTES))
    return _Tensor(str(name), str(kind), sizes, tuple(layers), int(each), values * _BYTES[kind])


def _check(tensors: list[_Tensor], model: Architecture) -> None:
    """The embedding and the layers must be those of the config."""
    embedding = next((t for t in tensors if _kind_of(t.name).name == "embedding" and len(t.shape) == 2), None)
    if embedding is not None and model.hidden_size not in embedding.shape and embedding.type in _BYTES:
        fail(
            "hidden_size", f"contradicts the files, whose embedding has the shape {list(embedding.shape)}",
            given=model.hidden_size, allowed="the config.json that was published with the files",
        )  # fmt: skip
    numbered = {
        n for t in tensors for n in t.layers if n >= 0 and _kind_of(t.name).name in ("attention", "mlp", "experts")
    }
    missing = sorted(set(range(model.num_hidden_layers)) - numbered)
    if numbered and missing:
        fail(
            "num_hidden_layers", f"is {model.num_hidden_layers}, but the files lack layer {missing[0]}",
            given=model.num_hidden_layers, allowed="all files of the model", next_step="download the files that are missing",
        )  # fmt: skip


def _kind_of(name: str) -> _Kind:
    return next((kind for kind in _KINDS if kind.pattern.search(name)), _OTHER)


def _is_scale(tensor: _Tensor) -> bool:
    return bool(_SCALES.search(tensor.name))


def _is_loaded(tensor: _Tensor, model: Architecture) -> bool:
    if _SKIPPED.search(tensor.name) or _NEXT_TOKENS.search(tensor.name):
        return False
    return not (model.tie_word_embeddings and _kind_of(tensor.name).name == "head")


def _parameters(tensor: _Tensor, model: Architecture) -> int:
    """What a packed tensor stands for: eight or four weights in an I32, two in a byte."""
    if model.checkpoint_format in ("int4", "nvfp4", "mxfp4") and tensor.type in ("I32", "U32", "U8", "I8"):
        return round(tensor.values * _BYTES[tensor.type] * 2)
    if model.checkpoint_format == "int8" and tensor.type in ("I32", "U32"):
        return tensor.values * 4
    return tensor.values


class _Sum(NamedTuple):
    """Tensors that a server fuses, of one layer."""

    split: int = 0
    kv: int = 0
    whole: int = 0
    bytes: float = 0.0
    is_plain: bool = True


def _parts(tensors: list[_Tensor], model: Architecture) -> tuple[Part, ...]:
    sums: dict[tuple[_Kind, int, bool], _Sum] = {}
    for tensor in tensors:
        if not _is_loaded(tensor, model):
            continue
        kind = _kind_of(tensor.name)
        is_vector = len(tensor.shape) < 2 and not _is_scale(tensor)
        for layer in tensor.layers:
            if layer < model.num_hidden_layers or kind.role == "vision":
                at = -1 if kind.role in ("vision", "embedding", "head") else layer
                key = (kind, at, is_vector and kind.role not in ("vision",))
                sums[key] = _added(sums.get(key, _Sum()), tensor, kind, model, is_vector=is_vector)
    return tuple(_alike(sums, model))


def _added(total: _Sum, tensor: _Tensor, kind: _Kind, model: Architecture, *, is_vector: bool) -> _Sum:
    size = tensor.bytes_each * tensor.each
    if _is_scale(tensor):
        dropped = tensor.name.endswith(("qzeros", "weight_zero_point")) and not model.has_zero_points
        return total._replace(bytes=total.bytes + (0.0 if dropped else size))
    count = _parameters(tensor, model) * tensor.each
    share = "whole" if is_vector and kind.role != "vision" else kind.share
    kv = count if share == "kv" else 0
    if share == "fused":
        heads = model.num_attention_heads + 2 * model.num_key_value_heads
        kv = count * 2 * model.num_key_value_heads // max(heads, 1)
    held = count if share == "whole" else 0
    return _Sum(
        split=total.split + count - kv - held, kv=total.kv + kv, whole=total.whole + held, bytes=total.bytes + size,
        is_plain=total.is_plain and tensor.type in _PLAIN,
    )  # fmt: skip


def _alike(sums: Mapping[tuple[_Kind, int, bool], _Sum], model: Architecture) -> list[Part]:
    """One part for the layers that are alike."""
    layers: dict[tuple[_Kind, bool, _Sum], list[int]] = {}
    for (kind, layer, is_vector), total in sums.items():
        layers.setdefault((kind, is_vector, total), []).append(layer)
    parts = []
    for (kind, is_vector, total), at in layers.items():
        parameters = total.split + total.kv + total.whole
        if not parameters:
            continue
        role: Role = "kept" if is_vector else kind.role
        stored = _stored(total, role, model)
        parts.append(
            Part(
                name="norms" if is_vector else kind.name, role=role, split=total.split, kv=total.kv, whole=total.whole,
                layers=tuple(sorted(n for n in at if n >= 0)), kv_heads=model.num_key_value_heads,
                place=_place(kind, model), stored=stored,
                bytes_per_parameter=0.0 if stored else total.bytes / parameters,
            )
        )  # fmt: skip
    return sorted(parts)


def _place(kind: _Kind, model: Architecture) -> Place:
    if kind.role == "vision":
        return "every"
    if kind.name == "embedding":
        return "ends" if model.tie_word_embeddings else "first"
    return "last" if kind.name in ("head", "other") else "first"


def _stored(total: _Sum, role: Role, model: Architecture) -> str:
    """The format whose law says what a server makes of the part; 16 bits for what is plain."""
    if total.is_plain:
        return KEPT
    by_law = model.checkpoint_format == "mxfp4" or model.quantization_method == "bitsandbytes"
    return (model.checkpoint_format or "") if by_law and role in ("linear", "expert") else ""


def _format(tensors: list[_Tensor]) -> str | None:
    """The format that most weights are stored in; of GGUF's types the one of the table that is nearest in bits."""
    values: dict[str, int] = {}
    for tensor in tensors:
        if not _is_scale(tensor):
            values[tensor.type] = values.get(tensor.type, 0) + tensor.values * tensor.each * len(tensor.layers)
    most = max(values, key=lambda name: values[name], default="")
    if most in _PLAIN:
        return _NAMES.get(most)
    packed = [t for t in tensors if t.type not in _PLAIN]
    count = sum(t.values * t.each * len(t.layers) for t in packed)
    bits = 8 * sum(t.bytes_each * t.each * len(t.layers) for t in packed) / max(count, 1)
    return "int4" if bits < 6.5 else "int8"
