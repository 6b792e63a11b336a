"""Quota arithmetic: what a fleet can take at most, by purchase option and quota."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.cost import on_demand_instances
from gpufleet.planner.plan import Capacity, Rollout
from gpufleet.planner.quota import AccountQuota, quota_needs, short_quotas, unknown_quotas
from gpufleet.planner.rollout import extra_instances
from tests.planner.documents import plan

CATALOG = load_catalog()
TYPES = {name: CATALOG.instance_type(name) for name in CATALOG.type_names}
SELECTABLE = [name for name, kind in TYPES.items() if kind.selectable and "on-demand" in kind.purchase_options]


ROLLOUT = Rollout(
    min_healthy_percent=100,
    max_healthy_percent=110,
    checkpoint_percents=(),
    checkpoint_delay_seconds=None,
    watches_alarms=True,
    skips_matching=True,
)


def capacity(*, most, base=1, spot=0.0):
    return Capacity(min=0, desired=0, max=most, on_demand_base=base, spot_percentage=spot)


def needs(names, **sizes):
    return quota_needs(capacity(**sizes), ROLLOUT, [TYPES[name] for name in names])


def by_quota(found):
    return {(need.purchase_option, need.name): need.vcpu for need in found}


def test_the_largest_type_times_the_largest_fleet_and_a_rollout():
    (need,) = needs(["g6.xlarge", "g6.16xlarge", "g5.2xlarge"], most=2)
    assert (need.name, need.code) == ("Running On-Demand G and VT instances", "L-DB2E81BA")
    assert (need.instances, need.rollout_instances, need.largest_type, need.vcpu) == (2, 1, "g6.16xlarge", 3 * 64)
    assert need.choice_vcpu == 3 * 4
    assert need.arithmetic == "192 vCPU (max 2 x 64 of g6.16xlarge + 64 for a rollout; 12 without fallbacks)"


def test_purchase_options_have_quotas_of_their_own():
    found = needs(["g6.xlarge"], most=10, base=2, spot=50)
    assert by_quota(found) == {
        ("on-demand", "Running On-Demand G and VT instances"): (6 + 1) * 4,
        ("spot", "All G and VT Spot Instance Requests"): (4 + 1) * 4,
    }
    only_spot = needs(["g6.xlarge"], most=10, base=0, spot=100)
    assert [need.purchase_option for need in only_spot] == ["spot"]


def test_families_with_different_quotas_are_kept_apart():
    found = needs(["g6.12xlarge", "p4d.24xlarge", "p5.4xlarge"], most=4, spot=50)
    assert by_quota(found) == {
        ("on-demand", "Running On-Demand G and VT instances"): (3 + 1) * 48,
        ("on-demand", "Running On-Demand P instances"): (3 + 1) * 96,
        ("spot", "All G and VT Spot Instance Requests"): (1 + 1) * 48,
        ("spot", "All P4, P3 and P2 Spot Instance Requests"): (1 + 1) * 96,
        ("spot", "All P5 Spot Instance Requests"): (1 + 1) * 16,
    }
    assert [need.choice_vcpu is not None for need in found] == [True, False, True, False, False]


def test_a_quota_without_a_code_is_to_be_looked_up():
    kind = TYPES["g6.xlarge"]
    nameless = kind._replace(quota=kind.quota._replace(on_demand_code=""))
    (need,) = quota_needs(capacity(most=1), ROLLOUT, [nameless])
    assert need.code is None
    assert need.quota == "Running On-Demand G and VT instances (look its code up by this name)"


@given(
    most=st.integers(1, 300),
    base=st.integers(0, 20),
    spot=st.floats(0, 100),
    names=st.lists(st.sampled_from(SELECTABLE), min_size=1, max_size=6, unique=True),
    data=st.data(),
)
def test_no_fleet_of_these_types_takes_more(most, base, spot, names, data):
    """Whatever its size, whichever types it got, and whichever of its instances are being replaced."""
    sizes = capacity(most=most, base=base, spot=spot)
    types = [TYPES[name] for name in names]
    allowed = by_quota(quota_needs(sizes, ROLLOUT, types))
    size = data.draw(st.integers(0, most))
    on_demand = on_demand_instances(size, sizes)
    extra = extra_instances(size, ROLLOUT)
    for option, count in (("on-demand", on_demand), ("spot", size - on_demand)):
        sold = [kind for kind in types if option in kind.purchase_options]
        if not count or not sold:
            continue
        taken: dict[tuple[str, str], int] = {}
        places = data.draw(st.lists(st.integers(0, len(sold) - 1), min_size=1, max_size=5))
        for place in range(count + extra):
            kind = sold[places[place % len(places)]]
            name = kind.quota.spot_name if option == "spot" else kind.quota.on_demand_name
            taken[option, name] = taken.get((option, name), 0) + kind.vcpu
        assert all(vcpu <= allowed[key] for key, vcpu in taken.items())


@given(st.integers(0, 10_000))
def test_a_rollout_adds_one_instance_or_the_share_that_may_stand_beside_the_fleet(instances):
    extra = extra_instances(instances, ROLLOUT)
    assert extra >= 1
    assert (extra - 1) * 100 < max(1, instances * 10)
    assert extra_instances(instances, ROLLOUT.model_copy(update={"max_healthy_percent": 100})) == 0


@given(vcpu=st.floats(0, 1e4) | st.none(), most=st.integers(1, 50))
def test_an_account_is_short_exactly_where_it_allows_less(vcpu, most):
    (need,) = needs(["g6.2xlarge"], most=most)
    answers = [AccountQuota(need, vcpu, "" if vcpu is not None else "no permission")]
    short = list(short_quotas("us-east-1", answers))
    assert bool(short) == (vcpu is not None and vcpu < need.vcpu)
    assert (unknown_quotas(answers) is None) == (vcpu is not None)
    for notice in short:
        assert not notice.is_refusal
        assert f"request {need.vcpu} in Service Quotas" in notice.next_step


def test_a_reason_that_all_share_is_told_once():
    found = needs(["g6.xlarge", "p5.4xlarge"], most=1)
    line = unknown_quotas([AccountQuota(need, None, "AccessDenied") for need in found])
    assert line is not None
    assert line.count("AccessDenied") == 1
    assert "L-DB2E81BA" in line
    assert "L-417A185B" in line


@pytest.mark.parametrize("spot", [0, 50, 100])
def test_a_plan_tells_the_quotas_of_every_type_that_its_group_names(spot):
    planned = plan(instance={"spotPercentage": spot}, scaling={"min": 1, "max": 3})
    kinds = [TYPES[planned_type.type] for planned_type in planned.types]
    assert planned.quotas == quota_needs(planned.capacity, planned.rollout, kinds)
    assert {need.purchase_option for need in planned.quotas} == ({"on-demand", "spot"} if spot else {"on-demand"})
