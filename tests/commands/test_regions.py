"""`gpufleet plan --all-regions` as a user runs it."""

from __future__ import annotations

import itertools
import json

import pytest
import yaml
from click.testing import CliRunner

from gpufleet.cli import main
from gpufleet.planner.catalog import load_catalog

REGIONS = load_catalog().regions
DOCUMENT = {
    "region": "us-east-1",
    "model": {"id": "Qwen/Qwen3-8B", "precision": "fp16"},
    "scaling": {"min": 1, "max": 2},
}
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"


def run(*arguments):
    return CliRunner().invoke(main, ["plan", *arguments])


@pytest.fixture
def asked(tmp_path):
    """The answer for a document, as JSON."""

    def ask(document):
        path = tmp_path / "document.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        result = run("-f", str(path), "--all-regions", "--format", "json")
        return result.exit_code, json.loads(result.stdout)

    return ask


def test_every_region_stands_once_the_cheapest_first_and_those_that_cannot_last():
    lines = run("-s", "prod-us-east-1", "--all-regions", "--format", "jsonl").stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    assert sorted(row["region"] for row in rows) == sorted(REGIONS)
    able = [row for row in rows if "error" not in row]
    assert 5 < len(able) < len(rows)
    assert rows[: len(able)] == able
    costs = [row["monthly"]["desired"] for row in able]
    assert costs == sorted(costs)
    for one, next_one in itertools.pairwise(able):
        if (one["monthly"], one["hourlyUsd"]) == (next_one["monthly"], next_one["hourlyUsd"]):
            assert len(one["availabilityZoneIds"]) >= len(next_one["availabilityZoneIds"])
    for row in rows[len(able) :]:
        assert row["error"]["message"]
        assert "candidates" not in row["error"]


def test_each_row_is_the_plan_of_its_region():
    lines = run("-s", "dev-us-east-1", "--all-regions", "--format", "jsonl").stdout.splitlines()
    for row in (json.loads(line) for line in lines[:3]):
        plan = json.loads(run("-s", "dev-us-east-1", "--region", row["region"], "--format", "json").stdout)
        assert row["type"] == plan["instance"]["type"]
        assert row["fallbacks"] == plan["fallbacks"]
        assert row["availabilityZoneIds"] == plan["availabilityZoneIds"]
        assert row["monthly"] == plan["cost"]["monthly"]


def test_the_table_has_every_region_and_groups_those_that_cannot_for_one_reason():
    table = run("-s", "prod-us-east-1", "--all-regions").stdout
    able, _, cannot = table.partition("Cannot\n")
    assert able.splitlines()[0].split()[:5] == ["REGION", "TYPE", "USD/H", "SPOT", "ZONES"]
    for region in REGIONS:
        assert (f"{region} " in able) != (region in cannot)
    assert "af-south-1, eu-south-1, me-south-1: no instance type that the region offers" in cannot


def test_cost_per_replica_ranks_by_the_replica(asked):
    document = {**DOCUMENT, "instance": {"optimize": "costPerReplica"}}
    _, found = asked(document)
    costs = [
        row["monthly"]["desired"] / row["replicasPerInstance"]
        for row in found["regions"]
        if "error" not in row and row["monthly"]["desired"] is not None
    ]
    assert costs == sorted(costs)


def test_what_holds_in_one_region_only_is_named_and_not_carried_over(asked):
    document = {
        **DOCUMENT,
        "serving": {"secrets": {"HF_TOKEN": "arn:aws:ssm:us-east-1:123456789012:parameter/hf"}},
        "instance": {"ami": "ami-0123456789abcdef0"},
        "network": {"internal": False, "certificateArn": CERTIFICATE, "allowedCidrs": ["203.0.113.0/24"]},
    }
    document["model"] = {**DOCUMENT["model"], "source": "s3://weights-of-ours/qwen"}
    code, found = asked(document)
    assert code == 0
    assert found["regionKeys"] == ["model.source", "serving.secrets.HF_TOKEN", "instance.ami", "network.certificateArn"]
    assert sum("error" not in row for row in found["regions"]) > 20
    assert asked(DOCUMENT)[1]["regionKeys"] == []
    reserved = {"ami": "launch", "capacityReservations": ["cr-0123456789abcdef0"]}
    assert asked({**DOCUMENT, "instance": reserved})[1]["regionKeys"] == ["instance.capacityReservations"]


def test_one_line_of_the_table_names_them(tmp_path):
    path = tmp_path / "document.yaml"
    path.write_text(yaml.safe_dump({**DOCUMENT, "instance": {"ami": "ami-0123456789abcdef0"}}), encoding="utf-8")
    last = run("-f", str(path), "--all-regions").stdout.splitlines()[-1]
    assert last == "Good in us-east-1 only, and to be given anew in another region: instance.ami"


def test_a_document_may_leave_its_region_out(asked):
    code, found = asked({key: value for key, value in DOCUMENT.items() if key != "region"})
    assert code == 0
    assert found["regions"] == asked(DOCUMENT)[1]["regions"]


def test_what_is_wrong_everywhere_is_one_error(asked):
    code, found = asked({**DOCUMENT, "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"}})
    assert code == 1
    assert found["error"]["path"] == "serving.secrets.HF_TOKEN"


def test_a_model_that_no_region_can_serve_says_why_of_each(asked):
    code, found = asked({**DOCUMENT, "instance": {"maxPricePerHour": 0.05}})
    assert code == 1
    assert all(row["error"]["message"] for row in found["regions"])


@pytest.mark.parametrize("other", [("--region", "eu-west-1"), ("--batch", "-")])
def test_it_goes_with_neither_a_region_nor_a_batch(other):
    source = () if other[0] == "--batch" else ("-s", "dev-us-east-1")
    result = run(*source, "--all-regions", *other)
    assert result.exit_code == 2
    assert "--all-regions" in result.stderr
