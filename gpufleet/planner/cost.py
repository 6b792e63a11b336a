"""What the instances of a fleet cost, by the purchase options, and all on demand or all Spot beside it.

Owns the split into on demand and Spot, the sums and the cost of idle GPUs. Leaves prices to the catalogue, and what a
stack makes beside its instances to `cost_items`. An unknown price makes an unknown sum, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from gpufleet.planner.catalog import Price
from gpufleet.planner.plan import Amounts, Capacity, Cost, CostItem, Spend
from gpufleet.planner.units import HOURS_PER_MONTH


def on_demand_instances(instances: int, capacity: Capacity) -> int:
    """How many of `instances` are bought on demand: the base, and the rest's share rounded up.

    EC2 Auto Scaling rounds a broken number of instances above the base up in favour of on demand.
    """
    above_base = max(instances - capacity.on_demand_base, 0)
    return (instances - above_base) + math.ceil(above_base * (100 - capacity.spot_percentage) / 100 - 1e-9)


def hourly_usd(instances: int, capacity: Capacity, price: Price) -> float | None:
    """US dollars per hour of so many instances; None where a price that counts is unknown."""
    on_demand = on_demand_instances(instances, capacity)
    parts = ((on_demand, price.on_demand_usd_per_hour), (instances - on_demand, price.spot_usd_per_hour))
    total = 0.0
    for count, usd_per_hour in parts:
        if count and usd_per_hour is None:
            return None
        total += count * (usd_per_hour or 0.0)
    return round(total, 6)


def fleet_cost(capacity: Capacity, price: Price, *, idle_share: float = 0.0, items: tuple[CostItem, ...] = ()) -> Cost:
    """The cost of the fleet at its minimum, desired and maximum size. `idle_share` is that of the GPUs which no replica
    uses: the same share of the price is wasted."""

    def blend(instances: int) -> float | None:
        return hourly_usd(instances, capacity, price)

    bought = _spend(capacity, blend, price.on_demand_as_of)
    wasted = _spend(capacity, lambda instances: _times(blend(instances), idle_share), price.on_demand_as_of)
    return Cost(
        currency="USD",
        price_date=bought.price_as_of,
        hourly=bought.hourly,
        monthly=bought.monthly,
        on_demand=_spend(capacity, lambda n: _times(price.on_demand_usd_per_hour, n), price.on_demand_as_of),
        spot=_spend(capacity, lambda n: _times(price.spot_usd_per_hour, n), price.spot_as_of),
        waste=wasted if idle_share else None,
        items=items,
    )


def _spend(capacity: Capacity, usd_per_hour: Callable[[int], float | None], as_of: str) -> Spend:
    hourly = {size: usd_per_hour(getattr(capacity, size)) for size in ("min", "desired", "max")}
    monthly = {size: None if usd is None else round(usd * HOURS_PER_MONTH, 2) for size, usd in hourly.items()}
    return Spend(hourly=Amounts(**hourly), monthly=Amounts(**monthly), price_as_of=as_of or None)


def _times(usd: float | None, factor: float) -> float | None:
    return None if usd is None else round(usd * factor, 6)
