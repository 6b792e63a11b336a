"""Reads how a checkpoint stores its weights: `torch_dtype`, `quantization_config`.

Owns the names that publishers use for formats and methods. Leaves what a format costs to `precision`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

_DTYPES = {
    "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32",
    "float8_e4m3fn": "fp8", "float8_e5m2": "fp8",
}  # fmt: skip
_BY_METHOD = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4", "awq": "int4", "nvfp4": "nvfp4"}
_BY_BITS = {4: "int4", 8: "int8"}
_PARTS = {"attn": "attention", "attention": "attention", "shared_expert": "shared_experts", "mlp": "mlp"}
_DEFAULT_GROUP = {"gptq": 128, "awq": 128, "auto-round": 128}


class Storage(NamedTuple):
    """`format` is a name of the precision table; `kept` the parts that stay in 16 bits; `problem` says why the
    quantization_config cannot be read."""

    format: str | None
    method: str | None = None
    group: int = 0
    kept: frozenset[str] = frozenset()
    problem: str = ""
    given: Any = None


def read_storage(config: Mapping[str, Any]) -> Storage:
    """The storage of the checkpoint that this config.json describes."""
    nested = config.get("text_config")
    text: Mapping[str, Any] = nested if isinstance(nested, Mapping) else {}
    dtype = next((c[n] for c in (config, text) for n in ("torch_dtype", "dtype") if c.get(n)), None)
    plain = _DTYPES.get(str(dtype).removeprefix("torch.")) if dtype else None
    quantized = config.get("quantization_config") or text.get("quantization_config")
    if not quantized:
        return Storage(format=plain)
    if not isinstance(quantized, Mapping):
        return Storage(format=plain, problem="must be a mapping with quant_method", given=quantized)
    method = str(quantized.get("quant_method") or quantized.get("quant_algo") or "").lower()
    weights = _weights(quantized)
    found = _format(method, quantized, weights)
    if found is None:
        return Storage(
            format=plain, method=method, given=method or None,
            problem="names no format that is known: quant_method, bits or config_groups must say it",
        )  # fmt: skip
    block = quantized.get("weight_block_size") or (0,)
    group = weights.get("group_size") or quantized.get("group_size") or block[0] or _DEFAULT_GROUP.get(method, 0)
    return Storage(
        format=found, method=method, group=group if isinstance(group, int) and group > 0 else 0,
        kept=_kept(quantized) if found != "mxfp4" else frozenset(),
    )  # fmt: skip


def _weights(quantized: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `weights` of compressed-tensors' first group."""
    for group in (quantized.get("config_groups") or {}).values():
        if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
            return group["weights"]  # type: ignore[no-any-return]
    return {}


def _format(method: str, quantized: Mapping[str, Any], weights: Mapping[str, Any]) -> str | None:
    if method in _BY_METHOD:
        return _BY_METHOD[method]
    if method == "bitsandbytes":
        if quantized.get("load_in_4bit"):
            return "int4"
        return "int8" if quantized.get("load_in_8bit") else None
    algorithm = str(quantized.get("quant_algo") or quantized.get("format") or "").lower()
    for mark, name in (
        ("nvfp4", "nvfp4"),
        ("mxfp4", "mxfp4"),
        ("fp8", "fp8"),
        ("float-quantized", "fp8"),
        ("int-quantized", "int8"),
    ):
        if mark in algorithm:
            return name
    bits = weights.get("num_bits") or quantized.get("bits") or quantized.get("num_bits")
    if weights.get("type") == "float":
        return {8: "fp8", 4: "nvfp4"}.get(bits) if isinstance(bits, int) else None
    return _BY_BITS.get(bits) if isinstance(bits, int) else None


def _kept(quantized: Mapping[str, Any]) -> frozenset[str]:
    """Parts that a pattern over all layers leaves alone. Entries for single layers are too few to count."""
    ignored = quantized.get("ignore") or quantized.get("modules_to_not_convert") or ()
    names = [str(n) for n in ignored if not any(part.isdigit() for part in str(n).replace("\\", "").split("."))]
    return frozenset(
        part
        for name in names
        for mark, part in _PARTS.items()
        if mark in name and not name.endswith("gate") and not (mark == "mlp" and ("expert" in name or "router" in name))
    )
