"""How answers of AWS are read: prices out of products, the median of spot prices, types that two regions answer differently."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog.models import SERVICES as NAMED
from gpufleet.refresh.documents import Answers, make_files
from gpufleet.refresh.price_list import SERVICES, first_price
from gpufleet.refresh.region import RegionAnswers, median_by_type
from tests.planner.catalog.directories import documents
from tests.planner.catalog.test_build import ANSWER
from tests.refresh.price_list_server import PRODUCTS

NOW = datetime(2026, 11, 20, tzinfo=UTC)
PRICES = st.decimals(min_value=Decimal("0.0001"), max_value=100, places=4)


def product(*tiers: tuple[str, str, str]) -> dict[str, Any]:
    """A product with (unit, USD, beginning of the tier)."""
    rates = {
        f"sku.term.{place}": {"unit": unit, "beginRange": begin, "pricePerUnit": {"USD": usd}}
        for place, (unit, usd, begin) in enumerate(tiers)
    }
    return {"product": {"attributes": {}}, "terms": {"OnDemand": {"sku.term": {"priceDimensions": rates}}}}


def test_every_service_of_the_catalogue_is_asked_for() -> None:
    assert list(SERVICES) == list(NAMED)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_one_product_of_a_region_and_no_like_one(name: str) -> None:
    service = SERVICES[name]
    meant = [
        product
        for product in PRODUCTS
        if product["serviceCode"] == service.code
        and service.is_meant(product)
        and product["product"]["attributes"]["regionCode"] == "us-east-1"
        and all(
            {**product["product"], **product["product"]["attributes"]}.get(key) == value
            for key, value in service.filters.items()
        )
    ]
    assert len(meant) == 1


@pytest.mark.parametrize(
    ("usage_type", "is_meant"),
    [
        ("LoadBalancerUsage", True), ("EU-LoadBalancerUsage", True), ("APS3-LoadBalancerUsage", True),
        ("TS-LoadBalancerUsage", False), ("EUW2-TS-LoadBalancerUsage", False), ("Outposts-LoadBalancerUsage", False),
        ("ReservedLoadBalancerUsage", False),
    ],
)  # fmt: skip
def test_usage_types_begin_with_the_region_or_with_nothing(usage_type: str, is_meant: bool) -> None:
    service = SERVICES["loadBalancerHour"]
    assert service.is_meant({"product": {"attributes": {"usagetype": usage_type}}}) is is_meant


@given(st.lists(st.tuples(st.integers(0, 10**6), PRICES), min_size=1, unique_by=lambda tier: tier[0]), st.randoms())
def test_the_first_tier_that_costs_something_counts(tiers: list[tuple[int, Decimal]], random: Any) -> None:
    given_tiers = [("GB", f"{usd}", str(begin + 5)) for begin, usd in tiers] + [("GB", "0.0000000000", "0")]
    random.shuffle(given_tiers)
    assert first_price(product(*given_tiers), {"GB"}) == min(tiers)[1]


def test_a_product_without_a_price_in_the_unit_has_none() -> None:
    assert first_price(product(("Hrs", "1.0", "0")), {"GB"}) is None
    assert first_price(product(("Hrs", "0.0000000000", "0")), {"Hrs"}) is None
    assert first_price(product(("Hrs", "n/a", "0")), {"Hrs"}) is None
    assert first_price({"product": {"attributes": {}}, "terms": {"Reserved": {}}}, {"Hrs"}) is None
    in_yuan = product(("Hrs", "1.0", "0"))
    in_yuan["terms"]["OnDemand"]["sku.term"]["priceDimensions"]["sku.term.0"]["pricePerUnit"] = {"CNY": "9.0"}
    assert first_price(in_yuan, {"Hrs"}) is None


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(PRICES, min_size=1, max_size=4), min_size=1))
def test_spot_is_the_median_over_zones_of_the_newest_price_in_each(history: dict[str, list[Decimal]]) -> None:
    """Prices of a zone stand in it oldest first; EC2 answers them in any order."""
    entries = [
        {
            "InstanceType": "g6.xlarge",
            "AvailabilityZone": zone,
            "SpotPrice": f"{usd}",
            "Timestamp": NOW + timedelta(hours=hour),
        }
        for zone, prices in history.items()
        for hour, usd in enumerate(prices)
    ]
    expected = statistics.median(prices[-1] for prices in history.values())
    assert median_by_type(reversed(entries)) == {"g6.xlarge": f"{expected:.6f}"}


# Documents --------------------------------------------------------------------------------------------------------


def answers(*regions: tuple[str, dict[str, Any]], **more: Any) -> Answers:
    """Each region has one zone, which offers the one type that it answers."""
    found = {
        region: RegionAnswers(
            zones=(("xx1-az1", f"{region}a"),),
            types=(answer,),
            zone_types={"xx1-az1": frozenset({answer["InstanceType"]})},
            zoneless=more.get("zoneless", ()),
            spot={},
        )
        for region, answer in regions
    }
    return Answers(regions=found, on_demand=more.get("on_demand", {}), services={}, as_of="2026-11-20")


def test_a_type_is_sold_as_any_region_sells_it_and_other_differences_are_said() -> None:
    standing = documents("us-west-1")
    other = {**ANSWER, "SupportedUsageClasses": ["capacity-block"]}
    files = make_files(standing, answers(("us-east-1", ANSWER), ("us-west-1", other)))
    assert '"purchaseOptions":["capacity-block","on-demand","spot"]' in files.texts["instance_types.json"]
    assert files.notes == ()
    bigger = {**ANSWER, "MemoryInfo": {"SizeInMiB": 1}}
    files = make_files(standing, answers(("us-east-1", ANSWER), ("us-west-1", bigger)))
    assert files.notes == (
        "us-west-1 answers another memoryMiB of g6.xlarge than the regions before it; the first stands",
    )


def test_a_type_that_no_region_offers_any_more_is_retired() -> None:
    files = make_files(documents("us-west-1"), answers(("us-west-1", ANSWER)))
    text = files.texts["instance_types.json"]
    assert '"g6.xlarge": {' in text
    assert '"g5.xlarge": {' not in text
    assert '"g5.xlarge"' in text.partition('"retired"')[2]


def test_what_is_not_understood_is_left_out_or_kept_and_said() -> None:
    def asked(name: str, gpu: str, standing: dict[str, Any]) -> tuple[str, ...]:
        gpus = {"Gpus": [{**ANSWER["GpuInfo"]["Gpus"][0], "Name": gpu}], "TotalGpuMemoryInMiB": 22888}
        answer = {**ANSWER, "InstanceType": name, "GpuInfo": gpus}
        return make_files(standing, answers(("us-west-1", answer))).notes

    standing = documents("us-west-1")
    new_gpu = asked("g9.xlarge", "L9", standing)
    assert new_gpu[0].startswith("left out: g9.xlarge: no row in gpus.json for EC2's 'L9'")
    assert new_gpu[1] == "left out: g9.xlarge in us-west-1, whose specification is not known"
    assert asked("g9.xlarge", "L4", standing)[0] == "left out: g9.xlarge: no quota of its family in quotas.json: add it"
    assert asked("g6.xlarge", "L9", standing)[0].startswith("kept as it was: g6.xlarge: no row in gpus.json")


def test_an_offer_without_a_zone_is_said() -> None:
    files = make_files(documents("us-west-1"), answers(("us-west-1", ANSWER), zoneless=("p5.48xlarge",)))
    assert files.notes == ("left out: p5.48xlarge, which us-west-1 offers in no zone of the account",)


def test_zones_keep_their_names_while_their_ids_are_the_same() -> None:
    """Names differ from account to account; previews without an account show them."""
    standing = documents("us-west-1")
    known = standing["regions/us-west-1.json"]["zones"]
    found = answers(("us-west-1", ANSWER))
    renamed = tuple((zone_id, f"us-west-1{letter}") for (zone_id, _), letter in zip(known, "yz", strict=True))
    offered = {zone_id: frozenset({"g6.xlarge"}) for zone_id, _ in renamed}
    region = found.regions["us-west-1"]._replace(zones=renamed, zone_types=offered)
    text = make_files(standing, found._replace(regions={"us-west-1": region})).texts["regions/us-west-1.json"]
    assert all(f'["{zone_id}","{name}"]' in text for zone_id, name in known)
