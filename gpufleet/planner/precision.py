"""Storage formats of weights: what a parameter costs in bytes, and what hardware each format needs.

Owns the table of formats and the table of what vLLM's kernels need for each (docs.vllm.ai, features/quantization, and
`get_min_capability` in its source, version 0.19). Leaves to `engines` which formats a server can make at load time, and
to `weights` the sum over a model's parts.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

Capability = tuple[int, int]
"""CUDA compute capability, such as (8, 9)."""

SIXTEEN_BIT_BYTES = 2.0
EVERY_LINEAR = frozenset({"linear", "expert"})
EXPERTS_ONLY = frozenset({"expert"})

VOLTA, TURING, AMPERE, ADA, HOPPER, BLACKWELL = (7, 0), (7, 5), (8, 0), (8, 9), (9, 0), (10, 0)


class Precision(NamedTuple):
    """One storage format.

    `bytes_per_parameter` is for the parts whose role is in `quantized_roles`; all other parts (embeddings, head, norms,
    routers, vision encoders) take `kept_bytes`. `scale_bytes / group` is added per quantised parameter: one scale for
    each group of that many weights; a `group` of 0 means one scale per row or tensor, which is too little to count.
    """

    name: str
    bytes_per_parameter: float
    minimum_capability: Capability
    native_capability: Capability
    reason: str
    kept_bytes: float = SIXTEEN_BIT_BYTES
    quantized_roles: frozenset[str] = EVERY_LINEAR
    scale_bytes: float = 0.0
    zero_point_bytes: float = 0.0
    """Of each group, where weights lie around a zero point."""
    group: int = 0
    unsupported_from: Capability | None = None
    """First capability for which kernels are missing again."""

    @property
    def is_quantized(self) -> bool:
        """Whether some parts are stored in less than 16 bits."""
        return self.bytes_per_parameter < SIXTEEN_BIT_BYTES

    def bytes_for(self, role: str, *, group: int = 0, has_zero_points: bool = False) -> float:
        """Bytes per parameter of a part with this role; `group` overrides the format's usual group size."""
        if role not in self.quantized_roles:
            return self.kept_bytes
        size, each = group or self.group, self.scale_bytes + has_zero_points * self.zero_point_bytes
        return self.bytes_per_parameter + (each / size if size else 0.0)


def _whole(name: str, size: float, capability: Capability, reason: str) -> Precision:
    return Precision(
        name=name, bytes_per_parameter=size, kept_bytes=size,
        minimum_capability=capability, native_capability=capability, reason=reason,
    )  # fmt: skip


_BUILDS = "vLLM's CUDA builds start at compute capability 7.0 (Volta)"

PRECISIONS: Mapping[str, Precision] = MappingProxyType({
    p.name: p
    for p in (
        _whole("fp32", 4.0, VOLTA, _BUILDS),
        _whole("fp16", 2.0, VOLTA, _BUILDS),
        _whole("bf16", 2.0, AMPERE, "bfloat16 arithmetic starts with Ampere; Volta and Turing have fp16 only"),
        Precision(
            name="fp8", bytes_per_parameter=1.0,
            # Block-wise checkpoints keep one fp32 scale per 128 x 128 weights, row-wise ones less.
            scale_bytes=4.0, group=128 * 128, minimum_capability=TURING, native_capability=ADA,
            reason="fp8 arithmetic starts with Ada (8.9); Turing and Ampere keep the weights in 8 bits and widen them "
            "by the Marlin kernels (weight-only)",
        ),
        Precision(
            # Rows have a scale each; GPTQ's groups a 16-bit one, and an 8-bit zero point where they have one.
            name="int8", bytes_per_parameter=1.0, scale_bytes=2.0, zero_point_bytes=1.0,
            minimum_capability=TURING, native_capability=TURING, unsupported_from=BLACKWELL,
            reason="int8 tensor cores start with Turing (7.5), and vLLM has no int8 arithmetic for Blackwell (10.0)",
        ),
        Precision(
            # GPTQ, AWQ and compressed-tensors: a 16-bit scale per group, and a 4-bit zero point where it has one.
            name="int4", bytes_per_parameter=0.5, scale_bytes=2.0, zero_point_bytes=0.5, group=128,
            minimum_capability=TURING, native_capability=AMPERE,
            reason="AWQ and compressed-tensors kernels need Turing (7.5), the faster Marlin kernels Ampere (8.0)",
        ),
        Precision(
            name="mxfp4", bytes_per_parameter=0.5, quantized_roles=EXPERTS_ONLY,
            # OCP MX: one 8-bit exponent for each 32 values.
            scale_bytes=1.0, group=32, minimum_capability=AMPERE, native_capability=HOPPER,
            reason="MXFP4 experts run on Ampere (8.0) through Marlin, on Hopper (9.0) through Triton",
        ),
        Precision(
            name="nvfp4", bytes_per_parameter=0.5,
            # One fp8 scale for each 16 values.
            scale_bytes=1.0, group=16, minimum_capability=TURING, native_capability=BLACKWELL,
            reason="fp4 arithmetic starts with Blackwell (10.0); older cards widen the weights by Marlin (weight-only)",
        ),
    )
})  # fmt: skip


