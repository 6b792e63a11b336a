"""Bytes of a pipeline's weights in GPU memory, by the format and the library that makes it.

Owns what bitsandbytes, torchao, Quanto, GGUF files and layerwise casting do to a network. Leaves its counts to `known`,
and which component is stored how to `components`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from gpufleet.planner.diffusion.options import Method
from gpufleet.planner.errors import Problem
from gpufleet.planner.precision import Capability

PLAIN: Mapping[str, float] = MappingProxyType({"fp32": 4.0, "fp16": 2.0, "bf16": 2.0})
"""Bytes of a parameter that nothing quantises."""

DEFAULT_METHODS: Mapping[str, Method] = MappingProxyType({
    "fp8": "layerwiseCasting", "int8": "bitsandbytes", "int4": "bitsandbytes",
})  # fmt: skip
"""What diffusers' own documentation begins with, each the most memory of those that are usual for the format."""


class Quantized(NamedTuple):
    """One format as one library makes it.

    `bytes_per_weight` is of the linear layers that it takes, scales included; everything else stays in 16 bits. Of these
    layers it may leave T5's `wo` in `kept_bytes`, and the modulation in 16 bits.
    """

    bytes_per_weight: float
    minimum_capability: Capability
    reason: str
    kept_bytes: float | None = None
    skips_modulation: bool = False
    takes_text_encoders: bool = True


FORMATS: Mapping[tuple[Method, str], Quantized] = MappingProxyType({
    # transformers keeps `wo` in fp32 for every bitsandbytes model. NF4: one fp32 absolute maximum per 64 weights.
    ("bitsandbytes", "int8"): Quantized(1.0, (7, 5), "LLM.int8 needs int8 tensor cores", kept_bytes=4.0),
    ("bitsandbytes", "int4"): Quantized(0.5 + 4 / 64, (7, 0), "NF4 kernels start with Volta", kept_bytes=4.0),
    # transformers leaves `wo` to torchao in the pipeline's 16 bits. int4 has a 16-bit scale and zero point per 128 weights.
    ("torchao", "fp8"): Quantized(1.0, (8, 9), "torchao's float8 needs fp8 arithmetic (Ada, 8.9)", kept_bytes=2.0),
    ("torchao", "int8"): Quantized(1.0, (7, 0), "int8_weight_only widens the weights", kept_bytes=2.0),
    ("torchao", "int4"): Quantized(0.5 + 4 / 128, (8, 0), "int4_weight_only computes in bf16", kept_bytes=2.0),
    # Quanto's own quantize() takes every linear layer; through transformers' QuantoConfig `wo` stays in 16 bits.
    ("quanto", "fp8"): Quantized(1.0, (7, 0), "Quanto widens the weights"),
    ("quanto", "int8"): Quantized(1.0, (7, 0), "Quanto widens the weights"),
    ("quanto", "int4"): Quantized(0.5 + 4 / 128, (7, 0), "Quanto widens the weights"),
    # Files of the denoiser alone: Q8_0 has 34 bytes for 32 weights, Q4_1 20.
    ("gguf", "int8"): Quantized(34 / 32, (7, 0), "GGUF weights are widened", takes_text_encoders=False),
    ("gguf", "int4"): Quantized(20 / 32, (7, 0), "GGUF weights are widened", takes_text_encoders=False),
    ("layerwiseCasting", "fp8"): Quantized(
        1.0, (7, 0), "layerwise casting widens the weights", skips_modulation=True, takes_text_encoders=False
    ),
})  # fmt: skip


def method_for(precision: str, asked: Method | None, is_text_encoder: bool) -> Method:
    """The library that makes this format: the one asked for, or the usual one that can quantise the component."""
    if asked is not None:
        return asked
    usual = DEFAULT_METHODS[precision]
    takes = not is_text_encoder or FORMATS[usual, precision].takes_text_encoders
    return usual if takes else "quanto"


def format_problem(
    precision: str | None, method: Method | None, precision_path: str, method_path: str
) -> list[Problem]:
    """Whether nothing makes this format, or this library does not."""
    if precision in PLAIN or precision is None:
        return [] if method is None or precision is None else [_nothing_to_quantize(precision, method, method_path)]
    made = sorted(name for name, of in FORMATS if of == precision)
    if not made:
        return [
            Problem(
                path=precision_path,
                message="no library quantises a diffusion pipeline so",
                given=precision,
                allowed=", ".join((*PLAIN, *DEFAULT_METHODS)),
                next_step=f"set {precision_path} to int4",
            )
        ]
    if method is None or method in made:
        return []
    return [
        Problem(
            path=method_path,
            message=f"does not make {precision}",
            given=method,
            allowed=", ".join(made),
            next_step=f"set {method_path} to {DEFAULT_METHODS[precision]}",
        )
    ]


def _nothing_to_quantize(precision: str, method: Method, path: str) -> Problem:
    return Problem(
        path=path,
        message=f"quantises nothing: the precision is {precision}",
        given=method,
        allowed=", ".join(DEFAULT_METHODS) + " as precision",
        next_step=f"remove {path}",
    )
