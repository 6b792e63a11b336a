"""From requirements to a plan: asks each module of the planner its question, once, in order.

Owns the order and the checks that need two modules' answers. Decides nothing that another module could. Pure: the same
requirements, catalogue and facts give the same plan.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufleet.planner.architecture import Architecture, is_gated, resolve_architecture
from gpufleet.planner.catalog import Catalog, Offer
from gpufleet.planner.cost import fleet_cost
from gpufleet.planner.errors import PlanningError, Problem, RequirementError
from gpufleet.planner.facts import AccountFacts
from gpufleet.planner.machine_image import plan_machine_image
from gpufleet.planner.memory import GpuMemory, checkpoint_bytes, valid_tensor_parallelism
from gpufleet.planner.network import check_facts, plan_network, usable_zones
from gpufleet.planner.notices import notices_of
from gpufleet.planner.plan import (
    SCHEMA_VERSION,
    DeploymentPlan,
    Gpu,
    Memory,
    PerGpuMemory,
    PlannedInstance,
    PlannedModel,
    PlannedType,
)
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.scaling import plan_capacity, plan_scaling
from gpufleet.planner.selection import Fit, Selection, select
from gpufleet.planner.server import argument_problems, plan_proxy, plan_server
from gpufleet.planner.sizing import ReplicaSizer, replica_sizer
from gpufleet.planner.storage import plan_storage
from gpufleet.planner.timing import plan_timing

HF_TOKEN_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def plan_deployment(requirements: Requirements, catalog: Catalog, facts: AccountFacts | None = None) -> DeploymentPlan:
    """The plan; a PlanningError with every problem that was found, or with the nearest misses where nothing fits."""
    offers, sizer = _checked(requirements, catalog, facts)
    selection = select(requirements, offers, usable_zones(requirements, facts), sizer)
    problems = argument_problems(requirements, sizer, selection.choice.size)
    if problems:
        raise RequirementError(problems)
    return _assemble(requirements, catalog, facts, sizer, selection)


def _checked(
    requirements: Requirements, catalog: Catalog, facts: AccountFacts | None
) -> tuple[tuple[Offer, ...], ReplicaSizer]:
    """The region's offers and the model's sizer, after everything that needs no selection was found right."""
    problems: list[Problem] = []
    offers: tuple[Offer, ...] = ()
    sizer: ReplicaSizer | None = None
    try:
        offers = _known_offers(requirements, catalog)
    except PlanningError as error:
        problems += error.problems
    problems += check_facts(requirements, facts)
    try:
        sizer = _sizer(requirements)
    except PlanningError as error:
        problems += error.problems
    if problems or sizer is None:
        raise RequirementError(problems)
    return offers, sizer


def _sizer(requirements: Requirements) -> ReplicaSizer:
    """The model's sizer, after its architecture was found and what is asked of it was found right."""
    architecture = resolve_architecture(
        model_id=requirements.model.id,
        parameters=requirements.model.parameters,
        config=requirements.model.architecture,
    )
    problems = _model_problems(requirements, architecture)
    if problems:
        raise RequirementError(problems)
    return replica_sizer(requirements, architecture)


def _known_offers(requirements: Requirements, catalog: Catalog) -> tuple[Offer, ...]:
    """The region's offers, after every name in the document was found in the catalogue."""
    instance = requirements.instance
    problems: list[Problem] = []

    def look_up(ask: Callable[..., object], name: str, path: str) -> None:
        try:
            ask(name, path=path)
        except PlanningError as error:
            problems.extend(error.problems)

    look_up(catalog.require_region, requirements.region, "region")
    for place, family in enumerate(instance.families):
        look_up(catalog.require_family, family, f"instance.families.{place}")
    for place, name in enumerate(instance.exclude):
        ask = catalog.instance_type if "." in name else catalog.require_family
        look_up(ask, name, f"instance.exclude.{place}")
    if instance.type:
        look_up(catalog.instance_type, instance.type, "instance.type")
    if problems:
        raise RequirementError(problems)
    offers = catalog.offers(requirements.region)
    if instance.type and instance.type not in {offer.instance_type.name for offer in offers}:
        elsewhere = [r for r in catalog.regions if instance.type in {o.instance_type.name for o in catalog.offers(r)}]
        raise RequirementError(
            Problem(
                path="instance.type",
                message=f"{requirements.region} does not offer it",
                given=instance.type,
                allowed=f"offered in {', '.join(elsewhere) or 'no region that the catalogue knows'}",
                next_step="remove instance.type, or take another region",
            )
        )
    return offers


def _model_problems(requirements: Requirements, architecture: Architecture) -> list[Problem]:
    return [
        *_gate(requirements),
        *_parallelism(requirements, architecture),
        *_context(requirements, architecture),
        *_kind(architecture),
    ]


def _gate(requirements: Requirements) -> list[Problem]:
    """A gated model cannot be downloaded without a token."""
    source = requirements.model.weights_source
    repository = source.removeprefix("hf://")
    if not source.startswith("hf://") or not is_gated(repository):
        return []
    if any(name in requirements.serving.secrets for name in HF_TOKEN_NAMES):
        return []
    return [
        Problem(
            path="serving.secrets.HF_TOKEN",
            message=f"required: {repository} is gated on Hugging Face, and its download needs a token",
            allowed="the ARN of an SSM SecureString or a Secrets Manager secret that holds the token",
            next_step="store a token whose account accepted the model's terms, or set model.source to a copy in s3://",
        )
    ]