class _Kernels(NamedTuple):
    """What a method needs where that is not what its format needs."""

    minimum_capability: Capability
    native_capability: Capability
    reason: str
    unsupported_from: Capability | None = None


_ANYWHERE = _Kernels(VOLTA, AMPERE, f"its kernels run wherever {_BUILDS.partition(' start')[0]} do")
_BY_METHOD: Mapping[tuple[str, str], _Kernels] = MappingProxyType({
    ("int4", "bitsandbytes"): _ANYWHERE, ("int8", "bitsandbytes"): _ANYWHERE,
    ("int4", "gptq"): _ANYWHERE, ("int8", "gptq"): _ANYWHERE,
    ("int4", "auto-round"): _ANYWHERE, ("int8", "auto-round"): _ANYWHERE,
    ("fp8", "fbgemm_fp8"): _Kernels(AMPERE, ADA, "vLLM loads fbgemm's fp8 from Ampere (8.0) on"),
    ("fp8", "modelopt"): _Kernels(ADA, ADA, "vLLM loads Model Optimizer's fp8 from Ada (8.9) on"),
})  # fmt: skip

BITSANDBYTES_GROUP = 64
BITSANDBYTES_SCALE_BYTES = 4.0
BITSANDBYTES_NESTED_BYTES = 1.0 + 4.0 / 256
"""NF4: one absolute maximum per 64 weights: an fp32, or a byte with an fp32 for each 256 of these (nested)."""

FLOAT16_OVERFLOWS = frozenset({"gemma2", "gemma3", "gemma3_text", "plamo2", "glm4"})
"""Types that vLLM refuses to run in fp16 (config/model.py): their activations leave its range."""


def value_bytes(precision: str) -> float:
    """Of what flows through the model: 4 in fp32, else 2."""
    return 4.0 if precision == "fp32" else SIXTEEN_BIT_BYTES


def plain_precision(model_type: str, capability: Capability) -> str:
    """In what a card computes a model that is stored in 16 bits: bf16 where it can, else fp16, else (as vLLM does for
    types whose values overflow it) fp32."""
    if capability >= PRECISIONS["bf16"].minimum_capability:
        return "bf16"
    return "fp32" if model_type in FLOAT16_OVERFLOWS else "fp16"


def capability_problem(precision: Precision, capability: Capability, method: str | None = None) -> str | None:
    """Why a card of this compute capability cannot hold the format, by the method that made it; None where it can."""
    needs = _BY_METHOD.get((precision.name, method or ""), precision)
    named = precision.name if needs is precision else f"{precision.name} by {method}"
    if capability < needs.minimum_capability:
        return f"{named} needs compute capability {_dotted(needs.minimum_capability)}: {needs.reason}"
    if needs.unsupported_from is not None and capability >= needs.unsupported_from:
        return f"{named} is not supported from compute capability {_dotted(needs.unsupported_from)}: {needs.reason}"
    return None


def capability_note(precision: Precision, capability: Capability, method: str | None = None) -> str | None:
    """What is worth knowing where the card can hold the format but has no arithmetic for it; None where it has."""
    needs = _BY_METHOD.get((precision.name, method or ""), precision)
    if needs.minimum_capability <= capability < needs.native_capability:
        return f"{precision.name} is not native below {_dotted(needs.native_capability)}: {needs.reason}"
    return None


def _dotted(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"
