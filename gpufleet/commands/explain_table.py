"""The candidates as one table: what each type needs and has, what it costs, the verdict and its reason.

Owns the layout of `plan --explain`. Leaves the rest of a plan to `plan_table`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpufleet.commands.layout import columns, indented, usd
from gpufleet.commands.plan_table import in_order
from gpufleet.planner.plan import Candidate, DeploymentPlan
from gpufleet.planner.requirements import Instance

HEADER = (
    "TYPE", "VERDICT", "GPUS", "TP", "REPLICAS", "NEEDED", "BUDGET", "USABLE", "SHORT", "IDLE GPUS", "IDLE GIB", "USD/H",
    "SPOT", "ZONES", "REASON",
)  # fmt: skip


def explain_plan(plan: DeploymentPlan, instance: Instance) -> str:
    """The choice, the rules that it follows from, and every offered type."""
    dated = f", on-demand prices of {plan.cost.price_date}" if plan.cost.price_date else ""
    return "\n\n".join([
        columns([
            ("Choice:", f"{plan.instance.type} in {plan.region}"),
            ("Rules:", _rules(instance)),
            ("Fallbacks:", ", ".join(plan.fallbacks) or "none"),
        ]),
        explain_candidates(plan.candidates, dated),
    ])  # fmt: skip


def explain_candidates(candidates: Sequence[Candidate], dated: str = "") -> str:
    """Every candidate, those that can serve first."""
    rows = [HEADER, *map(_row, in_order(candidates))]
    title = f"Candidates (needed, budget, usable and short in GiB per GPU, idle per instance, USD per hour{dated})"
    return f"{title}\n{indented(columns(rows, right=range(2, 14)))}"


def _row(c: Candidate) -> tuple[str, ...]:
    return (
        c.type,
        c.verdict,
        f"{c.gpu_count} x {c.gpu}",
        _number(c.tensor_parallelism),
        _number(c.replicas_per_instance),
        _number(c.needed_gib, ".2f"),
        _number(c.budget_gib, ".2f"),
        _number(c.usable_gib, ".2f"),
        _number(c.shortfall_gib or None, ".2f"),
        _number(c.idle_gpus),
        _number(c.idle_gpu_memory_gib, ".1f"),
        usd(c.hourly_usd, 4),
        usd(c.spot_hourly_usd, 4),
        str(len(c.availability_zone_ids)),
        c.reason,
    )


def _number(value: float | None, pattern: str = "") -> str:
    return "-" if value is None else format(value, pattern)


def _rules(instance: Instance) -> str:
    """How those that can serve are ranked."""
    families = f"families in the order {', '.join(instance.families)}; then " if instance.families else ""
    per_replica = instance.optimize == "costPerReplica"
    price = "the lowest price per replica" if per_replica else "the lowest price of an instance"
    pinned = f"instance.type pins {instance.type}; else " if instance.type else ""
    return f"{pinned}{families}{price}; then fewer idle GPUs, the newer generation, the name"
