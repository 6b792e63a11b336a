"""`gpufleet catalog show` and `gpufleet catalog diff` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from gpufleet.cli import main
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.catalog.storage import DATA_DIRECTORY
from tests.planner.catalog.directories import documents, write

CATALOG = load_catalog()
G6 = next(o.price for o in CATALOG.offers("us-east-1") if o.instance_type.name == "g6.xlarge")


def run(*args):
    return CliRunner().invoke(main, ["catalog", *args])


def rows(*args):
    result = run("show", *args, "--format", "jsonl")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# Show -----------------------------------------------------------------------------------------------------------------


def test_every_type_and_in_how_many_regions_it_is_offered():
    found = rows()
    assert [row["type"] for row in found] == sorted(CATALOG.type_names)
    for row in found:
        offering = [r for r in CATALOG.regions if row["type"] in {o.instance_type.name for o in CATALOG.offers(r)}]
        assert row["regions"] == len(offering)


def test_offers_of_a_region_the_cheapest_first_and_unknown_prices_last():
    prices = [row["onDemandUsdPerHour"] for row in rows("--region", "eu-north-1")]
    known = [price for price in prices if price is not None]
    assert None in prices
    assert prices == sorted(known) + [None] * (len(prices) - len(known))
    table = run("show", "--region", "eu-north-1").stdout
    [line] = [line for line in table.splitlines() if line.startswith("g7.2xlarge ")]
    assert line.split()[-6:] == ["unknown", "-", "unknown", "-", "eun1-az1,", "eun1-az2"]


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        (["--family", "g6", "--family", "g6e"], lambda row: row["family"] in ("g6", "g6e")),
        (["--gpu", "H100"], lambda row: row["gpu"] == "H100"),
        (["--type", "g5.xlarge"], lambda row: row["type"] == "g5.xlarge"),
        (["--min-gpus", "4"], lambda row: row["gpuCount"] >= 4),
        (["--min-gpu-memory", "40"], lambda row: row["usableGpuMemoryMiB"] >= 40 * 1024),
        (
            ["--max-price", "2.5"],
            lambda row: row["onDemandUsdPerHour"] is not None and row["onDemandUsdPerHour"] <= 2.5,
        ),
        (["--architecture", "arm64"], lambda row: row["architecture"] == "arm64"),
        (["--selectable"], lambda row: row["selectable"]),
    ],
)
def test_a_filter_keeps_what_it_says_and_all_of_it(options, holds):
    everything = rows("--region", "us-east-1", "--sort", "name")
    kept = rows("--region", "us-east-1", "--sort", "name", *options)
    assert kept == [row for row in everything if holds(row)]
    assert 0 < len(kept) < len(everything)


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("spot", lambda row: row["spotUsdPerHour"]),
        ("gpus", lambda row: row["gpuCount"] * row["gpuFraction"]),
        ("memory", lambda row: row["gpuCount"] * row["usableGpuMemoryMiB"]),
        ("vcpu", lambda row: row["vcpu"]),
        ("name", lambda row: row["type"]),
    ],
)
def test_sorting(sort, key):
    values = [key(row) for row in rows("--region", "us-east-1", "--sort", sort)]
    known = [value for value in values if value is not None]
    assert values == sorted(known) + [None] * (len(values) - len(known))


def test_several_regions_stand_together():
    found = rows("--all-regions", "--type", "p5.48xlarge")
    assert [row["onDemandUsdPerHour"] for row in found] == sorted(row["onDemandUsdPerHour"] for row in found)
    assert {row["region"] for row in found} <= set(CATALOG.regions)
    two = run("show", "--region", "us-east-1", "--region", "us-west-2", "--type", "p5.48xlarge").stdout
    assert [line.split()[0] for line in two.splitlines()[:3]] == ["REGION", "us-east-1", "us-west-2"]


def test_every_text_says_where_it_is_from_and_of_when():
    for options in ([], ["--region", "us-east-1"], ["--gpus"]):
        table = run("show", *options).stdout
        tables = json.loads(run("show", *options, "--format", "json").stdout)["tables"]
        dated = [t for t in tables.values() if f"{t['source']} ({t['asOf']})" in table]
        assert dated
    offers = run("show", "--region", "us-east-1", "--type", "g6.xlarge").stdout.splitlines()[1]
    assert f"{G6.on_demand_usd_per_hour:.4f}  {G6.on_demand_as_of}" in offers


def test_the_table_of_gpus_cites_a_data_sheet_for_each():
    table = run("show", "--gpus").stdout
    found = rows("--gpus")
    assert [row["name"] for row in found] == list(CATALOG.accelerator_names)
    for row in found:
        [line] = [line for line in table.splitlines() if line.startswith(f"{row['name']} ")]
        assert line.endswith(row["dataSheet"])
        assert (f"{row['usableMemoryMiB'] / 1024:.2f}*" in line) is not row["usableIsMeasured"]
        assert all(f"{name} {rate:g}" in line for name, rate in row["peakTflops"].items())
    assert [row["name"] for row in rows("--gpus", "--gpu", "L4")] == ["L4"]


@pytest.mark.parametrize(
    ("options", "path", "near"),
    [
        (["--region", "us-east-11"], "region", "us-east-1"),
        (["--type", "g6.xlarg"], "--type", "g6.xlarge"),
        (["--family", "g6ee"], "--family", "g6e"),
        (["--gpu", "A100"], "--gpu", "A100-40GB"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest(options, path, near):
    result = run("show", *options)
    assert result.exit_code == 1
    assert f"error: {path}: unknown " in result.stderr
    assert near in result.stderr.partition("did you mean ")[2]
    error = json.loads(run("show", *options, "--format", "json").stdout)["error"]
    assert (error["path"], error["given"]) == (path, options[1])


@pytest.mark.parametrize("options", [["--sort", "price"], ["--sort", "spot"], ["--max-price", "1"]])
def test_prices_need_a_region(options):
    result = run("show", *options)
    assert result.exit_code == 2
    assert "needs --region or --all-regions" in result.stderr


def test_nothing_left():
    result = run("show", "--gpu", "L4", "--min-gpus", "9")
    assert (result.exit_code, result.stdout) == (0, "no instance type is left by these filters\n")


def test_another_catalogue(tmp_path):
    files = documents("us-east-1")
    files["regions/us-east-1.json"]["offers"]["g6.xlarge"]["onDemand"] = 0.5
    [row] = rows("--catalog", str(write(tmp_path, files)), "--region", "us-east-1", "--type", "g6.xlarge")
    assert row["onDemandUsdPerHour"] == 0.5
    files["gpus.json"] = {}
    result = run("show", "--catalog", str(write(tmp_path, files)))
    assert result.exit_code == 1
    assert "gpus.json: source: required, but missing" in result.stderr


def test_showing_imports_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; from gpufleet.cli import main; "
        "assert CliRunner().invoke(main, ['catalog', 'show']).exit_code == 0; "
        "print([name for name in ('boto3', 'botocore', 'pulumi', 'rich', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Diff -----------------------------------------------------------------------------------------------------------------


def differing(tmp_path, change):
    """The options that name the embedded catalogue and one that was changed."""
    files = documents(*CATALOG.regions)
    change(files)
    return str(DATA_DIRECTORY), str(write(tmp_path, files))


def found_in(options):
    result = run("diff", *options, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_catalogue_and_itself_do_not_differ(tmp_path):
    options = differing(tmp_path, lambda files: None)
    document = found_in(options)
    assert not any(document[key] for key in ("types", "gpus", "offers", "prices", "stacks"))
    assert run("diff", *options).stdout.endswith("Nothing differs.\n")


def test_prices_that_moved_the_largest_moves_first(tmp_path):
    def change(files):
        offers = files["regions/us-west-2.json"]["offers"]
        offers["g6.xlarge"]["onDemand"] *= 1.1
        offers["g5.xlarge"]["onDemand"] *= 0.5
        del offers["g4dn.xlarge"]["onDemand"], offers["g4dn.xlarge"]["onDemandAsOf"]
        files["regions/us-west-2.json"]["services"] = {"natGatewayHour": {"usd": 0.045, "asOf": "2026-11-20"}}

    options = differing(tmp_path, change)
    prices = [(p["name"], p["kind"], p["percent"]) for p in found_in(options)["prices"]]
    assert prices == [
        ("g5.xlarge", "on demand", -50.0), ("g6.xlarge", "on demand", 10.0), ("g4dn.xlarge", "on demand", None),
        ("natGatewayHour", "service", None),
    ]  # fmt: skip
    table = run("diff", *options).stdout
    assert "On-demand prices: 3 moved, the largest moves first" in table
    assert "not known any more" in table
    assert "Prices of services: 1 moved" in table
    assert "now known" in table


def test_offers_zones_types_and_gpus(tmp_path):
    def change(files):
        region = files["regions/us-west-2.json"]
        zones = region["offers"]["g6.xlarge"]["zones"]
        region["offers"]["g6.xlarge"]["zones"] = zones[1:]
        del region["offers"]["p4d.24xlarge"]
        files["instance_types.json"]["instanceTypes"]["g6.xlarge"]["vcpu"] = 5
        files["gpus.json"]["gpus"][2]["usableMemoryMiB"] -= 1

    options = differing(tmp_path, change)
    document = found_in(options)
    first = next(o for o in CATALOG.offers("us-west-2") if o.instance_type.name == "g6.xlarge").availability_zone_ids[0]
    assert [(o["type"], o["change"]) for o in document["offers"]] == [
        ("g6.xlarge", "zones"),
        ("p4d.24xlarge", "removed"),
    ]
    assert document["offers"][0]["zonesLost"] == [first]
    assert document["types"] == [
        {"name": "g6.xlarge", "change": "changed", "values": [{"path": "vcpu", "before": 4, "after": 5}]}
    ]
    assert [gpu["name"] for gpu in document["gpus"]] == ["T4"]
    for view in ("table", "markdown"):
        shown = run("diff", *options, "--format", view).stdout
        assert all(
            word in shown for word in ("zones lost".upper() if view == "table" else "zones lost", first, "vcpu", "T4")
        )


def test_a_stack_that_would_choose_otherwise_is_named_with_its_pin(tmp_path):
    def change(files):
        files["regions/us-east-1.json"]["offers"]["g6.xlarge"]["onDemand"] = 9.5

    options = differing(tmp_path, change)
    [stack] = [s for s in found_in(options)["stacks"] if s["moves"]]
    assert stack["stack"] == "dev-us-east-1"
    assert stack["before"] == {"type": "g6.xlarge", "usdPerHour": G6.on_demand_usd_per_hour, "error": ""}
    assert stack["after"]["type"] != "g6.xlarge"
    for view in ("table", "markdown"):
        shown = run("diff", *options, "--format", view).stdout
        assert "instance.type: g6.xlarge in stacks/Pulumi.dev-us-east-1.yaml" in shown
        assert f"g6.xlarge at {G6.on_demand_usd_per_hour:.4f}" in shown


def test_a_stack_whose_type_only_costs_otherwise_does_not_move(tmp_path):
    def change(files):
        files["regions/us-east-1.json"]["offers"]["g6.xlarge"]["onDemand"] = lower

    lower = round(G6.on_demand_usd_per_hour * 0.99, 4)
    [stack] = found_in(differing(tmp_path, change))["stacks"]
    prices = stack["before"]["usdPerHour"], stack["after"]["usdPerHour"]
    assert (stack["moves"], *prices) == (False, G6.on_demand_usd_per_hour, lower)


def test_a_stack_that_cannot_be_planned_any_more_says_why(tmp_path):
    def change(files):
        files["regions/us-east-1.json"]["offers"] = {}

    moved = [s for s in found_in(differing(tmp_path, change))["stacks"] if s["moves"]]
    assert {s["stack"] for s in moved} == {"dev-us-east-1", "prod-us-east-1"}
    assert all(s["after"]["type"] is None and s["after"]["error"] for s in moved)


def test_a_region_that_came(tmp_path):
    other = write(tmp_path, documents("us-east-1"))
    document = found_in([str(other), str(DATA_DIRECTORY)])
    assert "us-west-2" in document["regions"]["added"]
    assert document["regions"]["removed"] == []
    assert {offer["region"] for offer in document["offers"]} == set()


def test_many_moves_are_shown_in_part(tmp_path):
    def change(files):
        for offer in files["regions/us-east-1.json"]["offers"].values():
            if "onDemand" in offer:
                offer["onDemand"] *= 1.01

    options = differing(tmp_path, change)
    moves = [move for move in found_in(options)["prices"] if move["kind"] == "on demand"]
    assert f"{len(moves) - 20} more; --all shows them." in run("diff", *options).stdout
    assert "more; --all" not in run("diff", *options, "--all").stdout


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["no-such-revision"], "no-such-revision"),
        (["README.md"], "README.md is a file; name a directory with a catalogue"),
    ],
)
def test_a_side_that_is_none(names, told):
    result = run("diff", *names)
    assert result.exit_code == 1
    assert told in result.stderr


def test_a_directory_without_a_catalogue_is_no_side(tmp_path):
    result = run("diff", str(DATA_DIRECTORY), str(tmp_path))
    assert result.exit_code == 1
    assert "there is no catalogue in this directory" in result.stderr
