"""From requirements to a plan: asks each module of the planner its question, once, in order.

Owns the order and the checks that need two modules' answers. Decides nothing that another module could. Pure: the same
requirements, catalogue and facts give the same plan.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufleet.planner.architecture import is_gated
from gpufleet.planner.candidates import Fit
from gpufleet.planner.catalog import Catalog, Offer
from gpufleet.planner.cost import fleet_cost
from gpufleet.planner.cost_items import cost_items
from gpufleet.planner.errors import PlanningError, Problem, RequirementError
from gpufleet.planner.evaluation import Evaluator
from gpufleet.planner.facts import AccountFacts
from gpufleet.planner.machine_image import plan_machine_image
from gpufleet.planner.memory import checkpoint_bytes
from gpufleet.planner.network import check_facts, plan_network, usable_zones
from gpufleet.planner.notices import notices_of
from gpufleet.planner.plan import (
    SCHEMA_VERSION,
    DeploymentPlan,
    Gpu,
    Notifications,
    PlannedInstance,
    PlannedModel,
    PlannedType,
)
from gpufleet.planner.quota import quota_needs
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.rollout import plan_rollout
from gpufleet.planner.scaling import (
    cache_problems,
    plan_capacity,
    plan_scaling,
    scaling_problems,
    scheduled,
)
from gpufleet.planner.selection import Selection, select
from gpufleet.planner.server import HF_TOKEN_NAMES, argument_problems, downloads, plan_proxy, plan_server
from gpufleet.planner.sizing import PLAN_DEFAULTS, ReplicaSizer, planned_memory
from gpufleet.planner.storage import plan_storage
from gpufleet.planner.timing import given_timing, plan_timing
from gpufleet.planner.workload import checked_sizer, context_problems


def plan_deployment(requirements: Requirements, catalog: Catalog, facts: AccountFacts | None = None) -> DeploymentPlan:
    """The plan; a PlanningError with every problem that was found, or with the nearest misses where nothing fits."""
    offers, sizer = _checked(requirements, catalog, facts)
    evaluator = Evaluator(requirements, usable_zones(requirements, facts), sizer)
    selection = select(evaluator, offers)
    if not isinstance(selection, Selection):
        from gpufleet.planner.misses import elsewhere, nothing_fits

        raise nothing_fits(evaluator, selection, elsewhere(evaluator, catalog))
    problems = [
        *argument_problems(requirements, sizer, selection.choice.size),
        *cache_problems(requirements, selection.choice.size),
    ]
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
    for check in (given_timing, scheduled, _notifications):
        try:
            check(requirements)
        except PlanningError as error:
            problems += error.problems
    try:
        sizer = checked_sizer(requirements, PLAN_DEFAULTS, known=_gate(requirements), checks=(context_problems,))
    except PlanningError as error:
        problems += error.problems
    else:
        problems += scaling_problems(requirements, sizer.engine.name)
    if problems or sizer is None:
        raise RequirementError(problems)
    return offers, sizer


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


def _gate(requirements: Requirements) -> list[Problem]:
    """A gated model cannot be downloaded without a token."""
    repository, _ = requirements.model.repository
    if not repository or not is_gated(repository):
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


def _assemble(
    requirements: Requirements, catalog: Catalog, facts: AccountFacts | None, sizer: ReplicaSizer, selection: Selection
) -> DeploymentPlan:
    choice = selection.choice
    kind, memory = choice.offer.instance_type, choice.size.memory
    assert memory is not None, "a choice was sized"
    weights_on_disk = checkpoint_bytes(sizer.architecture)
    baked_in = requirements.model.weights_source.startswith("image")
    fits = (choice, *selection.fallbacks)
    types = tuple(_planned_type(fit) for fit in fits)
    image_bytes = sizer.engine.image_bytes
    storage = plan_storage(
        (fit.offer.instance_type for fit in fits),
        weights_bytes=weights_on_disk,
        image_bytes=image_bytes,
        baked_in=baked_in,
    )
    timing = plan_timing(requirements, fits, storage, image_bytes=image_bytes, weights_bytes=weights_on_disk)
    capacity = plan_capacity(requirements)
    region, region_zones = requirements.region, catalog.availability_zone_ids(requirements.region)
    rollout = plan_rollout(requirements)
    scaling = plan_scaling(
        requirements, sizer.engine.name, choice.size.max_num_seqs, has_cache=memory.kv_bytes_per_token > 0
    )
    network = plan_network(requirements, facts, region_zone_ids=region_zones, fleet_zone_ids=choice.zone_ids)
    items = cost_items(
        capacity, storage, network, scaling, kind.gpu_count, len(types), sizer.engine.name,
        lambda name: catalog.service_price(region, name),
    )  # fmt: skip
    notices = notices_of(requirements, sizer, selection)
    return DeploymentPlan(
        schema_version=SCHEMA_VERSION,
        region=region,
        model=PlannedModel(
            id=requirements.model.id,
            source=requirements.model.weights_source,
            parameters=requirements.model.parameters or sizer.architecture.parameters,
            precision=choice.size.precision,
            checkpoint_format=sizer.architecture.checkpoint_format,
            weights_gib=_weights_gib(choice),
            downloads=downloads(requirements, sizer),
            assumptions=sizer.assumptions,
        ),
        memory=planned_memory(memory),
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
        pipeline_parallelism=choice.size.pipeline_parallelism,
        data_parallelism=choice.size.data_parallelism,
        replicas_per_instance=choice.replicas,
        host=sizer.host_need(choice.size).planned(),
        limits=choice.limits.replica,
        limits_by_type={planned.type: planned.replica for planned in types},
        types=types,
        fallbacks=tuple(fit.name for fit in selection.fallbacks),
        availability_zone_ids=choice.zone_ids,
        capacity=capacity,
        quotas=quota_needs(capacity, rollout, [fit.offer.instance_type for fit in fits]),
        cost=fleet_cost(capacity, choice.offer.price, idle_share=choice.idle_gpus / kind.gpu_count, items=items),
        server=plan_server(requirements, sizer, choice.size, replicas=choice.replicas),
        proxy=plan_proxy(requirements, replicas=choice.replicas),
        storage=storage,
        timing=timing,
        rollout=rollout,
        protects=requirements.protect,
        scaling=scaling,
        notifications=_notifications(requirements),
        network=network,
        machine_image=plan_machine_image(requirements, facts),
        tags=dict(sorted(requirements.tags.items())),
        candidates=selection.candidates,
        notices=notices,
        warnings=tuple(notice.text for notice in notices),
        refusals=tuple(notice.text for notice in notices if notice.is_refusal),
    )


def _notifications(requirements: Requirements) -> Notifications:
    if requirements.alarms is None:
        return Notifications()
    from gpufleet.planner.alarm_keys import notifications

    return notifications(requirements)


def _weights_gib(choice: Fit) -> float:
    """Weights of a whole replica; of a diffusion pipeline also those that wait in RAM."""
    memory = choice.size.memory
    assert memory is not None, "a choice was sized"
    if memory.pipeline is not None:
        return round(sum(component.weights_gib for component in memory.pipeline.components), 4)
    return round(memory.weights_gib * choice.size.gpus, 4)


def _planned_type(fit: Fit) -> PlannedType:
    return PlannedType(
        type=fit.name,
        replica=fit.limits.replica,
        proxy=fit.limits.proxy,
        shared_memory_mib=fit.limits.shared_memory_mib,
    )
