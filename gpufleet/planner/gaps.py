"""Where the laws of memory have no measurement behind them.

Owns the words for it, and for models that an engine does not serve. Leaves the evidence to the engine's own module
(`vllm`), and what a plan tells of it to `notices`.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.engines import Engine
from gpufleet.planner.replica import ReplicaShape


def law_gaps(architecture: Architecture, engine: Engine, shape: ReplicaShape) -> tuple[str, ...]:
    """What no published start-up log shows of this replica, each as a clause; empty where the user gives the terms."""
    given = shape.given
    if given.activations_gib is not None and given.non_torch_gib is not None:
        return ()
    return tuple(_gaps(architecture, engine, shape))


def unserved(architecture: Architecture, engine: Engine, version: str) -> str:
    """One line for a model that this version of the engine has no code for; empty for all others."""
    if engine.serves(architecture, version):
        return ""
    served = ", ".join(
        name if until is None else f"{name} before {'.'.join(map(str, until))}"
        for name, until in engine.encoder_decoders.items()
    )
    return f"{engine.name} {version} does not serve {architecture.model_type}; with an encoder beside the decoder it has {served}"


def _gaps(architecture: Architecture, engine: Engine, shape: ReplicaShape) -> Iterator[str]:
    law, card, degree = engine.law(shape.engine_version, shape.card), shape.card, shape.tensor_parallelism
    evidence = law.evidence
    if not evidence.is_of_version:
        yield f"{engine.name} {shape.engine_version}: its source was read, and older versions' logs"
    if card.compute_capability not in evidence.capabilities:
        dotted = ".".join(map(str, card.compute_capability))
        yield f"the {card.name} (compute capability {dotted}): the laws of other cards are taken"
    if degree not in evidence.degrees:
        yield f"{degree} GPUs: NCCL's memory is taken as on {max(d for d in evidence.degrees)}"
    if degree > 1 and not card.has_nvlink and law.pcie_share < 1:
        yield "NCCL without NVLink: a share of what it takes with NVLink is assumed"
    if architecture.is_multimodal and architecture.vision is None:
        yield "the encoder of this model: its part of the profiling run is left out"
    if architecture.kind == "encoder-decoder":
        yield "the encoder beside this decoder: its part of the profiling run is left out"
    if shape.data_parallelism > 1:
        yield (
            f"{shape.data_parallelism} data-parallel ranks: what they exchange before the experts is left out; tokens and "
            "contexts are of one rank's cache"
        )
    if any(part.name == "draft" for part in architecture.parts):
        yield "a draft beside the model: its weights and cache are counted, its activations taken for the model's own"
