"""The size of one replica on one card, without a region, a fleet or a price.

Owns the document that is only sized, which card it means, and the answer. Leaves the arithmetic to `sizing`. A key that
is absent means what the engine does by itself, in its version: this is about a server, not about our fleets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from gpufleet.planner import values
from gpufleet.planner.catalog import Catalog, GpuModel
from gpufleet.planner.errors import CatalogError, Problem, RequirementError
from gpufleet.planner.gaps import law_gaps, unserved
from gpufleet.planner.plan import Host, Memory, Part
from gpufleet.planner.requirements import Instance, Model, Section, Serving, full_contexts_problems, parse_section
from gpufleet.planner.sizing import ENGINE_DEFAULTS, ReplicaSize, ReplicaSizer, planned_memory
from gpufleet.planner.workload import checked_sizer, context_problems

SAME_CARD = 0.04
"""A card whose usable memory differs by no more than this share is taken for the one that was meant: drivers, ECC and
clouds differ by as much (L4: 22.04 to 22.5 GiB)."""

SHOWN_LENGTHS = (1024, 4096, 16_384, 65_536)
"""Tokens of sequences that are counted beside the longest."""

UNNAMED = "unnamed"


class Card(Section):
    """The GPU that a replica is sized for: by its name, or by what the driver reports for it."""

    name: values.Text | None = None
    memory_mib: Annotated[values.Number, values.within(1024, 2_000_000, "MiB")] | None = Field(None, alias="memoryMiB")


class SizeRequirements(Section):
    """A document that is only sized. Of the sections of a fleet, `instance.maxGpus` bounds the degree that `auto` may
    take; the others are taken and not looked at."""

    model: Model
    serving: Serving = Field(default_factory=lambda: Serving())
    gpu: Card = Field(default_factory=lambda: Card())
    instance: Instance = Field(default_factory=lambda: Instance())
    region: Any = None
    scaling: Any = None
    network: Any = None
    timing: Any = None
    protect: Any = None
    tags: Any = None


class SizedModel(Part):
    """What was sized."""

    id: str
    parameters: int
    precision: str
    checkpoint_format: str | None
    assumptions: tuple[str, ...]


class SizedGpu(Part):
    """The card. `name` is None where only its memory is known and no card of the catalogue is like it."""

    name: str | None
    memory_mib: int


class SizedServer(Part):
    """The server's numbers, with the engine's own where the document says nothing."""

    engine: str
    engine_version: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_dtype: str


class SequenceCount(Part):
    """How many sequences of one length the cache holds at once."""

    tokens: int
    count: int


class Size(Part):
    """The answer. `memory`, `host` and `server` are None where the card cannot hold the format at all, `server` also for
    a diffusion pipeline, whose server is the user's own."""

    model: SizedModel
    gpu: SizedGpu
    tensor_parallelism: int
    pipeline_parallelism: int
    data_parallelism: int
    server: SizedServer | None
    memory: Memory | None
    sequences: tuple[SequenceCount, ...]
    """For a few lengths up to the context; none where the model keeps no cache."""
    host: Host | None
    """RAM and vCPUs of the replica."""
    fits: bool
    reasons: tuple[str, ...]
    """Why it does not fit, or what it takes of the budget."""
    warnings: tuple[str, ...]


def parse_size_requirements(document: Mapping[str, Any]) -> SizeRequirements:
    """The document as `SizeRequirements`; a `RequirementError` with every problem in it otherwise."""
    requirements = parse_section(SizeRequirements, document)
    problems = full_contexts_problems(requirements)
    if problems:
        raise RequirementError(problems)
    return requirements


def size_replica(requirements: SizeRequirements, catalog: Catalog) -> Size:
    """The size on the card that the document names; a PlanningError with every problem otherwise."""
    problems: list[Problem] = []
    card: tuple[GpuModel, int, tuple[str, ...]] | None = None
    try:
        card = _card(requirements.gpu, catalog)
    except CatalogError as error:
        problems += error.problems
    sizer = checked_sizer(requirements, ENGINE_DEFAULTS, known=problems)
    assert card is not None, "its problem was raised"
    gpu, memory_mib, notes = card
    return _sized(requirements, sizer, gpu, memory_mib, notes)


def size_on_cards(requirements: SizeRequirements, catalog: Catalog) -> tuple[Size, ...]:
    """The size on every card that the catalogue knows and a server runs on, the smallest first."""
    sizer = checked_sizer(requirements, ENGINE_DEFAULTS)
    cards = (catalog.gpu(name) for name in catalog.gpu_names)
    ordered = sorted(cards, key=lambda gpu: (gpu.usable_memory_mib, gpu.name))
    return tuple(_sized(requirements, sizer, gpu, gpu.usable_memory_mib, ()) for gpu in ordered)


