"""A catalogue that somebody else wrote: whole, or refused with the file and the key; never a traceback."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.catalog import SERVICES, load_catalog
from gpufleet.planner.catalog.integrity import checked_catalog, find_problems
from gpufleet.planner.catalog.storage import DATA_DIRECTORY
from gpufleet.planner.errors import CatalogError, PlanningError
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from tests.planner.catalog.directories import documents, write

REGION = "eu-north-1"
REGION_FILE = f"regions/{REGION}.json"
REQUIREMENTS = parse_requirements({"region": REGION, "model": {"id": "Qwen/Qwen3-8B"}, "scaling": {"min": 1, "max": 2}})


def problems(directory: Path) -> list[str]:
    with pytest.raises(CatalogError) as error:
        checked_catalog(directory)
    return [problem.describe() for problem in error.value.problems]


def test_the_embedded_catalogue_is_whole() -> None:
    assert list(find_problems(DATA_DIRECTORY)) == []


def test_a_whole_catalogue_plans_as_the_embedded_one_does(tmp_path: Path) -> None:
    other = checked_catalog(write(tmp_path, documents(REGION)))
    assert plan_deployment(REQUIREMENTS, other) == plan_deployment(REQUIREMENTS, load_catalog())


@pytest.mark.parametrize(
    ("file", "keys", "value", "told"),
    [
        (REGION_FILE, ("offers", "g6.xlarge", "onDemand"), -1, "offers.g6.xlarge.onDemand"),
        (REGION_FILE, ("offers", "g6.xlarge", "onDemand"), float("nan"), "offers.g6.xlarge.onDemand"),
        (REGION_FILE, ("offers", "g6.xlarge", "price"), 1, "offers.g6.xlarge.price: an unknown key"),
        (REGION_FILE, ("offers", "g6.xlarge", "zones"), ["eun1-az9"], "offers.g6.xlarge.zones: no zone of the region"),
        (REGION_FILE, ("offers", "g6.xlarge", "spotAsOf"), "2026-13-01", "offers.g6.xlarge.spotAsOf"),
        (REGION_FILE, ("offers", "g6.tiny"), {"zones": ["eun1-az1"]}, "offers.g6.tiny: no row of instance_types.json"),
        (REGION_FILE, ("region",), "eu-north-2", "region: not the region that the file is named after"),
        (REGION_FILE, ("services",), {"nat": {"usd": 1, "asOf": "2026-01-01"}}, "services.nat: no service"),
        ("instance_types.json", ("instanceTypes", "g6.xlarge", "gpu"), "L5", "g6.xlarge.gpu: no row of gpus.json"),
        ("instance_types.json", ("instanceTypes", "g6.xlarge", "vcpu"), 4.5, "instanceTypes.g6.xlarge.vcpu"),
        ("instance_types.json", ("instanceTypes", "g99.x"), {}, "instanceTypes.g99.x.vcpu: required, but missing"),
        ("quotas.json", ("quotas",), [], "no row of quotas.json has its family"),
        ("gpus.json", ("gpus", 0, "usableMemoryMiB"), 10**6, "usableMemoryMiB: more than nominalMemoryMiB"),
        ("gpus.json", ("gpus", 1, "name"), "V100-16GB", "the name stands there twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_and_key(
    tmp_path: Path, file: str, keys: tuple[Any, ...], value: Any, told: str
) -> None:
    files = documents(REGION)
    *path, last = keys
    place = files[file]
    for key in path:
        place = place[key]
    place[last] = value
    assert any(told in problem for problem in problems(write(tmp_path, files)))


def test_a_price_and_its_date_go_together(tmp_path: Path) -> None:
    files = documents(REGION)
    del files[REGION_FILE]["offers"]["g6.xlarge"]["onDemandAsOf"]
    assert problems(write(tmp_path, files)) == [
        f"{REGION_FILE}: offers.g6.xlarge: onDemand and onDemandAsOf go together"
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"[]"])
def test_a_file_that_is_no_document(tmp_path: Path, content: bytes) -> None:
    [problem] = problems(write(tmp_path, documents(REGION) | {"gpus.json": content}))
    assert problem.startswith("gpus.json: ")


def test_a_file_that_is_missing_and_a_catalogue_without_regions(tmp_path: Path) -> None:
    files = documents()
    del files["quotas.json"]
    assert problems(write(tmp_path, files)) == [
        "quotas.json: the file cannot be read: No such file or directory",
        "regions: there is no region\n  allowed: a file for each region, such as regions/us-east-1.json",
    ]


def test_many_problems_are_told_in_part(tmp_path: Path) -> None:
    files = documents(REGION)
    for row in files["instance_types.json"]["instanceTypes"].values():
        row["vcpu"] = 0
    told = problems(write(tmp_path, files))
    assert len(told) == 11
    assert told[-1] == f"… and {len(files['instance_types.json']['instanceTypes']) - 10} problems more"


# Whatever is done to the files ------------------------------------------------------------------------------------

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["g6.xlarge", "L4", "eun1-az1", "2026-01-01", 1, 0.5, 10**400, ["eun1-az1"]]),
)  # fmt: skip


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below a document."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in list(pairs):
        yield document, key
        if isinstance(value, dict | list):
            yield from places(value)


@given(st.data())
@settings(max_examples=150)
def test_a_mutated_catalogue_is_refused_or_works(data: st.DataObject) -> None:
    files = documents(REGION)
    for _ in range(data.draw(st.integers(1, 3))):
        file = data.draw(st.sampled_from(sorted(files)))
        container, key = data.draw(st.sampled_from(list(places(files[file]))))
        if data.draw(st.booleans()):
            container[key] = data.draw(JUNK)
        else:
            container.pop(key)
    with tempfile.TemporaryDirectory() as directory:
        try:
            catalog = checked_catalog(write(Path(directory), files))
        except CatalogError:
            return
        for name in catalog.type_names:
            assert catalog.instance_type(name).usable_gpu_memory_mib >= 0
        for region in catalog.regions:
            zone_ids = set(catalog.availability_zone_ids(region))
            for offer in catalog.offers(region):
                assert set(offer.availability_zone_ids) <= zone_ids
                assert offer.price.on_demand_usd_per_hour is None or offer.price.on_demand_usd_per_hour > 0
            prices = [catalog.service_price(region, name) for name in SERVICES]
            assert all(price is None or price.usd > 0 for price in prices)
        assert all(table.source and table.as_of for table in catalog.provenance.values())
        try:
            plan_deployment(REQUIREMENTS, catalog)
        except PlanningError:
            return
