"""Stages of a pipeline and ranks of data parallelism: which layers and which experts lie on which GPUs.

Owns vLLM's distribution of layers and what lies beside them. Each stage or rank is an `Architecture` of its own, so that weights,
cache and activations are computed of it as of a whole model.
"""

from __future__ import annotations

from functools import lru_cache

from gpufleet.planner.architecture import Architecture

EXPERTS = frozenset({"experts", "expert_biases"})


@lru_cache(maxsize=256)
def data_parallel_rank(architecture: Architecture, degree: int) -> Architecture:
    """What one of several data-parallel ranks holds: everything, and of the routed experts its share (vLLM's
    --data-parallel-size with --enable-expert-parallel; the cache is each rank's own)."""
    if degree <= 1:
        return architecture
    parts = (
        part._replace(split=-(-part.split // degree), whole=-(-part.whole // degree)) if part.name in EXPERTS else part
        for part in architecture.parts
    )
    return architecture._replace(parts=tuple(parts))


@lru_cache(maxsize=1024)
def pipeline_stages(architecture: Architecture, stages: int) -> tuple[Architecture, ...]:
    """The stages that differ, in their order: the first with the embedding, the last with norm and head, and those
    between. Encoders of images and sound lie on every stage. Its `parameters` are those of the stage, its `vocab_size`
    is 0 where nothing samples. Llama-3.1-8B in four: 4.26, 3.28, 3.28 and 4.26 GiB logged."""
    if stages <= 1:
        return (architecture,)
    found: dict[tuple[object, ...], Architecture] = {}
    start = 0
    for index, count in enumerate(layers_by_stage(architecture.num_hidden_layers, stages)):
        stage = _stage(architecture, range(start, start + count), is_first=index == 0, is_last=index == stages - 1)
        found.setdefault(_signature(stage), stage)
        start += count
    return tuple(found.values())


def layers_by_stage(layers: int, stages: int) -> list[int]:
    """How many layers each stage has: as many as the next, a rest given to those before the last, from the end on, and
    not to the first while there are others (vllm/distributed/utils.py, get_pp_indices)."""
    counts = [layers // stages] * stages
    for place in range(2, layers % stages + 2):
        counts[-place] += 1
    return counts


def _stage(architecture: Architecture, layers: range, *, is_first: bool, is_last: bool) -> Architecture:
    parts = (part.in_stage(layers, is_first=is_first, is_last=is_last) for part in architecture.parts)
    held = tuple(part for part in parts if part is not None)
    cache = tuple(group for g in architecture.cache if (group := g.in_stage(layers)) is not None)
    return architecture._replace(
        parts=held,
        cache=cache,
        num_hidden_layers=len(layers),
        vocab_size=architecture.vocab_size if is_last else 0,
        parameters=sum(part.parameters for part in held),
        vision=architecture.vision,
    )


def _signature(stage: Architecture) -> tuple[object, ...]:
    """What tells stages apart, whichever numbers their layers have."""
    parts = tuple((part._replace(layers=()), part.tensors) for part in stage.parts)
    return stage.vocab_size, parts, tuple(group._replace(at=()) for group in stage.cache)
