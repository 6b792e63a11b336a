"""Reads how a checkpoint stores its weights: `torch_dtype`, `quantization_config`.

Owns the names that publishers use for formats and methods. Leaves to `exceptions` what a checkpoint leaves unquantised,
and to `precision` what a format costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpufleet.planner.models.fields import NESTED_TEXT, fail, whole

_DTYPES = {
    "bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "fp16": "fp16", "half": "fp16", "float32": "fp32",
    "float": "fp32", "fp32": "fp32", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8",
}  # fmt: skip
_BY_METHOD = {
    "fp8": "fp8", "fbgemm_fp8": "fp8", "ptpc_fp8": "fp8", "mxfp4": "mxfp4", "gpt_oss_mxfp4": "mxfp4", "awq": "int4",
    "nvfp4": "nvfp4", "modelopt_fp4": "nvfp4", "experts_int8": "int8",
}  # fmt: skip
_BY_BITS = {4: "int4", 8: "int8"}
_BY_WORD = (
    ("nvfp4", "nvfp4"), ("mxfp4", "mxfp4"), ("w4a16_awq", "int4"), ("w4a8_awq", "int4"), ("fp8", "fp8"), ("float8", "fp8"),
    ("float-quantized", "fp8"), ("int-quantized", "int8"), ("fp4", "nvfp4"), ("int8", "int8"), ("int4", "int4"),
)  # fmt: skip
"""What an algorithm, a format or a type is called in part, the more special first."""
_DEFAULT_GROUP = {"gptq": 128, "awq": 128, "auto-round": 128}
_WITH_ZERO_POINTS = frozenset({"awq"})
"""Methods whose weights lie around a zero point unless their config says otherwise."""
METHODS = {
    "awq": "awq", "gptq": "gptq", "bitsandbytes": "bitsandbytes", "compressedTensors": "compressed-tensors",
    "autoRound": "auto-round",
}  # fmt: skip
"""What requirements call a method, and its `quant_method`."""


KEPT = "kept"
"""In place of a format: 16 bits."""


class Exceptional(NamedTuple):
    """Parts, by name, that are stored in `format`: in these layers only, or in all (None)."""

    parts: frozenset[str]
    layers: frozenset[int] | None
    format: str
    group: int = 0


_SERVED = frozenset({
    "awq", "gptq", "bitsandbytes", "compressed-tensors", "auto-round", "fp8", "fbgemm_fp8", "ptpc_fp8", "modelopt",
    "modelopt_fp4", "modelopt_mixed", "modelopt_mxfp8", "mxfp4", "gpt_oss_mxfp4", "nvfp4", "mxfp8", "quark", "torchao",
    "experts_int8", "deepspeedfp", "fp_quant", "moe_wna16", "petit_nvfp4", "rtn", "bitblas", "humming", "gguf",
})  # fmt: skip
_SPELLINGS = {
    "awq_marlin": "awq", "gptq_marlin": "gptq", "auto_round": "auto-round", "intel/auto-round": "auto-round",
    "inc": "auto-round", "compressed_tensors": "compressed-tensors", "finegrained_fp8": "fp8",
}  # fmt: skip
_NOT_SERVED = {
    name: "load it with another server, or name another publication of the model"
    for name in ("exl2", "aqlm", "vptq", "spqr", "higgs", "quanto", "eetq", "hqq", "bitnet", "quip", "squeezellm")
}


class Storage(NamedTuple):
    """`format` is a name of the precision table; `group` the weights that share a scale (0: a row or a block);
    `has_zero_points` whether each group also has one; `problem` says why the quantization_config cannot be read."""

    format: str | None
    method: str | None = None
    group: int = 0
    has_zero_points: bool = False
    config: Mapping[str, Any] | None = None
    problem: str = ""
    given: Any = None

    @property
    def allowed(self) -> str:
        """What may stand where the problem is."""
        return (
            f"a mapping with quant_method ({', '.join(sorted(_SERVED))}) and what that method writes"
            if self.problem
            else ""
        )


def read_storage(config: Mapping[str, Any]) -> Storage:
    """The storage of the checkpoint that this config.json describes."""
    nested = [config[name] for name in NESTED_TEXT if isinstance(config.get(name), Mapping)]
    plain = _plain(config, nested)
    quantized = next((c["quantization_config"] for c in (config, *nested) if c.get("quantization_config")), None)
    if not quantized:
        return Storage(format=plain)
    if not isinstance(quantized, Mapping):
        return Storage(format=plain, problem="must be a mapping with quant_method", given=quantized)
    for name in ("quant_method", "quant_algo", "format"):
        if quantized.get(name) is not None and not isinstance(quantized[name], str):
            fail(f"quantization_config.{name}", "must be text", given=quantized[name], allowed="the name of a method")
    method = str(quantized.get("quant_method") or quantized.get("quant_algo") or "").lower()
    method = _SPELLINGS.get(method, method)
    if reason := _NOT_SERVED.get(method):
        return Storage(
            format=plain, method=method, given=method, problem=f"is a method that vLLM does not load: {reason}"
        )
    if quantized.get("quant_method") and method not in _SERVED:
        return Storage(format=plain, method=method, given=method, problem="names no method that is known")
    weights = _weights(quantized)
    found = _format(method, quantized, weights)
    if found is None:
        return Storage(
            format=plain, method=method, given=method or None,
            problem="names no format that is known: quant_method, bits or config_groups must say it",
        )  # fmt: skip
    return Storage(
        format=found, method=method, group=_group(method, quantized, weights),
        has_zero_points=_has_zero_points(method, quantized, weights), config=quantized,
    )  # fmt: skip


def _plain(config: Mapping[str, Any], nested: list[Mapping[str, Any]]) -> str | None:
    """The type of the weights where they are not quantised."""
    for place in (config, *nested):
        for name in ("torch_dtype", "dtype"):
            value = place.get(name)
            if value is None or value == "auto":
                continue
            found = _DTYPES.get(value.removeprefix("torch.").lower()) if isinstance(value, str) else None
            if found is None:
                fail(name, "is not a type that is known", given=value, allowed=", ".join(_DTYPES))
            return found
    return None


def default_storage(precision: str, method: str) -> Storage:
    """A checkpoint that is published in this format by this method, as most are."""
    grouped = precision in ("int4", "int8") and method != "bitsandbytes"
    wide = precision == "int8" and method == "compressed-tensors"  # one scale per row
    return Storage(
        format=precision, method=method, group=128 if grouped and not wide else 0,
        has_zero_points=method in _WITH_ZERO_POINTS,
    )  # fmt: skip


def format_of(weights: Mapping[str, Any]) -> str | None:
    """The format that one group's `num_bits` and `type` name; None for 16 bits or what is not known."""
    bits = weights.get("num_bits") or weights.get("bits")
    if weights.get("type") == "float":
        return {8: "fp8", 4: "mxfp4" if weights.get("group_size") == 32 else "nvfp4"}.get(bits)  # type: ignore[arg-type]
    return _BY_BITS.get(bits) if isinstance(bits, int) else None


