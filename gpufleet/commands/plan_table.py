"""A plan as text for a terminal: what was chosen, every number that led there, what was rejected and why.

Owns the layout. Decides nothing and computes nothing but sums for display.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gpufleet.commands.cost_table import cost_sections
from gpufleet.commands.layout import billions, bullets, columns, indented, usd
from gpufleet.commands.memory_table import describe_host, describe_image, memory_sections
from gpufleet.planner.plan import (
    Candidate,
    Capacity,
    DeploymentPlan,
    LatencyPolicy,
    ScalingPolicies,
    Storage,
    WaitingPolicy,
)
from gpufleet.planner.signals import OWN_SCALE_IN_MINUTES, OWN_SCALE_OUT_MINUTES, SIGNALS
from gpufleet.planner.storage import FREE_MIBS

VERDICT_ORDER = ("choice", "fallback", "possible", "rejected")


def describe_plan(plan: DeploymentPlan) -> str:
    """The whole plan, in sections; plain text without colours."""
    sections = [
        columns(_summary(plan)),
        *memory_sections(plan.memory, plan.server.gpu_memory_utilization, plan.instance.gpu.name),
        *cost_sections(plan),
        "Candidates\n" + indented(_candidates(plan.candidates)),
    ]
    sections.insert(-1, "Launch to first answer\n" + indented(bullets(plan.timing.path)))
    if plan.model.assumptions:
        sections.append("Assumptions\n" + indented(bullets(plan.model.assumptions)))
    if plan.warnings:
        sections.append("Warnings\n" + indented(bullets(plan.warnings)))
    if plan.refusals:
        sections.append("`pulumi up` refuses this plan\n" + indented(bullets(plan.refusals)))
    return "\n\n".join(sections)


def _summary(plan: DeploymentPlan) -> list[tuple[str, ...]]:
    instance, limits, capacity = plan.instance, plan.limits, plan.capacity
    gpu = instance.gpu
    rows = [
        ("Model", f"{plan.model.id}, {billions(plan.model.parameters)} parameters, {plan.model.precision}"),
        ("Source", plan.model.source),
        ("Region", f"{plan.region} ({', '.join(plan.availability_zone_ids)})"),
        (
            "Instance",
            f"{instance.type}: {instance.vcpu} vCPU, {instance.memory_mib:,} MiB RAM, {gpu.count} x {gpu.name} with "
            f"{gpu.memory_mib:,} MiB usable each",
        ),
        ("Fallbacks", ", ".join(plan.fallbacks) or "none"),
        ("Idle", _idle(plan)),
        (
            "Replicas",
            f"{plan.replicas_per_instance} per instance, tensor parallelism {plan.tensor_parallelism}"
            + (f", pipeline parallelism {plan.pipeline_parallelism}" if plan.pipeline_parallelism > 1 else "")
            + (f", data parallelism {plan.data_parallelism}" if plan.data_parallelism > 1 else ""),
        ),
        ("Limits", f"{limits.vcpu:g} vCPU and {limits.memory_mib:,} MiB per container (80% of the instance, shared)"),
        ("Host", describe_host(plan.host)),
        ("Server", f"{plan.server.engine} {plan.server.engine_version}".strip() + f", {plan.server.image}"),
        ("Arguments", " ".join(plan.server.command) or "none but the image's own"),
        _work(plan),
        ("Capacity", f"min {capacity.min}, desired {capacity.desired} (at creation), max {capacity.max}"),
        ("Purchase", _purchase(capacity)),
        ("Scaling", _scaling(plan)),
        ("Start", _start(plan)),
        ("Rollout", _rollout(plan)),
        ("Disk", _disk(plan.storage)),
        *((("" if place else "Quotas"), f"{n.quota}: {n.arithmetic}") for place, n in enumerate(plan.quotas)),
        ("Cost", _cost(plan)),
    ]
    return [(label and f"{label}:", text) for label, text in rows]


def _idle(plan: DeploymentPlan) -> str:
    """What of an instance is paid for and not needed."""
    choice = next(c for c in plan.candidates if c.verdict == "choice")
    gpus = f"{choice.idle_gpus} of {choice.gpu_count} GPUs" if choice.idle_gpus else "no GPU"
    total_gib = choice.gpu_count * choice.usable_gib
    return f"{gpus}; {choice.idle_gpu_memory_gib or 0:.1f} of {total_gib:.1f} GiB of GPU memory, beyond the contexts asked for"


def _work(plan: DeploymentPlan) -> tuple[str, str]:
    """What a replica works on at once."""
    if plan.memory.pipeline:
        return "Image", describe_image(plan.memory.pipeline)
    return (
        "Context",
        f"{plan.server.max_model_len:,} tokens, at most {plan.server.max_num_seqs} sequences; the cache has room for "
        f"{plan.kv_cache_tokens:,} tokens = {plan.full_contexts} full contexts ({plan.kv_bytes_per_token:,} bytes per token)",
    )


def _scaling(plan: DeploymentPlan) -> str:
    """The signals, and what keeps the fleet from going up and down again and again."""
    scaling = plan.scaling
    tracked = [s.text.format(target) for s in SIGNALS if (target := getattr(scaling, s.target)) is not None]
    adding = [
        f"{text} for {policy.datapoints_to_alarm} of {policy.evaluation_periods} minutes adds "
        f"{', '.join(f'{step.adjustment_percent}%' for step in policy.steps)}"
        for text, policy in _adding(scaling)
    ]
    guards = [
        f"AWS adds after {OWN_SCALE_OUT_MINUTES} minutes above a target"
        + (", the most that one asks for" if len(tracked) > 1 else ""),
        f"removes after {OWN_SCALE_IN_MINUTES} minutes well below"
        + (" all of them" if len(tracked) > 1 else " it")
        + f", and never while an instance loads or for {plan.timing.instance_warmup_seconds} s after (warm-up; no cooldown)",
    ]  # fmt: skip
    schedules = [
        f"{s.name} ({s.recurrence} {s.time_zone}): {s.min} to {s.max}"
        + ("" if s.desired is None else f", begins with {s.desired}")
        for s in scaling.schedules
    ]
    return "; ".join([*tracked, *adding, *(guards if tracked else ["no target removes an instance"]), *schedules])


def _adding(scaling: ScalingPolicies) -> Iterator[tuple[str, LatencyPolicy | WaitingPolicy]]:
    """The policies that only add, with what they watch."""
    if scaling.latency:
        latency = scaling.latency
        yield (
            f"{latency.percentile} latency above {latency.target_seconds:g} s ({latency.min_requests} requests)",
            latency,
        )
    if scaling.waiting_requests:
        yield f"more than {scaling.waiting_requests.threshold_requests:g} waiting per replica", scaling.waiting_requests


def _start(plan: DeploymentPlan) -> str:
    t = plan.timing
    return (
        f"about {t.load_seconds} s (boot {t.boot_seconds}, image {t.image_pull_seconds}, weights {t.weights_seconds}, "
        f"engine {t.engine_start_seconds})"
        + (f", {t.slowest_load_seconds} s on {t.slowest_type}" if t.slowest_type != plan.instance.type else "")
        + f"; grace period {t.health_check_grace_period_seconds} s, warm-up {t.instance_warmup_seconds} s, "
        f"hook {t.lifecycle_timeout_seconds} s"
    )


def _rollout(plan: DeploymentPlan) -> str:
    rollout = plan.rollout
    order = "new instances first" if rollout.min_healthy_percent == 100 else "old instances go first"
    parts = [
        f"{order}, {rollout.min_healthy_percent}% in service and at most {rollout.max_healthy_percent}% there",
        *([f"stops at {', '.join(f'{p}%' for p in rollout.checkpoint_percents[:-1])} for "
           f"{rollout.checkpoint_delay_seconds} s each"] if rollout.checkpoint_percents else []),
        "ends, with the old instances in service, where new ones do not come up"
        + (" or an alarm is on" if rollout.watches_alarms else ""),
        "serving.port replaces the target group, network.internal and network.vpcId the load balancer, new before old"
        + (", and Pulumi refuses that for the protected load balancer" if plan.protects else ""),
    ]  # fmt: skip
    return "; ".join(parts)


def _purchase(capacity: Capacity) -> str:
    reserved = ", ".join((*capacity.reservation_ids, *capacity.reservation_group_arns))
    text = f"{capacity.on_demand_base} on demand first, above that {capacity.spot_percentage:g}% Spot"
    return f"{text}; into {reserved} while there is room" if reserved else text


def _disk(storage: Storage) -> str:
    why = ", so that the weights are not kept waiting" if storage.root_throughput_mibs > FREE_MIBS else ""
    return (
        f"{storage.root_volume_gib} GiB gp3, {storage.root_throughput_mibs} MiB/s and {storage.root_iops:,} IOPS{why}"
    )


def _cost(plan: DeploymentPlan) -> str:
    cost = plan.cost

    def line(name: str, low: float | None, first: float | None, high: float | None) -> str:
        return f"{name} {usd(low)} / {usd(first)} / {usd(high)}"

    hour = line("per hour", cost.hourly.min, cost.hourly.desired, cost.hourly.max)
    month = line("per month", cost.monthly.min, cost.monthly.desired, cost.monthly.max)
    dated = f", prices of {cost.price_date}" if cost.price_date else ""
    return f"{hour}; {month} USD at min / desired / max (instances only{dated})"


def _candidates(candidates: Sequence[Candidate]) -> str:
    """One line per type that could serve, one per reason for those that cannot."""
    ordered = in_order(candidates)
    rows: list[tuple[str, ...]] = [("TYPE", "VERDICT", "USD/H", "TP", "REPLICAS", "ZONES", "REASON")]
    rows += [
        (
            c.type,
            c.verdict,
            usd(c.hourly_usd, 4),
            "-" if c.tensor_parallelism is None else str(c.tensor_parallelism),
            "-" if c.replicas_per_instance is None else str(c.replicas_per_instance),
            str(len(c.availability_zone_ids)),
            c.reason,
        )
        for c in ordered
        if c.verdict != "rejected"
    ]
    by_reason: dict[str, list[str]] = {}
    for candidate in ordered:
        if candidate.verdict == "rejected":
            by_reason.setdefault(candidate.reason, []).append(candidate.type)
    lines = [f"{', '.join(types)}: {reason}" for reason, types in by_reason.items()]
    rejected = "\n\nRejected\n" + indented(bullets(lines)) if lines else ""
    return columns(rows, right={2, 3, 4, 5}) + rejected


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By verdict, then by price; an unknown price comes last."""

    def order(c: Candidate) -> tuple[int, float, str]:
        return VERDICT_ORDER.index(c.verdict), float("inf") if c.hourly_usd is None else c.hourly_usd, c.type

    return sorted(candidates, key=order)
