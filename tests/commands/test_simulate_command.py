"""`gpufleet simulate` as a user runs it."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from gpufleet.cli import main
from stacks import config as stack_config

STACK = "prod-ap-south-1"
SPEEDS = ("--prefill-tokens-per-second", "9000", "--decode-tokens-per-second", "800", "--max-concurrency", "16")
WITH_TARGET = ("--target-seconds", "5", "--streaming")


@pytest.fixture
def trace(tmp_path):
    """Twenty quiet minutes and twenty busy ones."""
    lines = [
        f"{10 * i},{20 if i < 120 else 60},{10_000 if i < 120 else 30_000},{2_000 if i < 120 else 6_000}"
        for i in range(240)
    ]
    path = tmp_path / "arrivals.csv"
    path.write_text("t_s,requests,input_tokens_sum,output_tokens_sum\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(*args):
    return CliRunner().invoke(main, ["simulate", *map(str, args)])


def test_a_stack_s_report(trace):
    result = run("-s", STACK, "--trace", trace, *SPEEDS, *WITH_TARGET)
    assert result.exit_code == 0, result.output
    found = json.loads(run("-s", STACK, "--trace", trace, *SPEEDS, *WITH_TARGET, "--format", "json").stdout)
    assert found["requests"] == 120 * 20 + 120 * 60
    assert f"{found['fleet']['gpuHours']:,.1f}" in result.stdout
    assert f"{found['fleet']['shareWithin']:.2%} within 5 s" in result.stdout
    assert f"p99 {found['percentilesSeconds']['p99']:.3g}" in result.stdout
    assert result.stdout.splitlines()[-1] == f"Advice: {found['advice']}"
    assert found["clairvoyant"]["gpuHours"] <= found["static"]["gpuHours"]
    assert "alarm " in result.stdout
    assert "█" in result.stdout


def test_the_same_call_gives_the_same_bytes(trace):
    args = ("-s", STACK, "--trace", trace, *SPEEDS, *WITH_TARGET)
    assert run(*args).stdout == run(*args).stdout


def test_the_target_is_the_stack_s_unless_it_is_given(trace):
    args = ("-s", STACK, "--trace", trace, *SPEEDS, "--streaming", "--format", "json")
    assert json.loads(run(*args).stdout)["targetSeconds"] == 2.0
    assert json.loads(run(*args, "--target-seconds", "7").stdout)["targetSeconds"] == 7.0


def test_a_rate_multiplies_the_requests(trace):
    args = ("-s", STACK, "--trace", trace, *SPEEDS, *WITH_TARGET, "--format", "json")
    once, thrice = (json.loads(run(*args, *more).stdout) for more in ((), ("--rate", "3")))
    assert thrice["requests"] == 3 * once["requests"]
    assert thrice["static"]["gpuHours"] > once["static"]["gpuHours"]


def test_the_fleet_at_the_beginning_can_be_given(trace):
    args = ("-s", STACK, "--trace", trace, *SPEEDS, *WITH_TARGET, "--rate", "5", "--format", "json")
    few, many = (json.loads(run(*args, "--initial-instances", n).stdout) for n in (1, 4))
    assert few["fleet"]["shareWithin"] < many["fleet"]["shareWithin"]


def test_stacks_side_by_side(trace):
    args = (
        "-s",
        STACK,
        "--trace",
        trace,
        *SPEEDS,
        *WITH_TARGET,
        "--compare",
        "prod-eu-west-1",
        "--compare",
        "dev-us-east-1",
    )
    table = run(*args).stdout
    found = json.loads(run(*args, "--format", "json").stdout)["stacks"]
    assert [stack["stack"] for stack in found] == [STACK, "prod-eu-west-1", "dev-us-east-1"]
    for stack in found:
        [line] = [line for line in table.splitlines() if line.strip().startswith(stack["stack"])]
        assert f"{stack['fleet']['shareWithin']:.2%}" in line


def test_what_a_search_finds_can_be_written_into_the_stack_file(trace, tmp_path, monkeypatch):
    args = ("--trace", trace, *SPEEDS, *WITH_TARGET, "--rate", "1.5")
    found = json.loads(run("-s", STACK, *args, "--search", "--format", "json").stdout)
    text = run("-s", STACK, *args, "--search").stdout
    assert found["changes"]
    for change in found["changes"]:
        assert change["key"].split(".")[-1] in text
    shutil.copytree(stack_config.STACKS_DIRECTORY, tmp_path / "stacks")
    path = tmp_path / "stacks" / f"Pulumi.{STACK}.yaml"
    path.write_text(_with(path.read_text(encoding="utf-8"), found["changes"]), encoding="utf-8")
    for name in ("stack_file", "stack_names"):
        function = getattr(stack_config, name)
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "stacks",))
    again = json.loads(run("-s", STACK, *args, "--format", "json").stdout)
    assert again["fleet"]["shareWithin"] == found["report"]["fleet"]["shareWithin"]
    assert again["fleet"]["gpuHours"] == found["report"]["fleet"]["gpuHours"]


def _with(text, changes):
    """The stack file with the changes in it, as YAML."""
    import yaml

    document = yaml.safe_load(text)
    for change in changes:
        section, *path, key = change["key"].split(".")
        place = document["config"].setdefault(f"gpufleet:{section}", {})
        for name in path:
            place = place.setdefault(name, {})
        place[key] = yaml.safe_load(change["written"])
    return yaml.safe_dump(document)


def test_a_picture(trace, tmp_path):
    result = run("-s", STACK, "--trace", trace, *SPEEDS, *WITH_TARGET, "--plot", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((*SPEEDS[:4], *WITH_TARGET), "--max-concurrency: is missing"),
        (WITH_TARGET, "measure it with the engine's own benchmark"),
        ((*SPEEDS, *WITH_TARGET, "--start", "monday"), "--start: is no time with a time zone"),
        ((*SPEEDS, *WITH_TARGET, "--start", "2026-01-31T08:00"), "2026-01-31T08:00+01:00"),
        ((*SPEEDS, *WITH_TARGET, "--plot", "a.gif"), ".png or .svg"),
    ],
)
def test_wrong_calls_say_what_to_do(trace, args, says):
    result = run("-s", STACK, "--trace", trace, *args)
    assert result.exit_code == 1
    assert says in result.output
    assert "Traceback" not in result.output
    in_json = run("-s", STACK, "--trace", trace, *args, "--format", "json")
    assert in_json.exit_code == 1
    assert json.loads(in_json.stdout)["error"]["message"]


def test_a_stack_without_a_target_names_both_ways_to_give_one(trace):
    result = run("-s", "dev-us-east-1", "--trace", trace, *SPEEDS)
    assert result.exit_code == 1
    assert "scaling.latency: is not set" in result.output
    assert "--target-seconds" in result.output
    assert "stacks/Pulumi.dev-us-east-1.yaml" in result.output


def test_a_trace_that_is_none_is_named(tmp_path):
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n", encoding="utf-8")
    for path in (wrong, tmp_path / "absent.csv"):
        result = run("-s", STACK, "--trace", path, *SPEEDS, *WITH_TARGET)
        assert result.exit_code == 1
        assert path.name in result.output
        assert "Traceback" not in result.output


@pytest.mark.parametrize("more", [("--search",), ("--plot", "a.png")])
def test_a_comparison_is_a_table_only(trace, more):
    result = run("-s", STACK, "--trace", trace, *SPEEDS, *WITH_TARGET, "--compare", STACK, *more)
    assert result.exit_code == 2
