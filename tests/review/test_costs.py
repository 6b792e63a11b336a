"""The difference of two monthly costs, and its parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import Price
from gpufleet.planner.cost import fleet_cost
from gpufleet.planner.plan import Capacity
from gpufleet.review.costs import Amounts, cost_change, total
from tests.review.conftest import snapshot

prices = st.none() | st.floats(0.1, 99, allow_nan=False).map(lambda usd: round(usd, 4))


@st.composite
def capacities(draw):
    low, mid, high = sorted(draw(st.tuples(*[st.integers(0, 40)] * 3)))
    return Capacity(
        min=low,
        desired=mid,
        max=high,
        on_demand_base=draw(st.integers(0, 10)),
        spot_percentage=draw(st.integers(0, 100)),
    )


def plan(kind, capacity, catalogue):
    """As much of a plan as its cost needs; `catalogue` has (on demand, Spot) by type."""
    on_demand, spot = catalogue[kind]
    cost = fleet_cost(capacity, Price(on_demand_usd_per_hour=on_demand, spot_usd_per_hour=spot))
    return {
        "instance": {"type": kind},
        "capacity": capacity.model_dump(by_alias=True),
        "cost": cost.model_dump(by_alias=True),
        "candidates": [{"type": t, "hourlyUsd": od, "spotHourlyUsd": s} for t, (od, s) in catalogue.items()],
    }


def capacity(low=1, high=4, base=1, spot=0):
    return Capacity(min=low, desired=low, max=high, on_demand_base=base, spot_percentage=spot)


def parts(before, after):
    return {part.cause: part.difference for part in cost_change(before, after).parts}


def test_no_difference_has_no_parts():
    same = plan("g6.xlarge", capacity(), {"g6.xlarge": (0.8, 0.4)})
    change = cost_change(same, same)
    assert change.parts == ()
    assert change.difference.is_zero


def test_each_cause_stands_alone():
    """By hand: 730 hours; the type at 1 and 4 instances, then one instance more at the top, then half of it Spot."""
    catalogue = {"small": (1.0, 0.5), "large": (2.0, 1.0)}
    before = plan("small", capacity(1, 4), catalogue)
    after = plan("large", capacity(1, 5, spot=50), {**catalogue, "small": (1.1, 0.5)})
    assert parts(before, after) == {
        "price of small": Amounts(73.0, 73.0, 292.0),
        "small to large": Amounts(657.0, 657.0, 2628.0),
        "number of instances": Amounts(0.0, 0.0, 1460.0),
        "on-demand base and Spot share": Amounts(0.0, 0.0, -1460.0),
    }
    assert cost_change(before, after).difference == Amounts(730.0, 730.0, 2920.0)


def test_a_price_alone():
    before, after = (plan("g6.xlarge", capacity(), {"g6.xlarge": (usd, None)}) for usd in (0.8, 0.9))
    assert parts(before, after) == {"price of g6.xlarge": Amounts(73.0, 73.0, 292.0)}


def test_an_unknown_price_makes_the_difference_unknown_and_not_zero():
    known, unknown = (plan("x", capacity(), {"x": (usd, None)}) for usd in (1.0, None))
    change = cost_change(known, unknown)
    assert change.difference == Amounts(None, None, None)
    assert change.difference.highest is None
    assert change.parts[0].cause == "price of x"


def test_a_new_stack_costs_its_whole_and_a_gone_one_goes_on_costing():
    one = plan("x", capacity(), {"x": (1.0, None)})
    assert cost_change(None, one).difference == Amounts(730.0, 730.0, 2920.0)
    gone = cost_change(one, None)
    assert gone.before == Amounts(730.0, 730.0, 2920.0)
    assert gone.difference == Amounts(0.0, 0.0, 0.0)


def test_a_type_that_is_offered_no_more_is_repriced_by_the_next_step():
    before = plan("old", capacity(), {"old": (1.0, None)})
    after = plan("new", capacity(), {"new": (3.0, None)})
    assert parts(before, after) == {"old to new": Amounts(1460.0, 1460.0, 5840.0)}


@given(
    capacities(),
    capacities(),
    st.dictionaries(st.sampled_from("abc"), st.tuples(prices, prices), min_size=3),
    st.data(),
)
def test_the_parts_add_up_to_the_difference(one, other, catalogue, data):
    later = {**catalogue, **data.draw(st.dictionaries(st.sampled_from("abc"), st.tuples(prices, prices)))}
    before = plan(data.draw(st.sampled_from("abc")), one, catalogue)
    after = plan(data.draw(st.sampled_from("abc")), other, later)
    change = cost_change(before, after)
    summed = total(part.difference for part in change.parts)
    for whole, sum_of_parts in zip(change.difference, summed, strict=True):
        if whole is not None and sum_of_parts is not None:
            assert sum_of_parts == pytest.approx(whole, abs=0.06)
    assert "how the cost is worked out" not in {part.cause for part in change.parts}


def test_a_cost_that_another_revision_works_out_otherwise_is_a_part_of_its_own():
    before = plan("x", capacity(), {"x": (1.0, None)})
    after = {**before, "cost": {"monthly": {"min": 740.0, "desired": 740.0, "max": 2930.0}}}
    assert parts(before, after) == {"how the cost is worked out": Amounts(10.0, 10.0, 10.0)}


def test_real_plans_differ_by_their_type():
    before, after = snapshot(), snapshot(instance={"type": "g5.xlarge"})
    change = cost_change(before.plan, after.plan)
    assert [part.cause for part in change.parts] == ["g6.xlarge to g5.xlarge"]
    assert change.after.min == after.plan["cost"]["monthly"]["min"]
