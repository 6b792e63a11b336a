"""How a model's weights are stored where its own checkpoint does not say it.

Owns what `model.precision` and `model.quantization` mean for a checkpoint that is not quantised, what is assumed of the
publication that they name, and the refusal of what contradicts. Imported only where a document has these keys.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.models.storage import METHODS, default_storage
from gpufleet.planner.precision import PRECISIONS

if TYPE_CHECKING:
    from gpufleet.planner.architecture import Architecture

_FORMATS = {
    "awq": ("int4",),
    "gptq": ("int4", "int8"),
    "bitsandbytes": ("int4", "int8"),
    "autoRound": ("int4", "int8", "mxfp4", "nvfp4"),
    "compressedTensors": ("int4", "int8", "fp8", "mxfp4", "nvfp4"),
}
"""What each method makes, the usual one first."""

_ALIKE = {"compressed_tensors": "compressed-tensors", "intel/auto-round": "auto-round", "auto_round": "auto-round"}


def stored_as(architecture: Architecture, precision: str | None, quantization: str | None) -> Architecture:
    """The architecture as stored in this precision by this method; itself where that says nothing new."""
    _check(architecture, precision, quantization)
    return _stored_as(architecture, precision, quantization)


@lru_cache(maxsize=512)
def _stored_as(architecture: Architecture, precision: str | None, quantization: str | None) -> Architecture:
    own = architecture.checkpoint_format
    wanted = precision or (_FORMATS[quantization][0] if quantization else None)
    if own is not None and PRECISIONS[own].is_quantized:
        if wanted in (None, own):
            return architecture
        said = (
            f"the checkpoint is stored as {own}, and no server turns that into {wanted}: sized as another publication"
        )
        return _noting(architecture, said)
    if wanted is None or not PRECISIONS[wanted].is_quantized:
        return architecture
    if quantization is None and wanted in ("int4", "fp8"):  # which a server makes of 16-bit weights while it loads them
        made = "4-bit NF4 by bitsandbytes" if wanted == "int4" else "fp8, a scale per tensor"
        return _noting(
            architecture, f"model.precision {wanted}: the 16-bit weights are taken as made to {made} at load"
        )
    method = METHODS[quantization] if quantization else _usual_method(wanted)
    storage = default_storage(wanted, method)
    scales = f", groups of {storage.group}" if storage.group else ""
    zeros = ", with zero points" if storage.has_zero_points else ""
    changed = architecture._replace(
        checkpoint_format=wanted, quantization_method=method, quantization_group=storage.group,
        has_zero_points=storage.has_zero_points, exceptions=(),
    )  # fmt: skip
    named = f"taken as published in {wanted} by {method}{scales}{zeros}; what its config.json says is surer"
    return _noting(changed, f"{architecture.model_id} is {named}")


def _usual_method(precision: str) -> str:
    return "mxfp4" if precision == "mxfp4" else "compressed-tensors"


def _noting(architecture: Architecture, note: str) -> Architecture:
    return architecture._replace(storage_notes=(*architecture.storage_notes, note))


def _check(architecture: Architecture, precision: str | None, quantization: str | None) -> None:
    if quantization is None:
        return
    made = _FORMATS[quantization]
    if precision is not None and precision not in made:
        _refuse(
            f"makes no {precision}", quantization, f"with {precision}: {_methods_for(precision)}",
            "change model.quantization, or model.precision to one of " + ", ".join(made),
        )  # fmt: skip
    method = _ALIKE.get(architecture.quantization_method or "", architecture.quantization_method)
    if method and method != METHODS[quantization] and method in METHODS.values():
        _refuse(
            f"contradicts the checkpoint, whose quantization_config names {method}", quantization, method,
            "leave model.quantization out",
        )  # fmt: skip


def _methods_for(precision: str) -> str:
    return ", ".join(name for name, made in _FORMATS.items() if precision in made) or "none"


def _refuse(message: str, given: str, allowed: str, next_step: str) -> NoReturn:
    raise RequirementError(
        Problem(path="model.quantization", message=message, given=given, allowed=allowed, next_step=next_step)
    )
