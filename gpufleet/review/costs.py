"""What a change does to the monthly cost, and which part of it comes from what.

Owns splitting a difference into its causes, one after the other: the catalogue's price, the type, the number of
instances, how they are bought. Leaves the cost of a fleet to the planner's `cost`. US dollars per month of 730 hours,
instances only; None is unknown, and a sum with an unknown part is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gpufleet.planner.catalog import Price
from gpufleet.planner.cost import hourly_usd
from gpufleet.planner.plan import Capacity
from gpufleet.planner.units import HOURS_PER_MONTH

Plan = Mapping[str, Any]

CENT = 0.01


class Amounts(NamedTuple):
    """Of the smallest, the first and the largest fleet."""

    min: float | None
    desired: float | None
    max: float | None

    def minus(self, other: Amounts) -> Amounts:
        """Size by size."""
        return Amounts(*(_minus(a, b) for a, b in zip(self, other, strict=True)))

    def plus(self, other: Amounts) -> Amounts:
        """Size by size."""
        return Amounts(*(None if a is None or b is None else round(a + b, 2) for a, b in zip(self, other, strict=True)))

    @property
    def is_zero(self) -> bool:
        """Whether all are known to be less than a cent."""
        return all(amount is not None and abs(amount) < CENT for amount in self)

    @property
    def highest(self) -> float | None:
        """The largest of the three; None where one is unknown."""
        known = [amount for amount in self if amount is not None]
        return max(known) if len(known) == len(self) else None


NOTHING = Amounts(0.0, 0.0, 0.0)


class Part(NamedTuple):
    """One cause of a difference."""

    cause: str
    difference: Amounts


class CostChange(NamedTuple):
    """The cost on both sides; None on the side where the stack does not exist."""

    before: Amounts | None
    after: Amounts | None
    parts: tuple[Part, ...]

    @property
    def difference(self) -> Amounts:
        """What it costs more. A stack whose file is gone goes on costing what it did, until it is destroyed."""
        if self.after is None:
            return NOTHING
        return self.after.minus(self.before or NOTHING)


UNKNOWN_COST = CostChange(Amounts(None, None, None), Amounts(None, None, None), ())
"""That of a stack whose plans cannot be read."""


def cost_change(before: Plan | None, after: Plan | None) -> CostChange:
    """The cost of a stack on both sides, and the parts of the difference where both exist."""
    old, new = (None if plan is None else _reported(plan) for plan in (before, after))
    if before is None or after is None or old is None or new is None:
        return CostChange(old, new, ())
    parts = [part for part in _parts(before, after) if not part.difference.is_zero]
    explained = total(part.difference for part in parts)
    rest = new.minus(old).minus(explained)
    if not all(amount is None or abs(amount) < 5 * CENT for amount in rest):
        parts.append(Part("how the cost is worked out", rest))
    return CostChange(old, new, tuple(parts))


def total(amounts: Iterable[Amounts]) -> Amounts:
    """The sum, size by size."""
    result = NOTHING
    for each in amounts:
        result = result.plus(each)
    return result


def _parts(before: Plan, after: Plan) -> Iterator[Part]:
    """From the base's fleet to the head's in four steps, each of which changes one thing."""
    old_type, new_type = before["instance"]["type"], after["instance"]["type"]
    old_capacity, new_capacity = _capacity(before), _capacity(after)
    resized = new_capacity.model_copy(
        update={"on_demand_base": old_capacity.on_demand_base, "spot_percentage": old_capacity.spot_percentage}
    )
    old_price, new_price = _price(before, old_type), _price(after, new_type)
    # A type that the head's catalogue does not offer any more has no new price: its step is the next one's.
    repriced = _price(after, old_type) or old_price
    steps = (
        ("", old_capacity, old_price),
        (f"price of {old_type}", old_capacity, repriced),
        (f"{old_type} to {new_type}", old_capacity, new_price),
        ("number of instances", resized, new_price),
        ("on-demand base and Spot share", new_capacity, new_price),
    )
    costs = [_monthly(capacity, price) for _, capacity, price in steps]
    for (cause, *_), cost, previous in zip(steps[1:], costs[1:], costs, strict=False):
        yield Part(cause, cost.minus(previous))


def _reported(plan: Plan) -> Amounts:
    monthly = plan["cost"]["monthly"]
    return Amounts(monthly["min"], monthly["desired"], monthly["max"])


def _capacity(plan: Plan) -> Capacity:
    capacity = plan["capacity"]
    return Capacity(
        min=capacity["min"],
        desired=capacity["desired"],
        max=capacity["max"],
        on_demand_base=capacity["onDemandBase"],
        spot_percentage=capacity["spotPercentage"],
    )


def _price(plan: Plan, name: str) -> Price | None:
    """A type's price as the plan's catalogue has it; None where the region does not offer the type."""
    row = next((c for c in plan["candidates"] if c["type"] == name), None)
    if row is None:
        return None
    return Price(on_demand_usd_per_hour=row["hourlyUsd"], spot_usd_per_hour=row.get("spotHourlyUsd"))


def _monthly(capacity: Capacity, price: Price | None) -> Amounts:
    if price is None:
        return Amounts(None, None, None)
    hourly = (hourly_usd(size, capacity, price) for size in (capacity.min, capacity.desired, capacity.max))
    return Amounts(*(None if usd is None else round(usd * HOURS_PER_MONTH, 2) for usd in hourly))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else round(a - b, 2)
