"""What a stack pays for beside its instances: priced where the catalogue has a price, and otherwise unknown."""

from __future__ import annotations

import pytest

from gpufleet.planner.catalog import SERVICES, ServicePrice, load_catalog
from gpufleet.planner.cost_items import cost_items
from tests.planner.documents import plan

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
GIVEN_VPC = {"vpcId": "vpc-0123456789abcdef0", "subnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]}
PUBLIC = {"internal": False, "certificateArn": CERTIFICATE, "allowedCidrs": ["203.0.113.0/24"]}


def items(planned, price_of):
    found = cost_items(
        planned.capacity, planned.storage, planned.network, planned.scaling,
        planned.instance.gpu.count, len(planned.types), planned.server.engine, price_of,
    )  # fmt: skip
    return {item.name: item for item in found}


def quantities(**sections):
    return {item.name: item.quantity.max for item in plan(**sections).cost.items}


def test_a_price_that_is_known_is_multiplied_and_dated():
    asked = []

    def price_of(name):
        asked.append(name)
        return ServicePrice(usd=0.1, as_of="2026-09-01")

    found = items(plan(scaling={"min": 1, "max": 3}), price_of)
    assert sorted(asked) == sorted(SERVICES)
    volumes, balancer, traffic, alarms = (
        found[name] for name in ("rootVolumes", "loadBalancer", "natGatewayTraffic", "alarms")
    )
    assert volumes.monthly.max == pytest.approx(0.1 * 3 * plan().storage.root_volume_gib)
    assert (volumes.price_usd, volumes.price_as_of) == (0.1, "2026-09-01")
    assert balancer.monthly.min == balancer.monthly.max == 73.0
    assert (traffic.price_usd, traffic.quantity.max, traffic.monthly.max) == (0.1, None, None)
    assert (alarms.price_usd, alarms.price_as_of, alarms.monthly.max) == (None, None, None)


def test_a_price_that_is_unknown_is_unknown_and_never_zero():
    for item in items(plan(), lambda name: None).values():
        assert item.price_usd is item.price_as_of is item.monthly.min is item.monthly.max is None


def test_the_plan_takes_its_regions_prices():
    catalog = load_catalog()
    for item in plan(region="eu-west-1").cost.items:
        if item.name == "loadBalancer":
            known = catalog.service_price("eu-west-1", "loadBalancerHour")
            assert item.price_usd == (known.usd if known else None)


def test_addresses_and_gateways_are_those_of_the_network():
    assert quantities()["publicIpv4"] == 730
    zones = len(plan().network.subnets)
    assert quantities(network=PUBLIC)["publicIpv4"] == (1 + zones) * 730
    given = quantities(network=GIVEN_VPC)
    assert not {"natGateway", "natGatewayTraffic", "publicIpv4"} & set(given)
    public = {"loadBalancerSubnetIds": ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"], **PUBLIC}
    assert quantities(network={**GIVEN_VPC, **public})["publicIpv4"] == 2 * 730


def test_an_empty_fleet_has_no_disks_and_no_metrics():
    empty = {item.name: item.quantity.min for item in plan(scaling={"min": 0, "max": 1}).cost.items}
    assert empty["rootVolumes"] == empty["metrics"] == empty["detailedMonitoring"] == 0
    assert empty["loadBalancer"] == 730
