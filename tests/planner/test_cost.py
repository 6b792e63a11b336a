"""Cost by purchase option."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import Price
from gpufleet.planner.cost import fleet_cost, hourly_usd, on_demand_instances
from gpufleet.planner.plan import Capacity


def capacity(*, base=1, spot=0.0, least=1, desired=1, most=4):
    return Capacity(min=least, desired=desired, max=most, on_demand_base=base, spot_percentage=spot)


PRICE = Price(on_demand_usd_per_hour=1.0, on_demand_as_of="2026-08-26", spot_usd_per_hour=0.4, spot_as_of="2026-08-01")


def test_base_and_share_are_bought_as_ec2_rounds_them():
    # 1 on demand, then half of 3 above the base: 1.5 rounds up to 2 on demand.
    assert on_demand_instances(4, capacity(base=1, spot=50)) == 3
    assert hourly_usd(4, capacity(base=1, spot=50), PRICE) == 3.4


def test_an_unknown_price_is_unknown_and_never_zero():
    no_spot = Price(on_demand_usd_per_hour=1.0, on_demand_as_of="2026-08-26")
    cost = fleet_cost(capacity(base=1, spot=100), no_spot)
    assert cost.hourly.min == 1.0
    assert cost.hourly.max is None
    assert cost.monthly.max is None
    assert fleet_cost(capacity(), Price()).hourly.min is None
    assert fleet_cost(capacity(), Price()).price_date is None


def test_a_month_has_730_hours():
    cost = fleet_cost(capacity(most=2), PRICE)
    assert (cost.monthly.min, cost.monthly.max) == (730.0, 1460.0)


def test_beside_the_blend_stand_all_on_demand_and_all_spot_each_with_its_date():
    cost = fleet_cost(capacity(base=1, spot=50, most=4), PRICE)
    assert cost.hourly.max == 3.4
    assert (cost.on_demand.hourly.max, cost.on_demand.monthly.max, cost.on_demand.price_as_of) == (
        4.0,
        2920.0,
        "2026-08-26",
    )
    assert (cost.spot.hourly.max, cost.spot.monthly.max, cost.spot.price_as_of) == (1.6, 1168.0, "2026-08-01")
    no_spot = fleet_cost(capacity(), Price(on_demand_usd_per_hour=1.0, on_demand_as_of="2026-08-26")).spot
    assert (no_spot.hourly.min, no_spot.monthly.min, no_spot.price_as_of) == (None, None, None)


def test_idle_gpus_waste_their_share_of_what_is_paid():
    assert fleet_cost(capacity(), PRICE).waste is None
    waste = fleet_cost(capacity(base=1, spot=50, most=4), PRICE, idle_share=0.25).waste
    assert (waste.hourly.min, waste.hourly.max, waste.monthly.max) == (0.25, 0.85, 620.5)
    assert fleet_cost(capacity(), Price(), idle_share=0.5).waste.hourly.max is None


prices = st.none() | st.floats(0, 200).map(lambda usd: round(usd, 4))


@given(
    on_demand=prices,
    spot=prices,
    base=st.integers(0, 9),
    share=st.integers(0, 100),
    sizes=st.tuples(*[st.integers(0, 99)] * 3),
)
def test_the_blend_lies_between_all_spot_and_all_on_demand_and_is_unknown_only_where_it_must_be(
    on_demand, spot, base, share, sizes
):
    least, desired, most = sorted(sizes)
    cost = fleet_cost(
        capacity(base=base, spot=share, least=least, desired=desired, most=most),
        Price(on_demand_usd_per_hour=on_demand, spot_usd_per_hour=spot),
        idle_share=0.5,
    )
    for size in ("min", "desired", "max"):
        blend, whole, cheap, waste = (
            getattr(spend.hourly, size) for spend in (cost, cost.on_demand, cost.spot, cost.waste)
        )
        if blend is None:
            assert on_demand is None or spot is None
            assert waste is None
        else:
            assert waste == pytest.approx(blend / 2, abs=1e-6)
            known = [usd for usd in (whole, cheap) if usd is not None]
            if len(known) == 2:
                assert min(known) - 1e-5 <= blend <= max(known) + 1e-5


@given(n=st.integers(0, 500), base=st.integers(0, 20), spot=st.floats(0, 100))
def test_on_demand_is_never_below_the_base_nor_above_the_fleet(n, base, spot):
    count = on_demand_instances(n, capacity(base=base, spot=spot))
    assert min(n, base) <= count <= n
    assert on_demand_instances(n, capacity(base=base, spot=0)) == n
