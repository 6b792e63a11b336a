"""Cost by purchase option."""

from __future__ import annotations

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


@given(n=st.integers(0, 500), base=st.integers(0, 20), spot=st.floats(0, 100))
def test_on_demand_is_never_below_the_base_nor_above_the_fleet(n, base, spot):
    count = on_demand_instances(n, capacity(base=base, spot=spot))
    assert min(n, base) <= count <= n
    assert on_demand_instances(n, capacity(base=base, spot=0)) == n
