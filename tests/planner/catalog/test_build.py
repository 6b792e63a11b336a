"""How AWS's answers become rows, and that the committed files are what the generator writes."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import build
from gpufleet.planner.catalog.storage import DATA_DIRECTORY

GPUS = json.loads((DATA_DIRECTORY / "gpus.json").read_text())["gpus"]

ANSWER: dict[str, Any] = {
    "InstanceType": "g6.xlarge",
    "BareMetal": False,
    "SupportedUsageClasses": ["spot", "on-demand"],
    "VCpuInfo": {"DefaultVCpus": 4},
    "MemoryInfo": {"SizeInMiB": 16384},
    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    "NetworkInfo": {
        "NetworkCards": [{"BaselineBandwidthInGbps": 2.5, "PeakBandwidthInGbps": 10.0}],
        "EfaSupported": False,
    },
    "EbsInfo": {
        "EbsOptimizedInfo": {
            "BaselineThroughputInMBps": 125.0,
            "MaximumThroughputInMBps": 625.0,
            "MaximumIops": 20000,
        }
    },
    "GpuInfo": {
        "Gpus": [{"Count": 1, "Name": "L4", "Manufacturer": "NVIDIA", "MemoryInfo": {"SizeInMiB": 22888}}],
        "TotalGpuMemoryInMiB": 22888,
    },
}


def answer_with(**gpu: Any) -> dict[str, Any]:
    answer = copy.deepcopy(ANSWER)
    answer["GpuInfo"]["TotalGpuMemoryInMiB"] = gpu.pop("total", 22888)
    answer["GpuInfo"]["Gpus"][0].update(gpu)
    return answer


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "tools" / "generate_catalog.py"
    specification = importlib.util.spec_from_file_location("generate_catalog", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_committed_files_are_what_the_generator_writes(generator: ModuleType) -> None:
    """But those that `gpufleet catalog refresh` wrote since: they name another source."""
    written = generator.documents(generator.GIVEN_PRICES)
    committed = {
        path.relative_to(DATA_DIRECTORY).as_posix(): path.read_text(encoding="utf-8")
        for path in [DATA_DIRECTORY / "instance_types.json", *(DATA_DIRECTORY / "regions").glob("*.json")]
    }
    assert set(written) <= set(committed)
    generated = [name for name, text in committed.items() if generator.PACKAGED in json.loads(text)["source"]]
    assert [name for name in generated if written[name] != committed[name]] == []


def test_an_answer_without_optional_fields() -> None:
    row = build.instance_type_row(ANSWER, GPUS)
    assert (row["gpu"], row["gpuCount"], row["instanceStoreGB"], row["networkBaselineGbps"]) == (
        "L4",
        1,
        0,
        2.5,
    )
    assert row["purchaseOptions"] == ["on-demand", "spot"]
    assert "gpuFraction" not in row
    assert "notSelectableReason" not in row


def test_a_count_of_zero_is_one_part_of_a_gpu() -> None:
    answer = answer_with(Count=0, LogicalGpuCount=1, GpuPartitionSize=0.125, MemoryInfo={"SizeInMiB": 2861}, total=2861)
    row = build.instance_type_row(answer, GPUS)
    assert (row["gpuCount"], row["gpuFraction"], row["notSelectableReason"]) == (
        1,
        0.125,
        build.FRACTIONAL_REASON,
    )


def test_ec2_calls_two_models_a100() -> None:
    for memory, name in ((40960, "A100-40GB"), (81920, "A100-80GB")):
        answer = answer_with(Name="A100", MemoryInfo={"SizeInMiB": memory}, total=memory)
        assert build.instance_type_row(answer, GPUS)["gpu"] == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Name": "L5"}, "no row in gpus.json for EC2's 'L5'"),
        ({"MemoryInfo": {"SizeInMiB": 1000}, "total": 1000}, "with 1000 MiB"),
        ({"Count": 0}, "0 GPUs of 22888 MiB are not the total"),
        ({"Count": 2}, "2 GPUs of 22888 MiB are not the total"),
    ],
)
def test_an_answer_that_is_not_understood_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build.instance_type_row(answer_with(**change), GPUS)


def test_a_type_without_accelerators_is_refused() -> None:
    without = {key: value for key, value in ANSWER.items() if key != "GpuInfo"}
    with pytest.raises(ValueError, match="neither GPUs nor Neuron devices"):
        build.instance_type_row(without, GPUS)
    with pytest.raises(ValueError, match="not a family"):
        build.instance_type_row({**ANSWER, "InstanceType": "m7i.large"}, GPUS)


def test_prices_that_are_empty_are_left_out_and_zero_is_refused() -> None:
    assert build.price_row("", "2026-08-26", "", "") == {}
    assert build.price_row("1.5", "2026-08-26", "", "") == {"onDemand": 1.5, "onDemandAsOf": "2026-08-26"}
    for text in ("0", "-1", "nan"):
        with pytest.raises(ValueError, match="never zero"):
            build.price_row(text, "2026-08-26", "", "")


def test_a_region_lists_what_it_offers_with_or_without_a_price() -> None:
    ids = {"xx1-az1": ["g6.xlarge", "m7i.large"], "xx1-az2": ["g5.xlarge", "g6.xlarge"]}
    zones = [["xx1-az1", "xx-1b"], ["xx1-az2", "xx-1a"]]
    document = build.region_document("xx-1", zones, ids, {"g6.xlarge": {"onDemand": 1.0}, "p2.xlarge": {}})
    assert document == {
        "region": "xx-1",
        "zones": [["xx1-az1", "xx-1b"], ["xx1-az2", "xx-1a"]],
        "offers": {
            "g5.xlarge": {"zones": ["xx1-az2"]},
            "g6.xlarge": {"zones": ["xx1-az1", "xx1-az2"], "onDemand": 1.0},
        },
    }


@given(
    st.lists(st.frozensets(st.sampled_from(["g5.xlarge", "g6.xlarge", "p5.48xlarge", "m7i.large"])), min_size=1),
    st.randoms(use_true_random=False),
)
def test_zones_pair_one_to_one_with_equal_offers(offers: list[frozenset[str]], random: Any) -> None:
    names = list(offers)
    random.shuffle(names)
    by_id = {f"xx1-az{i:02}": types for i, types in enumerate(offers)}
    by_name = {f"xx-1-{i:02}": types for i, types in enumerate(names)}
    pairs = build.pair_zones(by_id, by_name)
    assert [zone_id for zone_id, _ in pairs] == sorted(by_id)
    assert sorted(name for _, name in pairs) == sorted(by_name)
    assert all(by_id[zone_id] == by_name[name] for zone_id, name in pairs)


def test_zones_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="no zone name offers"):
        build.pair_zones({"xx1-az1": ["g5.xlarge"]}, {"xx-1a": ["g6.xlarge"]})
    with pytest.raises(ValueError, match="1 zone ids but 0"):
        build.pair_zones({"xx1-az1": ["g5.xlarge"]}, {})


@given(st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers() | st.text() | st.none())))
def test_a_rendered_document_reads_back_as_it_was(rows: dict[str, dict[str, Any]]) -> None:
    document = {"source": "s", "rows": rows, "list": [1, 2]}
    assert json.loads(build.render(document, one_per_line=("rows",))) == document