def named_format(algorithm: str) -> str | None:
    """The format that the name of an algorithm says."""
    folded = algorithm.lower()
    return next((name for mark, name in _BY_WORD if mark in folded), None)


def _weights(quantized: Mapping[str, Any]) -> Mapping[str, Any]:
    """What says the format of most weights: compressed-tensors' first group, Quark's global one, torchao's default."""
    groups = quantized.get("config_groups")
    for group in groups.values() if isinstance(groups, Mapping) else ():
        if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
            return group["weights"]  # type: ignore[no-any-return]
    everywhere = quantized.get("global_quant_config")
    if isinstance(everywhere, Mapping) and isinstance(everywhere.get("weight"), Mapping):
        return everywhere["weight"]  # type: ignore[no-any-return]
    kind = quantized.get("quant_type")
    default = kind.get("default") if isinstance(kind, Mapping) else None
    data = default.get("_data") if isinstance(default, Mapping) else None
    return data if isinstance(data, Mapping) else {}


def _format(method: str, quantized: Mapping[str, Any], weights: Mapping[str, Any]) -> str | None:
    if method in _BY_METHOD:
        return _BY_METHOD[method]
    if method == "bitsandbytes":
        if quantized.get("load_in_4bit"):
            return "int4"
        return "int8" if quantized.get("load_in_8bit") else None
    kind = quantized.get("quant_type")
    default = kind.get("default") if isinstance(kind, Mapping) else kind
    torchao = default.get("_type") if isinstance(default, Mapping) else default
    for said in (quantized.get("quant_algo"), quantized.get("format"), weights.get("dtype"), torchao):
        if said and (found := named_format(str(said))):
            return found
    if weights and (found := format_of(weights)):
        return found
    bits = next((quantized[name] for name in ("bits", "num_bits", "w_bit") if quantized.get(name) is not None), None)
    return None if bits is None else _BY_BITS.get(whole(bits, "quantization_config.bits"))


def _group(method: str, quantized: Mapping[str, Any], weights: Mapping[str, Any]) -> int:
    """Weights that share a scale; -1 stands for a whole row."""
    block = quantized.get("weight_block_size")
    if block is not None and not (isinstance(block, list | tuple) and len(block) == 2):
        fail("quantization_config.weight_block_size", "must be two numbers", given=block, allowed="such as [128, 128]")
    for group in (weights.get("group_size"), quantized.get("group_size"), block[0] if block else None):
        if group == -1:
            return 0
        if group is not None and (found := whole(group, "quantization_config.group_size", most=1 << 20)):
            return found
    return _DEFAULT_GROUP.get(method, 0)


def _has_zero_points(method: str, quantized: Mapping[str, Any], weights: Mapping[str, Any]) -> bool:
    """Symmetric weights have none: vLLM's kernels drop the empty tensors."""
    for place, name in ((quantized, "zero_point"), (weights, "symmetric"), (quantized, "sym")):
        said = place.get(name)
        if isinstance(said, bool):
            return said if name == "zero_point" else not said
    return method in _WITH_ZERO_POINTS
