"""What a plan costs, as text: the instances in each way of buying them, and what else is paid.

Owns the layout. Leaves the sums to the planner.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufleet.commands.layout import columns, indented, usd
from gpufleet.planner.plan import Amounts, DeploymentPlan

UNKNOWN = "unknown"


def cost_sections(plan: DeploymentPlan) -> list[str]:
    """The instances, then the rest."""
    cost, spot_percentage = plan.cost, plan.capacity.spot_percentage
    ways = [
        ("as purchased", cost.hourly, cost.monthly, cost.price_date),
        ("all on demand", cost.on_demand.hourly, cost.on_demand.monthly, cost.on_demand.price_as_of),
        ("all Spot", cost.spot.hourly, cost.spot.monthly, cost.spot.price_as_of),
    ]
    rows: list[tuple[str, ...]] = [("INSTANCES", "PER HOUR", "PER MONTH", "PRICES OF")]
    rows += [
        (name, _three(hourly, usd), _three(monthly, usd), as_of or UNKNOWN)
        # Without Spot the fleet is bought as if all were on demand.
        for name, hourly, monthly, as_of in (ways if spot_percentage else ways[1:])
    ]
    if cost.waste:
        waste = cost.waste
        rows.append(("idle GPUs", _three(waste.hourly, usd), _three(waste.monthly, usd), waste.price_as_of or UNKNOWN))
    items: list[tuple[str, ...]] = [("BESIDES", "UNITS PER MONTH", "UNIT", "USD/UNIT", "PER MONTH", "PRICE OF")]
    items += [
        (
            item.description,
            _three(item.quantity, "{:,.0f}".format),
            item.unit,
            UNKNOWN if item.price_usd is None else f"{item.price_usd:g}",
            _three(item.monthly, usd),
            item.price_as_of or UNKNOWN,
        )
        for item in cost.items
    ]
    return ["Cost (USD, at min / desired / max)\n" + indented(f"{columns(rows)}\n\n{columns(items, right={3})}")]


def _three(amounts: Amounts, show: Callable[[float], str]) -> str:
    """The three figures; one where they are the same."""
    figures = [UNKNOWN if n is None else show(n) for n in (amounts.min, amounts.desired, amounts.max)]
    return figures[0] if len(set(figures)) == 1 else " / ".join(figures)
