"""Storage formats of weights: what a parameter costs in bytes, and what hardware each format needs.

Owns the table of formats; capabilities are those of vLLM's kernels (docs.vllm.ai, features/quantization). Leaves to
`engines` which of them a server can make at load time, and to `memory` the sum over a model's parts.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

Capability = tuple[int, int]
"""CUDA compute capability, such as (8, 9)."""

SIXTEEN_BIT_BYTES = 2.0
EVERY_LINEAR = frozenset({"linear", "expert"})
EXPERTS_ONLY = frozenset({"expert"})


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
    group: int = 0
    unsupported_from: Capability | None = None
    """First capability for which kernels are missing again."""

    @property
    def is_quantized(self) -> bool:
        """Whether some parts are stored in less than 16 bits."""
        return self.bytes_per_parameter < SIXTEEN_BIT_BYTES

    def bytes_for(self, role: str, *, group: int = 0) -> float:
        """Bytes per parameter of a part with this role; `group` overrides the format's usual group size."""
        if role not in self.quantized_roles:
            return self.kept_bytes
        size = group or self.group
        return self.bytes_per_parameter + (self.scale_bytes / size if size else 0.0)


def _whole(name: str, size: float, capability: Capability, reason: str) -> Precision:
    return Precision(
        name=name, bytes_per_parameter=size, kept_bytes=size,
        minimum_capability=capability, native_capability=capability, reason=reason,
    )  # fmt: skip


PRECISIONS: Mapping[str, Precision] = MappingProxyType({
    p.name: p
    for p in (
        _whole("fp32", 4.0, (7, 0), "vLLM's CUDA builds start at compute capability 7.0 (Volta)"),
        _whole("fp16", 2.0, (7, 0), "vLLM's CUDA builds start at compute capability 7.0 (Volta)"),
        _whole("bf16", 2.0, (8, 0), "bfloat16 arithmetic starts with Ampere; Volta and Turing have fp16 only"),
        Precision(
            name="fp8", bytes_per_parameter=1.0,
            # Block-wise checkpoints keep one fp32 scale per 128 x 128 weights, row-wise ones less.
            scale_bytes=4.0, group=128 * 128, minimum_capability=(7, 5), native_capability=(8, 9),
            reason="fp8 arithmetic starts with Ada (8.9); Turing and Ampere keep the weights in 8 bits and widen them "
            "by the Marlin kernels (weight-only)",
        ),
        Precision(
            name="int8", bytes_per_parameter=1.0, minimum_capability=(7, 5), native_capability=(7, 5),
            unsupported_from=(10, 0),
            reason="int8 tensor cores start with Turing (7.5), and vLLM has no int8 kernels for Blackwell (10.0)",
        ),
        Precision(
            name="int4", bytes_per_parameter=0.5,
            # GPTQ, AWQ and compressed-tensors: a 16-bit scale and a 4-bit zero point per group.
            scale_bytes=2.5, group=128, minimum_capability=(7, 5), native_capability=(8, 0),
            reason="AWQ and bitsandbytes kernels need Turing (7.5), the faster Marlin kernels Ampere (8.0)",
        ),
        Precision(
            name="mxfp4", bytes_per_parameter=0.5, quantized_roles=EXPERTS_ONLY,
            # OCP MX: one 8-bit exponent for each 32 values.
            scale_bytes=1.0, group=32, minimum_capability=(8, 0), native_capability=(9, 0),
            reason="MXFP4 experts run on Ampere (8.0) through Marlin, on Hopper (9.0) through Triton",
        ),
        Precision(
            name="nvfp4", bytes_per_parameter=0.5,
            # One fp8 scale for each 16 values.
            scale_bytes=1.0, group=16, minimum_capability=(8, 0), native_capability=(10, 0),
            reason="fp4 arithmetic starts with Blackwell (10.0); older cards widen the weights by Marlin (weight-only)",
        ),
    )
})  # fmt: skip

BITSANDBYTES_SCALE_BYTES = 4.0
BITSANDBYTES_GROUP = 64
"""NF4: one fp32 absolute maximum per 64 weights; vLLM undoes the nested quantisation of these while loading."""


def value_bytes(precision: str) -> float:
    """Of what flows through the model: 4 in fp32, else 2."""
    return 4.0 if precision == "fp32" else SIXTEEN_BIT_BYTES


def capability_problem(precision: Precision, capability: Capability) -> str | None:
    """Why a card of this compute capability cannot hold the format; None where it can."""
    if capability < precision.minimum_capability:
        return f"{precision.name} needs compute capability {_dotted(precision.minimum_capability)}: {precision.reason}"
    if precision.unsupported_from is not None and capability >= precision.unsupported_from:
        return f"{precision.name} is not supported from compute capability {_dotted(precision.unsupported_from)}: " + (
            precision.reason
        )
    return None


def capability_note(precision: Precision, capability: Capability) -> str | None:
    """What is worth knowing where the card can hold the format but has no arithmetic for it; None where it has."""
    if precision.minimum_capability <= capability < precision.native_capability:
        return f"{precision.name} is not native below {_dotted(precision.native_capability)}: {precision.reason}"
    return None


def _dotted(capability: Capability) -> str:
    return f"{capability[0]}.{capability[1]}"