def _parallelism(requirements: Requirements, architecture: Architecture) -> list[Problem]:
    asked = requirements.model.tensor_parallelism
    if asked == "auto":
        return []
    valid = valid_tensor_parallelism(architecture, 64)
    if asked in valid:
        return []
    return [
        Problem(
            path="model.tensorParallelism",
            message=f"the model's {architecture.num_attention_heads} attention heads and {architecture.num_key_value_heads} "
            "key-value heads do not divide so",
            given=asked,
            allowed=f"auto, {', '.join(map(str, valid))}",
            next_step="set model.tensorParallelism to auto",
        )
    ]


def _context(requirements: Requirements, architecture: Architecture) -> list[Problem]:
    """The server refuses a context longer than the model's, unless it is told how to stretch it."""
    given, longest = requirements.serving.max_model_len, architecture.max_position_embeddings
    stretched = any(
        arg.replace("_", "-").startswith(("--hf-overrides", "--rope-scaling")) for arg in requirements.serving.args
    )
    if given is None or longest is None or given <= longest or stretched or architecture.assumptions:
        return []
    return [
        Problem(
            path="serving.maxModelLen",
            message="longer than the model's own context",
            given=given,
            allowed=f"up to {longest} (max_position_embeddings)",
            next_step=f"set serving.maxModelLen to {longest}, or stretch the context with --hf-overrides in serving.args",
        )
    ]


def _kind(architecture: Architecture) -> list[Problem]:
    if architecture.kind != "diffusion":
        return []
    return [
        Problem(
            path="model.id",
            message="a diffusion pipeline; the vllm engine serves language models",
            given=architecture.model_id,
            allowed="a language or embedding model",
        )
    ]


def _assemble(
    requirements: Requirements, catalog: Catalog, facts: AccountFacts | None, sizer: ReplicaSizer, selection: Selection
) -> DeploymentPlan:
    choice = selection.choice
    kind, memory = choice.offer.instance_type, choice.size.memory
    assert memory is not None, "a choice was sized"
    weights_on_disk = checkpoint_bytes(sizer.architecture)
    baked_in = requirements.model.weights_source.startswith("image")
    types = tuple(_planned_type(fit) for fit in (choice, *selection.fallbacks))
    capacity = plan_capacity(requirements)
    region_zones = catalog.availability_zone_ids(requirements.region)
    notices = notices_of(requirements, sizer, selection)
    return DeploymentPlan(
        schema_version=SCHEMA_VERSION,
        region=requirements.region,
        model=PlannedModel(
            id=requirements.model.id,
            source=requirements.model.weights_source,
            parameters=requirements.model.parameters or sizer.architecture.parameters,
            precision=choice.size.precision,
            checkpoint_format=sizer.architecture.checkpoint_format,
            weights_gib=round(memory.weights_gib * choice.size.tensor_parallelism, 4),
            assumptions=sizer.architecture.assumptions,
        ),
        memory=Memory(per_gpu=_per_gpu(memory)),
        kv_bytes_per_token=memory.kv_bytes_per_token,
        kv_cache_tokens=memory.kv_cache_tokens,
        full_contexts=memory.full_contexts,
        instance=PlannedInstance(
            type=kind.name,
            family=kind.family,
            vcpu=kind.vcpu,
            memory_mib=kind.memory_mib,
            architecture=kind.architecture,
            gpu=Gpu(name=kind.gpu.name, count=kind.gpu_count, memory_mib=kind.usable_gpu_memory_mib),
        ),
        tensor_parallelism=choice.size.tensor_parallelism,
        replicas_per_instance=choice.replicas,
        limits=choice.limits.replica,
        limits_by_type={planned.type: planned.replica for planned in types},
        types=types,
        fallbacks=tuple(fit.name for fit in selection.fallbacks),
        availability_zone_ids=choice.zone_ids,
        capacity=capacity,
        cost=fleet_cost(capacity, choice.offer.price),
        server=plan_server(requirements, sizer, choice.size, replicas=choice.replicas),
        proxy=plan_proxy(requirements, replicas=choice.replicas),
        storage=plan_storage(weights_bytes=weights_on_disk, image_bytes=sizer.engine.image_bytes),
        timing=plan_timing(image_bytes=sizer.engine.image_bytes, weights_bytes=weights_on_disk, baked_in=baked_in),
        scaling=plan_scaling(requirements),
        network=plan_network(requirements, facts, region_zone_ids=region_zones, fleet_zone_ids=choice.zone_ids),
        machine_image=plan_machine_image(requirements, facts),
        tags=dict(sorted(requirements.tags.items())),
        candidates=selection.candidates,
        notices=notices,
        warnings=tuple(notice.text for notice in notices),
        refusals=tuple(notice.text for notice in notices if notice.is_refusal),
    )


def _planned_type(fit: Fit) -> PlannedType:
    return PlannedType(
        type=fit.name,
        replica=fit.limits.replica,
        proxy=fit.limits.proxy,
        shared_memory_mib=fit.limits.shared_memory_mib,
    )


def _per_gpu(memory: GpuMemory) -> PerGpuMemory:
    """Rounded to 0.1 MiB, such that the printed parts still add up to the printed sums."""
    weights, activations, non_torch, graphs, needed, usable, budget = (
        round(value, 4)
        for value in (
            memory.weights_gib, memory.activations_gib, memory.non_torch_gib, memory.cuda_graphs_gib,
            memory.kv_needed_gib, memory.usable_gib, memory.budget_gib,
        )
    )  # fmt: skip
    total = round(weights + activations + non_torch + graphs, 4)
    kv_cache = round(max(budget - total, 0.0), 4)
    return PerGpuMemory(
        weights_gib=weights,
        activations_gib=activations,
        non_torch_gib=non_torch,
        cuda_graphs_gib=graphs,
        kv_cache_gib=kv_cache,
        kv_needed_gib=needed,
        headroom_gib=round(max(kv_cache - needed, 0.0), 4),
        total_gib=total,
        budget_gib=budget,
        usable_gib=usable,
    )