def _card(asked: Card, catalog: Catalog) -> tuple[GpuModel, int, tuple[str, ...]]:
    """The card's properties, its memory, and what was assumed of it."""
    if asked.name:
        gpu = catalog.gpu(asked.name, path="gpu.name")
        return gpu, int(asked.memory_mib or gpu.usable_memory_mib), ()
    if asked.memory_mib is None:
        raise CatalogError(
            Problem(
                path="gpu",
                message="required, but missing",
                allowed=f"a name ({', '.join(catalog.gpu_names)}), or memoryMiB as the driver reports it",
                next_step="add gpu: {name: L4}, or --gpu L4",
            )
        )
    memory_mib = int(asked.memory_mib)
    like = _like(memory_mib, catalog)
    if like is not None:
        return like, memory_mib, (f"a card of {memory_mib:,} MiB is taken for a {like.name}",)
    newest = max((catalog.gpu(name) for name in catalog.gpu_names), key=lambda gpu: gpu.compute_capability)
    unnamed = newest._replace(name=UNNAMED, usable_memory_mib=memory_mib)
    return unnamed, memory_mib, (f"no known card has {memory_mib:,} MiB: what it can compute was not looked at",)


def _like(memory_mib: int, catalog: Catalog) -> GpuModel | None:
    """The card whose usable memory is nearest, if it is near enough."""
    cards = (catalog.gpu(name) for name in catalog.gpu_names)
    nearest = min(cards, key=lambda gpu: (abs(gpu.usable_memory_mib - memory_mib), gpu.name))
    return nearest if abs(nearest.usable_memory_mib - memory_mib) <= SAME_CARD * memory_mib else None


def _sized(
    requirements: SizeRequirements, sizer: ReplicaSizer, gpu: GpuModel, memory_mib: int, notes: tuple[str, ...]
) -> Size:
    model = requirements.model
    gpus = requirements.instance.most_gpus
    if model.tensor_parallelism != "auto":
        gpus = max(gpus, model.tensor_parallelism * model.pipeline_parallelism * model.data_parallelism)
    size = sizer.best_size(gpu, usable_memory_mib=memory_mib, gpus=gpus)
    return Size(
        model=SizedModel(
            id=model.id,
            parameters=model.parameters or sizer.architecture.parameters,
            precision=size.precision,
            checkpoint_format=sizer.architecture.checkpoint_format,
            assumptions=sizer.assumptions,
        ),
        gpu=SizedGpu(name=None if gpu.name == UNNAMED else gpu.name, memory_mib=memory_mib),
        tensor_parallelism=size.tensor_parallelism,
        pipeline_parallelism=size.pipeline_parallelism,
        data_parallelism=size.data_parallelism,
        server=_server(requirements, sizer, size),
        memory=planned_memory(size.memory) if size.memory else None,
        sequences=tuple(_sequences(sizer, size)),
        host=sizer.host_need(size).planned() if size.memory else None,
        fits=size.fits,
        reasons=(size.summary if size.fits else size.reason, *_remedies(sizer, size, gpu, memory_mib)),
        warnings=(
            *notes,
            *(f"{p.message} of {p.allowed}; {p.next_step}" for p in context_problems(requirements, sizer.architecture)),
            *((size.note,) if size.note else ()),
            *filter(None, [unserved(sizer.architecture, sizer.engine, sizer.engine_version)]),
            *_unmeasured(sizer, size),
        ),
    )


def _sequences(sizer: ReplicaSizer, size: ReplicaSize) -> Iterator[SequenceCount]:
    longest = sizer.max_model_len
    for tokens in (*(length for length in SHOWN_LENGTHS if length < longest), longest):
        count = size.memory.sequences(tokens) if size.memory else None
        if count is not None:
            yield SequenceCount(tokens=tokens, count=count)


def _remedies(sizer: ReplicaSizer, size: ReplicaSize, gpu: GpuModel, memory_mib: int) -> tuple[str, ...]:
    """What would make a diffusion pipeline fit."""
    if size.fits or size.memory is None or size.memory.pipeline is None:
        return ()
    from gpufleet.planner.diffusion.remedies import working_remedies

    return working_remedies(sizer, gpu, usable_memory_mib=memory_mib)


def _unmeasured(sizer: ReplicaSizer, size: ReplicaSize) -> tuple[str, ...]:
    gaps = law_gaps(sizer.architecture, sizer.engine, size.shape) if size.shape else ()
    return tuple(f"no published start-up log shows {gap}" for gap in gaps)


def _server(requirements: SizeRequirements, sizer: ReplicaSizer, size: ReplicaSize) -> SizedServer | None:
    shape = size.shape
    if shape is None:
        return None
    return SizedServer(
        engine=sizer.engine.name,
        engine_version=sizer.engine_version,
        max_model_len=shape.max_model_len,
        max_num_seqs=shape.max_num_seqs,
        max_num_batched_tokens=shape.max_num_batched_tokens,
        gpu_memory_utilization=shape.gpu_memory_utilization,
        kv_cache_dtype=requirements.serving.kv_cache_dtype,
    )
