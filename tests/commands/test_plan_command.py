"""`gpufleet plan` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from gpufleet.cli import main
from stacks.config import stack_names
from tests.planner.catalog.directories import documents, write

GOOD = {"region": "us-east-1", "model": {"id": "Qwen/Qwen3-8B", "parameters": "8.19B"}, "scaling": {"min": 1, "max": 2}}


def run(*args, **kwargs):
    return CliRunner().invoke(main, list(args), **kwargs)


@pytest.mark.parametrize("stack", stack_names())
def test_every_shipped_stack_plans_without_a_refusal(stack):
    result = run("plan", "-s", stack, "--format", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["refusals"] == []


def test_the_table_shows_the_numbers_of_the_json():
    table = run("plan", "-s", "dev-us-east-1").stdout
    found = json.loads(run("plan", "-s", "dev-us-east-1", "--format", "json").stdout)
    per_gpu = found["memory"]["perGpu"]
    assert found["instance"]["type"] in table
    assert f"{per_gpu['weightsGiB']:.2f}" in table
    assert f"{found['kvCacheTokens']:,} tokens = {found['fullContexts']} full contexts" in table
    for candidate in found["candidates"]:
        assert candidate["type"] in table
        assert candidate["reason"] in table


def test_explain_shows_every_type_with_its_numbers_and_the_rules():
    shown = run("plan", "-s", "dev-us-east-1", "--explain").stdout
    found = json.loads(run("plan", "-s", "dev-us-east-1", "--format", "json").stdout)
    assert "fewer idle GPUs" in shown
    lines = {line.split()[0]: line for line in shown.splitlines() if line.startswith("  ")}
    for row in found["candidates"]:
        line = lines[row["type"]]
        assert line.endswith(row["reason"])
        assert row["verdict"] in line
        for key in ("neededGiB", "budgetGiB", "usableGiB"):
            assert row[key] is None or f"{row[key]:.2f}" in line
        assert (f"{row['hourlyUsd']:.4f}" if row["hourlyUsd"] else "unknown") in line


def test_explain_shows_the_candidates_although_nothing_fits(tmp_path):
    (tmp_path / "asked.json").write_text(json.dumps({**GOOD, "instance": {"maxPricePerHour": 0.1}}))
    result = run("plan", "-f", str(tmp_path / "asked.json"), "--explain")
    assert result.exit_code == 1
    assert "g6.xlarge" in result.stdout
    assert "maxPricePerHour is 0.10" in result.stdout
    assert "raise instance.maxPricePerHour" in result.stderr


def test_explain_is_a_table():
    assert run("plan", "-s", "dev-us-east-1", "--explain", "--format", "json").exit_code == 2


def test_a_batch_answers_every_line_and_fails_at_the_end():
    lines = [
        json.dumps(GOOD),
        "{",
        "3",
        json.dumps({**GOOD, "region": "mars-1"}),
        json.dumps({**GOOD, "instance": {"maxPricePerHour": 0.1}}),
    ]
    result = run("plan", "--batch", "-", input="\n".join(lines))
    assert result.exit_code == 1
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == len(lines)
    assert answers[0]["instance"]["type"]
    for answer in answers[1:]:
        assert set(answer["error"]) >= {"path", "given", "allowed", "message", "nextStep"}
    assert answers[3]["error"]["path"] == "region"
    assert "candidates" not in answers[3]["error"]
    assert answers[4]["error"]["candidates"]


def test_a_good_batch_succeeds():
    result = run("plan", "--batch", "-", input=json.dumps(GOOD) + "\n\n" + json.dumps(GOOD))
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2


def test_another_region_by_option():
    found = json.loads(run("plan", "-s", "dev-us-east-1", "--region", "eu-west-1", "--format", "json").stdout)
    assert found["region"] == "eu-west-1"
    assert all(zone.startswith("euw1-") for zone in found["availabilityZoneIds"])


def test_a_mistake_is_one_message_and_exit_status_1(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("region: us-east-1\nmodel: {id: a/b, parameters: 8B}\nscaling: {min: 1, maxx: 2}\n")
    result = run("plan", "-f", str(path))
    assert result.exit_code == 1
    assert "scaling.maxx" in result.stderr
    assert "did you mean max?" in result.stderr
    assert "r.yaml" in result.stderr
    assert "Traceback" not in result.output
    as_json = run("plan", "-f", str(path), "--format", "json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["error"]["path"] in ("scaling.maxx", "scaling.max")


@pytest.mark.parametrize(
    "args", [(), ("-s", "a", "-f", "b"), ("-s", "no-such-stack"), ("-f", "/no/such/file"), ("--batch", "/no/such")]
)
def test_wrong_calls_end_without_a_traceback(args):
    result = run("plan", *args)
    assert result.exit_code in (1, 2)
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_plan_never_imports_pulumi_or_jinja2():
    code = (
        "import sys; sys.argv = ['gpufleet', 'plan', '-s', 'dev-us-east-1', '--format', 'json']\n"
        "from gpufleet.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'pulumi', 'pulumi_aws', 'boto3', 'jinja2', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"


# Another catalogue ----------------------------------------------------------------------------------------------------


def test_another_catalogue_is_planned_with_and_the_answer_follows_its_price(tmp_path):
    files = documents("us-east-1")
    files["regions/us-east-1.json"]["offers"]["g6.xlarge"]["onDemand"] = 0.5
    write(tmp_path, files)
    planned = json.loads(run("plan", "-s", "dev-us-east-1", "--catalog", str(tmp_path), "--format", "json").stdout)
    assert (planned["instance"]["type"], planned["cost"]["hourly"]["min"]) == ("g6.xlarge", 0.5)
    [line] = run("plan", "--batch", "-", "--catalog", str(tmp_path), input=json.dumps(GOOD)).stdout.splitlines()
    assert json.loads(line)["cost"]["hourly"]["min"] == 0.5


@pytest.mark.parametrize("command", ["plan", "size"])
@pytest.mark.parametrize("options", [["-s", "dev-us-east-1"], ["--batch", "-"]])
def test_a_directory_without_or_with_a_broken_catalogue_is_one_error(tmp_path, command, options):
    def told(directory, *more):
        result = CliRunner().invoke(main, [command, *options, "--catalog", str(directory), *more], input="{}\n{}\n")
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        return result

    assert "there is no catalogue in this directory" in told(tmp_path / "nowhere").stderr
    files = documents("us-east-1")
    files["regions/us-east-1.json"]["offers"]["g6.xlarge"]["onDemand"] = "free"
    broken = write(tmp_path / "broken", files)
    assert (
        f"error: the catalogue in {broken}:\nregions/us-east-1.json: offers.g6.xlarge.onDemand: " in told(broken).stderr
    )
    error = json.loads(told(broken, "--format", "json").stdout)["error"]
    assert error["path"] == "regions/us-east-1.json: offers.g6.xlarge.onDemand"
