"""What the instances of a fleet cost, by the purchase options.

Owns the split into on demand and Spot and the sums. Leaves prices to the catalogue. An unknown price makes an unknown
sum, never zero.
"""

from __future__ import annotations

import math

from gpufleet.planner.catalog import Price
from gpufleet.planner.plan import Amounts, Capacity, Cost
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


def fleet_cost(capacity: Capacity, price: Price) -> Cost:
    """The cost of the fleet at its minimum, desired and maximum size."""
    hourly = {size: hourly_usd(getattr(capacity, size), capacity, price) for size in ("min", "desired", "max")}
    monthly = {size: None if usd is None else round(usd * HOURS_PER_MONTH, 2) for size, usd in hourly.items()}
    return Cost(
        currency="USD", price_date=price.on_demand_as_of or None, hourly=Amounts(**hourly), monthly=Amounts(**monthly)
    )
