"""The catalogue's lookups, and the integrity of every row that is shipped."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

from gpufleet.planner.catalog import SERVICES, Catalog, InstanceType, Offer, load_catalog
from gpufleet.planner.errors import CatalogError

CATALOG = load_catalog()
TYPES = [CATALOG.instance_type(name) for name in CATALOG.type_names]
OFFERS = [(region, offer) for region in CATALOG.regions for offer in CATALOG.offers(region)]


def type_id(value: object) -> str:
    return value.name if isinstance(value, InstanceType) else str(value)


def offers_of(region: str) -> dict[str, Offer]:
    return {offer.instance_type.name: offer for offer in CATALOG.offers(region)}


# Known facts: one per trap in the sources --------------------------------------------------------


def test_the_closed_list_of_gpus() -> None:
    assert CATALOG.gpu_names == (
        "V100-16GB", "V100-32GB", "T4", "T4G", "A10G", "A100-40GB", "A100-80GB", "L4", "L40S", "H100", "H200",
        "B200", "B300", "RTX PRO 4500", "RTX PRO 6000",
    )  # fmt: skip


def test_every_family_of_ec2_with_gpus_or_neuron_devices_is_there() -> None:
    assert CATALOG.families == (
        "g4dn", "g5", "g5g", "g6", "g6e", "g6f", "g7", "g7e", "gr6", "gr6f", "inf1", "inf2", "p3dn", "p4d",
        "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300", "trn1", "trn1n", "trn2", "trn2u",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "gpu", "count", "usable_gib"),
    [
        ("g4dn.xlarge", "T4", 1, 14.56),
        ("g4dn.metal", "T4", 8, 14.56),
        ("g5.12xlarge", "A10G", 4, 22.06),
        ("g6.xlarge", "L4", 1, 22.05),
        ("g6e.48xlarge", "L40S", 8, 44.42),
        ("g7e.2xlarge", "RTX PRO 6000", 1, 94.97),
        ("p4d.24xlarge", "A100-40GB", 8, 39.38),
        ("p4de.24xlarge", "A100-80GB", 8, 79.15),
        ("p5.4xlarge", "H100", 1, 79.18),
        ("p5.48xlarge", "H100", 8, 79.18),
        ("p5en.48xlarge", "H200", 8, 139.80),
        ("p6-b200.48xlarge", "B200", 8, 178.35),
    ],
)
def test_gpus_of_a_type_are_what_the_driver_reports(name: str, gpu: str, count: int, usable_gib: float) -> None:
    found = CATALOG.instance_type(name)
    assert (found.gpu.name, found.gpu_count, found.gpu_fraction) == (gpu, count, 1.0)
    assert found.usable_gpu_memory_mib / 1024 == pytest.approx(usable_gib, abs=0.001)


@pytest.mark.parametrize(
    ("name", "fraction"),
    [
        ("g6f.large", 0.125),
        ("g6f.xlarge", 0.125),
        ("g6f.2xlarge", 0.25),
        ("g6f.4xlarge", 0.5),
        ("gr6f.4xlarge", 0.5),
    ],
)
def test_fractional_types_have_one_part_of_a_gpu(name: str, fraction: float) -> None:
    found = CATALOG.instance_type(name)
    assert (found.gpu.name, found.gpu_count, found.gpu_fraction) == ("L4", 1, fraction)
    assert found.usable_gpu_memory_mib == int(22579 * fraction)
    assert not found.selectable
    assert "GRID" in found.not_selectable_reason


def test_specifications_of_a_known_type() -> None:
    found = CATALOG.instance_type("g4dn.2xlarge")
    assert (found.vcpu, found.memory_mib, found.instance_store_gb) == (8, 32768, 225)
    assert (found.network_baseline_gbps, found.network_gbps, found.efa) == (10, 25, False)
    assert (found.ebs_baseline_mb_per_second, found.ebs_max_mb_per_second) == (143.75, 437.5)
    assert (found.family, found.size, found.generation, found.architecture) == (
        "g4dn",
        "2xlarge",
        4,
        "x86_64",
    )


def test_what_can_be_selected() -> None:
    not_selectable = {t.family for t in TYPES if not t.selectable}
    assert not_selectable == {"g6f", "gr6f", "p3dn", "inf1", "inf2", "trn1", "trn1n", "trn2", "trn2u"}
    assert CATALOG.instance_type("g5.xlarge").selectable, "EC2's mark of a previous generation excludes nothing"
    assert "Neuron" in CATALOG.instance_type("inf2.xlarge").not_selectable_reason
    assert "Turing" in CATALOG.instance_type("p3dn.24xlarge").not_selectable_reason


def test_quotas_by_family() -> None:
    def codes(name: str) -> tuple[str, str]:
        quota = CATALOG.instance_type(name).quota
        return quota.on_demand_code, quota.spot_code

    assert codes("g6.xlarge") == codes("gr6.4xlarge") == ("L-DB2E81BA", "L-3819A6DF")
    assert codes("p4d.24xlarge") == codes("p6-b200.48xlarge") == ("L-417A185B", "L-7212CCBC")
    assert codes("p5.48xlarge") == codes("p5en.48xlarge") == ("L-417A185B", "L-C4BD4855")


def test_a_known_price_and_its_date() -> None:
    """Shipped or refreshed, what everybody uses has a price."""
    price = offers_of("us-east-1")["g6.xlarge"].price
    assert price.on_demand_usd_per_hour is not None
    assert 0.4 < price.on_demand_usd_per_hour < 1.6
    assert price.on_demand_as_of >= "2026-08-26"
    assert price.spot_usd_per_hour is not None
    assert price.spot_as_of


def test_offered_types_without_a_price_are_there_and_unknown() -> None:
    unpriced = {(region, o.instance_type.name) for region, o in OFFERS if o.price.on_demand_usd_per_hour is None}
    assert {("eu-north-1", "p5.4xlarge"), ("eu-central-1", "g7.2xlarge")} <= unpriced
    assert all(o.price.on_demand_usd_per_hour is None for _, o in OFFERS if o.instance_type.family in ("p5e", "trn2"))


# Every row ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", TYPES, ids=type_id)
def test_every_type_is_whole(found: InstanceType) -> None:
    assert found.name == f"{found.family}.{found.size}"
    assert found.vcpu > 0
    assert found.memory_mib > 0
    assert found.gpu_count > 0
    assert found.gpu.name in CATALOG.accelerator_names
    assert found.gpu_fraction in (0.125, 0.25, 0.5, 1.0)
    assert found.gpu_fraction == 1.0 or found.gpu_count == 1
    assert 0 < found.usable_gpu_memory_mib <= found.gpu.nominal_memory_mib * found.gpu_fraction
    assert found.architecture in ("x86_64", "arm64")
    assert 0 < found.network_baseline_gbps <= found.network_gbps
    assert 0 < found.ebs_baseline_mb_per_second <= found.ebs_max_mb_per_second
    assert found.instance_store_gb >= 0
    assert found.generation == int(re.sub(r"^\D+", "", found.family)[0])
    assert "on-demand" in found.purchase_options
    assert found.quota.on_demand_name
    assert found.quota.spot_name
    assert found.selectable is (not found.not_selectable_reason)
    if found.selectable:
        assert found.gpu.vendor == "NVIDIA"
        assert found.gpu_fraction == 1.0
        assert found.quota.on_demand_code
        assert found.quota.spot_code


@pytest.mark.parametrize("name", CATALOG.accelerator_names)
def test_every_gpu_is_whole(name: str) -> None:
    gpu = CATALOG.gpu(name)
    assert 0 < gpu.usable_memory_mib <= gpu.nominal_memory_mib
    assert gpu.usable_note
    assert gpu.data_sheet
    assert gpu.memory_bandwidth_gb_per_second > 0
    assert set(gpu.peak_tflops) <= set(gpu.native_precisions)
    assert all(rate > 0 for rate in gpu.peak_tflops.values())
    if gpu.vendor == "NVIDIA":
        assert gpu.architecture in ("volta", "turing", "ampere", "ada", "hopper", "blackwell")
        assert gpu.interconnect in ("nvlink", "pcie")
        assert gpu.compute_capability >= (7, 0)
        assert ("bf16" in gpu.native_precisions) == (gpu.compute_capability >= (8, 0))
        assert ("fp8" in gpu.native_precisions) == (gpu.compute_capability >= (8, 9))
        if gpu.usable_is_measured:
            measured_gib = float(gpu.usable_note.split(" GiB")[0])
            assert gpu.usable_memory_mib == int(measured_gib * 1024), "the figure is the one that the note cites"
    else:
        assert gpu.not_selectable_reason


WIDER_FIRST = ("fp32", "fp16", "fp8", "fp4")


@pytest.mark.parametrize("name", CATALOG.gpu_names)
def test_narrower_numbers_are_no_slower(name: str) -> None:
    rates = CATALOG.gpu(name).peak_tflops
    known = [rates[precision] for precision in WIDER_FIRST if precision in rates]
    assert known == sorted(known)
    assert rates.get("bf16", rates.get("fp16")) == rates.get("fp16")


def test_every_family_has_one_quota_and_every_quota_a_family() -> None:
    rows = json.loads((CATALOG.directory / "quotas.json").read_text())["quotas"]
    families = [family for row in rows for family in row["families"]]
    assert sorted(families) == list(CATALOG.families)
    codes = [row[key] for row in rows for key in ("on_demand_code", "spot_code") if row[key]]
    assert all(re.fullmatch(r"L-[0-9A-F]{8}", code) for code in codes)


def test_every_type_is_offered_somewhere_and_no_retired_one_is_known() -> None:
    assert {offer.instance_type.name for _, offer in OFFERS} == set(CATALOG.type_names)
    retired = json.loads((CATALOG.directory / "instance_types.json").read_text())["retired"]
    assert not set(retired) & set(CATALOG.type_names)


@pytest.mark.parametrize("family", CATALOG.families)
def test_within_a_family_more_vcpus_come_with_no_less_ram(family: str) -> None:
    sizes = sorted((t.vcpu, t.memory_mib, t.name) for t in TYPES if t.family == family)
    assert [memory for _, memory, _ in sizes] == sorted(memory for _, memory, _ in sizes)


def _extent(kind: InstanceType) -> tuple[float, ...]:
    return kind.vcpu, kind.memory_mib, kind.gpu_count * kind.gpu_fraction, kind.instance_store_gb


@pytest.mark.parametrize("region", CATALOG.regions)
def test_within_a_family_whatever_has_more_of_all_costs_no_less(region: str) -> None:
    priced = [(o.instance_type, o.price.on_demand_usd_per_hour) for o in CATALOG.offers(region)]
    known = [(kind, usd) for kind, usd in priced if usd is not None]
    for small, usd in known:
        for large, more in known:
            if small.family == large.family and all(
                a <= b for a, b in zip(_extent(small), _extent(large), strict=True)
            ):
                assert usd <= more, (small.name, large.name)


@pytest.mark.parametrize("region", CATALOG.regions)
def test_every_price_has_a_day_that_has_been(region: str) -> None:
    """Of a spot price there may be the first and the last of the days that it is from."""
    document = json.loads((CATALOG.directory / "regions" / f"{region}.json").read_text())
    assert document["source"]
    last = date.fromisoformat(document["asOf"])
    for offer in CATALOG.offers(region):
        days = [offer.price.on_demand_as_of, *offer.price.spot_as_of.split("..")]
        parsed = [date.fromisoformat(day) for day in days if day]
        assert all(date(2020, 1, 1) <= day <= last for day in parsed)


@pytest.mark.parametrize("family", CATALOG.families)
def test_within_a_family_sizes_of_as_many_gpus_keep_the_gpu(family: str) -> None:
    gpus = {t.gpu.name for t in TYPES if t.family == family}
    assert len(gpus) == 1


@pytest.mark.parametrize("region", CATALOG.regions)
def test_every_offer_is_whole(region: str) -> None:
    zones = set(CATALOG.availability_zone_ids(region))
    names = [offer.instance_type.name for offer in CATALOG.offers(region)]
    assert names == sorted(set(names))
    for offer in CATALOG.offers(region):
        assert CATALOG.instance_type(offer.instance_type.name) is offer.instance_type
        assert offer.availability_zone_ids
        assert set(offer.availability_zone_ids) <= zones
        assert list(offer.availability_zone_ids) == sorted(offer.availability_zone_ids)
        price = offer.price
        assert (price.on_demand_usd_per_hour is None) == (price.on_demand_as_of == "")
        assert (price.spot_usd_per_hour is None) == (price.spot_as_of == "")
        assert price.on_demand_usd_per_hour is None or price.on_demand_usd_per_hour > 0
        if price.spot_usd_per_hour is not None and price.on_demand_usd_per_hour is not None:
            # The sources round to four and five digits: equal prices may differ by that.
            assert 0 < price.spot_usd_per_hour <= price.on_demand_usd_per_hour + 0.0001


@pytest.mark.parametrize("region", CATALOG.regions)
def test_zones_pair_ids_with_names(region: str) -> None:
    pairs = CATALOG.availability_zones(region)
    assert tuple(zone_id for zone_id, _ in pairs) == CATALOG.availability_zone_ids(region)
    assert all(re.fullmatch(r"[a-z]+\d-az\d+", zone_id) for zone_id, _ in pairs)
    assert all(re.fullmatch(re.escape(region) + "[a-z]", name) for _, name in pairs)
    assert len({name for _, name in pairs}) == len(pairs) >= 2


def test_within_a_family_the_ratio_between_two_regions_is_the_same_for_every_size() -> None:
    base = {name: offer.price.on_demand_usd_per_hour for name, offer in offers_of("us-east-1").items()}
    seen: dict[tuple[str, str], list[float]] = {}
    for region, offer in OFFERS:
        price, here = offer.price.on_demand_usd_per_hour, base.get(offer.instance_type.name)
        if price is not None and here is not None:
            seen.setdefault((region, offer.instance_type.family), []).append(price / here)
    assert len(seen) > 100
    assert {key: ratios for key, ratios in seen.items() if max(ratios) > 1.02 * min(ratios)} == {}


def test_regions_with_nothing_to_offer_are_known_and_empty() -> None:
    assert [region for region in CATALOG.regions if not CATALOG.offers(region)] == ["ca-west-1"]


def test_every_table_has_its_source_and_date() -> None:
    assert set(CATALOG.provenance) == {"gpus", "quotas", "instanceTypes", "offerings", "prices"}
    for provenance in CATALOG.provenance.values():
        assert provenance.source
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", provenance.as_of)


# Lookups -----------------------------------------------------------------------------------------


def problem_of(error: pytest.ExceptionInfo[CatalogError]) -> dict[str, object]:
    return error.value.problems[0].to_json()


def test_an_unknown_region_names_the_nearest() -> None:
    with pytest.raises(CatalogError) as error:
        CATALOG.offers("us-esat-1")
    problem = problem_of(error)
    assert (problem["path"], problem["given"]) == ("region", "us-esat-1")
    assert "us-east-1" in str(problem["nextStep"])
    assert "ap-south-1" in str(problem["allowed"])


@pytest.mark.parametrize("region", ["us-gov-west-1", "cn-north-1", "", "../regions/us-east-1", "US-EAST-1"])
def test_a_region_without_offerings_is_unknown_everywhere(region: str) -> None:
    for lookup in (
        CATALOG.offers,
        CATALOG.availability_zone_ids,
        CATALOG.availability_zones,
        CATALOG.require_region,
    ):
        with pytest.raises(CatalogError, match="unknown region"):
            lookup(region)


def test_an_unknown_type_names_the_nearest_at_the_callers_path() -> None:
    with pytest.raises(CatalogError) as error:
        CATALOG.instance_type("g6.2xlarg", path="instance.exclude[0]")
    problem = problem_of(error)
    assert problem["path"] == "instance.exclude[0]"
    assert str(problem["nextStep"]).startswith("did you mean g6.2xlarge")


def test_a_type_that_is_no_longer_offered_says_so() -> None:
    with pytest.raises(CatalogError, match="offers it in no region any more"):
        CATALOG.instance_type("g4ad.xlarge")


def test_an_unknown_family_and_an_unknown_gpu_name_the_nearest() -> None:
    assert CATALOG.require_family("g6e") == "g6e"
    with pytest.raises(CatalogError, match=r"did you mean .*g4dn"):
        CATALOG.require_family("g4d")
    with pytest.raises(CatalogError, match=r"did you mean .*A100-80GB"):
        CATALOG.gpu("A100-80G")


def test_a_name_like_no_other_has_a_next_step_too() -> None:
    with pytest.raises(CatalogError) as error:
        CATALOG.require_family("zzzzzzzz")
    assert problem_of(error)["nextStep"] == "take a known instance family"


def test_the_embedded_catalogue_is_loaded_once() -> None:
    assert load_catalog() is load_catalog()
    assert CATALOG.offers("us-east-1") is CATALOG.offers("us-east-1")


def test_another_directory_is_read_instead(tmp_path: Path) -> None:
    for name in ("gpus.json", "quotas.json", "instance_types.json"):
        (tmp_path / name).write_bytes((CATALOG.directory / name).read_bytes())
    document = json.loads((CATALOG.directory / "regions" / "us-east-1.json").read_text())
    document["offers"] = {"g6.xlarge": {"zones": ["use1-az1"], "onDemand": 0.5, "onDemandAsOf": "2027-01-01"}}
    (tmp_path / "regions").mkdir()
    (tmp_path / "regions" / "us-east-1.json").write_text(json.dumps(document))
    other = load_catalog(tmp_path)
    assert other.regions == ("us-east-1",)
    (offer,) = other.offers("us-east-1")
    assert (offer.price.on_demand_usd_per_hour, offer.price.on_demand_as_of) == (0.5, "2027-01-01")


def test_the_price_of_a_service_has_its_date_or_is_unknown(tmp_path: Path) -> None:
    for name in ("gpus.json", "quotas.json", "instance_types.json"):
        (tmp_path / name).write_bytes((CATALOG.directory / name).read_bytes())
    document = json.loads((CATALOG.directory / "regions" / "us-east-1.json").read_text())
    document["services"] = {"natGatewayHour": {"usd": 0.5, "asOf": "2027-01-01"}}
    (tmp_path / "regions").mkdir()
    (tmp_path / "regions" / "us-east-1.json").write_text(json.dumps(document))
    other = load_catalog(tmp_path)
    assert other.service_price("us-east-1", "natGatewayHour") == (0.5, "2027-01-01")
    assert other.service_price("us-east-1", "natGatewayGb") is None
    assert all(CATALOG.service_price("us-east-1", name) is None for name in SERVICES), "none was published with them"
    with pytest.raises(CatalogError, match="unknown region"):
        CATALOG.service_price("us-east-9", "natGatewayHour")
    with pytest.raises(ValueError, match="natGateway is none of"):
        CATALOG.service_price("us-east-1", "natGateway")


def test_a_directory_without_a_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="no catalogue in this directory"):
        Catalog(tmp_path)
