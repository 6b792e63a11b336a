"""`gpufleet check` as a user runs it: on the shipped stacks, on broken ones, and on machines that lack something."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from gpufleet.cli import main
from gpufleet.commands.check import ONLY_AWS_TELLS
from gpufleet.commands.check_project import check_project
from stacks import config as stacks
from tests.emulator.running import running_emulator

SHIPPED = stacks.STACKS_DIRECTORY
MODEL = {"id": "Qwen/Qwen3-8B", "precision": "fp16"}
SCALING = {"min": 1, "max": 3}


@pytest.fixture(autouse=True)
def _no_account(monkeypatch):
    """Whoever runs the tests may have credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory that stands in for stacks/, with what its files name."""
    shutil.copytree(SHIPPED / "architectures", tmp_path / "architectures")
    monkeypatch.setattr(stacks, "STACKS_DIRECTORY", tmp_path)
    monkeypatch.setattr(stacks.stack_file, "__defaults__", (tmp_path,))
    monkeypatch.setattr(stacks.stack_names, "__defaults__", (tmp_path,))
    return tmp_path


def check(*arguments):
    return CliRunner().invoke(main, ["check", *arguments])


def as_json(*arguments):
    """The exit status, the whole answer, and the report of the first stack."""
    result = check("--format", "json", *arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    found = json.loads(result.stdout)
    return result.exit_code, found, found["stacks"][0]


def write(directory, name="test-us-east-1", region="us-east-1", **sections):
    """A stack file with the least that it needs, and these sections over it; None leaves one out."""
    complete = {"model": MODEL, "scaling": SCALING, **sections}
    config = {"aws:region": region} | {f"gpufleet:{n}": value for n, value in complete.items() if value is not None}
    (directory / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
    return name


def told(report, kind):
    return {problem["path"]: problem for problem in report[kind]}


# Shipped stacks -------------------------------------------------------------------------------------------------------


def test_every_shipped_stack_passes_and_says_what_was_asked():
    result = check()
    assert result.exit_code == 0, result.output
    for name in stacks.stack_names():
        assert f"stacks/Pulumi.{name}.yaml: no errors" in result.stdout
        assert f"Checking {name}\n" in result.stderr
    for words in (
        "keys: all known",
        "holds the model",
        "of 16,384 bytes",
        "the program runs offline",
        "within AWS's limits",
    ):
        assert result.stdout.count(words) == len(stacks.stack_names())
    for line in ONLY_AWS_TELLS:
        assert line in result.stdout
    assert f"{len(stacks.stack_names())} stacks: no errors" in result.stdout.splitlines()[-1]


def test_the_same_as_json_without_a_word_besides():
    code, found, report = as_json("-s", "prod-eu-west-1")
    assert code == 0
    assert found["ok"] is True
    assert [r["source"] for r in found["stacks"]] == ["stacks/Pulumi.prod-eu-west-1.yaml"]
    assert report["errors"] == []
    assert set(report["warnings"][0]) == {"path", "given", "allowed", "message", "nextStep"}
    table = check("-s", "prod-eu-west-1").stdout
    for entry in (*report["passed"], *report["notes"], *(w["message"] for w in report["warnings"])):
        assert entry in table


def test_every_warning_has_a_fix():
    _, found, _ = as_json()
    warnings = [w for report in found["stacks"] for w in report["warnings"]]
    assert len(warnings) > 5
    assert all(w["nextStep"] for w in warnings)


def test_strict_makes_warnings_count():
    assert check("-s", "prod-ap-south-1").exit_code == 0
    assert check("-s", "prod-ap-south-1", "--strict").exit_code == 1
    code, found, _ = as_json("-s", "prod-ap-south-1", "--strict")
    assert (code, found["ok"]) == (1, False)


def test_production_pins_its_image_and_others_need_not(directory):
    for name, expected in (("prod-us-east-1", True), ("live_2-us-east-1", True), ("product-us-east-1", False)):
        _, _, report = as_json("-s", write(directory, name))
        assert ("instance.ami" in told(report, "warnings")) is expected, name
    fix = told(as_json("-s", "prod-us-east-1")[2], "warnings")["instance.ami"]["nextStep"]
    assert "gpufleet ami -s STACK --update" in fix
    write(directory, "prod-us-east-1", instance={"ami": "ami-0123456789abcdef0"})
    assert "instance.ami" not in told(as_json("-s", "prod-us-east-1")[2], "warnings")


def test_the_quota_that_the_largest_fleet_needs_is_noted(directory):
    spot = {"type": "g6.xlarge", "spotPercentage": 50}
    _, _, report = as_json("-s", write(directory, instance=spot, scaling={"min": 1, "max": 10}))
    assert report["notes"] == [
        "quota to have in us-east-1: Running On-Demand G and VT instances (L-DB2E81BA): 28 vCPU "
        "(max 6 x 4 of g6.xlarge + 4 for a rollout)",
        "quota to have in us-east-1: All G and VT Spot Instance Requests (L-3819A6DF): 20 vCPU "
        "(max 4 x 4 of g6.xlarge + 4 for a rollout)",
        "quotas not compared with the account's: Running On-Demand G and VT instances (L-DB2E81BA), "
        "All G and VT Spot Instance Requests (L-3819A6DF) (there are no AWS credentials)",
    ]


# Against the account's quotas -----------------------------------------------------------------------------------------

G_ON_DEMAND = "L-DB2E81BA"
ONE_TYPE = {"type": "g6.xlarge"}
"""Of which two, and one for a rollout, take 12 vCPU."""


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with running_emulator(tmp_path_factory.mktemp("emulator") / "log") as emulator:
        yield emulator


@pytest.fixture
def account(emulator, monkeypatch):
    """An account with credentials, in the emulator."""
    for key, value in {
        "ACCESS_KEY_ID": "testing",
        "SECRET_ACCESS_KEY": "testing",
        "ENDPOINT_URL": emulator.endpoint,
    }.items():
        monkeypatch.setenv(f"AWS_{key}", value)
    yield emulator
    emulator.control("DELETE", "quotas")
    emulator.control("DELETE", "faults")


def test_a_quota_that_is_too_small_is_an_error_that_says_what_to_request(directory, account):
    stack = write(directory, instance=ONE_TYPE, scaling={"min": 1, "max": 2})
    code, _, report = as_json("-s", stack)
    assert code == 0
    assert "the account allows 10000 vCPU of Running On-Demand G and VT instances (L-DB2E81BA)" in report["passed"]
    account.control("POST", "quotas", {G_ON_DEMAND: 12})
    assert as_json("-s", stack)[0] == 0
    account.control("POST", "quotas", {G_ON_DEMAND: 8})
    code, _, report = as_json("-s", stack)
    assert code == 1
    (error,) = report["errors"]
    assert error["path"] == "scaling.max"
    assert (
        "the account allows 8 vCPU in us-east-1 of Running On-Demand G and VT instances (L-DB2E81BA)"
        in error["message"]
    )
    assert error["nextStep"] == "request 12 in Service Quotas, or lower scaling.max"


def test_only_the_fallbacks_are_too_large(directory, account):
    stack = write(directory, instance={"families": ["g6"]}, scaling={"min": 1, "max": 2})
    account.control("POST", "quotas", {G_ON_DEMAND: 12})
    (error,) = as_json("-s", stack)[2]["errors"]
    assert "12 without fallbacks" in error["message"]
    assert "leave out the larger types (instance.exclude, instance.maxPricePerHour)" in error["nextStep"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [({"code": "AccessDeniedException", "message": "User: x is not authorized"}, "AccessDeniedException"),
     ({"code": "", "delay_s": 6.0}, "timeout")],
)  # fmt: skip
def test_without_an_answer_it_is_one_line_and_no_error(directory, account, monkeypatch, fault, says):
    monkeypatch.setattr("gpufleet.commands.check_quotas.READ_TIMEOUT_S", 0.5)
    account.control("POST", "faults", {"service": "service-quotas", "action": "GetServiceQuota", "times": 5, **fault})
    code, _, report = as_json("-s", write(directory, instance=ONE_TYPE))
    assert code == 0
    (line,) = [note for note in report["notes"] if "quotas not compared" in note]
    assert says in line


def test_an_account_that_knows_the_default_only(directory, account):
    fault = {"service": "service-quotas", "action": "GetServiceQuota", "code": "NoSuchResourceException"}
    account.control("POST", "faults", fault)
    _, _, report = as_json("-s", write(directory, instance=ONE_TYPE))
    assert any("the account allows 10000 vCPU" in line for line in report["passed"])


def test_a_stack_that_leads_to_another_account_is_not_compared_with_this_one(directory, account):
    name = write(directory, instance=ONE_TYPE)
    file = directory / f"Pulumi.{name}.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["aws:assumeRoles"] = [{"roleArn": "arn:aws:iam::123456789012:role/x"}]
    file.write_text(yaml.safe_dump(document))
    account.control("POST", "quotas", {G_ON_DEMAND: 1})
    code, _, report = as_json("-s", name)
    assert code == 0
    assert any("the stack sets aws:assumeRoles" in note for note in report["notes"])


# What is wrong --------------------------------------------------------------------------------------------------------


def test_every_problem_of_a_file_is_told_at_once(directory):
    write(
        directory,
        "test-eu-west-1",
        modle={},
        model={"id": "a b", "architecture": "nope.json", "precision": "fp12"},
        serving={"environment": {"A": {"secure": "AAAB"}}, "port": 0, "max_model_len": 3},
        instance={"spotPercentage": 0.5},
        scaling={"min": 1, "maxx": 2},
    )
    code, _, report = as_json("-s", "test-eu-west-1")
    errors = told(report, "errors")
    assert code == 1
    assert set(errors) == {
        "aws:region", "gpufleet:modle", "gpufleet:serving", "model.architecture", "model.id", "model.precision",
        "serving.port", "serving.max_model_len", "instance.spotPercentage", "scaling.max", "scaling.maxx",
    }  # fmt: skip
    assert len(report["errors"]) == len(errors)
    assert all(e["allowed"] or e["nextStep"] for e in report["errors"])
    assert "AAAB" not in json.dumps(report)
    assert report["passed"] == []


@pytest.mark.parametrize(
    ("sections", "path", "says"),
    [
        ({"scaling": {"min": 4, "max": 3}}, "scaling.min", "lower scaling.min"),
        ({"instance": {"type": "g6.3xlarge"}}, "instance.type", "g6.2xlarge"),
        ({"instance": {"families": ["g66"]}}, "instance.families.0", "g6"),
        ({"instance": {"maxPricePerHour": 0.1}}, "model", "raise instance.maxPricePerHour"),
        ({"model": {"id": "meta-llama/Llama-3.1-8B-Instruct"}}, "serving.secrets.HF_TOKEN", "SecureString"),
        ({"model": {**MODEL, "precision": "int8"}}, "model.precision", "published in int8"),
        ({"serving": {"args": ["--port", "1"]}}, "serving.args (--port)", "remove it"),
        ({"serving": {"environment": {"LONG": random.Random(1).randbytes(12_000).hex()}}}, "serving", "16,384 bytes"),
        ({"tags": {f"key-{i}": "x" for i in range(49)}}, "tags", "up to 50"),
        (
            {"network": {"certificateArn": "arn:aws:acm:eu-west-1:123456789012:certificate/a"}},
            "network.certificateArn",
            "a certificate in us-east-1",
        ),
        (
            {"serving": {"secrets": {"A": "arn:aws:ssm:eu-west-1:123456789012:parameter/a"}}},
            "serving.secrets.A",
            "us-east-1",
        ),
    ],
)
def test_whatever_up_would_refuse_is_an_error(directory, sections, path, says):
    code, _, report = as_json("-s", write(directory, **sections))
    assert code == 1
    (error,) = report["errors"]
    assert error["path"] == path
    assert says in f"{error['message']} {error['allowed']} {error['nextStep']}"


@pytest.mark.parametrize(
    ("text", "says"),
    [("config: [", "cannot be parsed"), ("", "no gpufleet configuration"), ("config: 3", "not a mapping"),
     ("config: {1: 2}", "unknown key"), ("config:\n  a: 1\n  a: 2", "written twice")],
)  # fmt: skip
def test_a_broken_file_does_not_keep_the_others_from_being_checked(directory, text, says):
    (directory / "Pulumi.bad-us-east-1.yaml").write_text(text, encoding="utf-8")
    write(directory, "good-us-east-1")
    code, found, report = as_json()
    assert code == 1
    assert says in report["errors"][0]["message"]
    assert [r["errors"] for r in found["stacks"][1:]] == [[]]


def test_a_stack_that_is_not_there_names_the_nearest():
    code, _, report = as_json("-s", "dev-us-est-1")
    assert code == 1
    assert report["errors"][0]["nextStep"] == "did you mean dev-us-east-1?"


def test_no_stacks_at_all(directory):
    result = check()
    assert result.exit_code == 1
    assert "gpufleet init" in result.stderr


def test_a_name_that_aws_does_not_take(directory):
    _, _, report = as_json("-s", write(directory, "dév-us-east-1"))
    assert {e["given"] for e in report["errors"]} == {"gpufleet-dév-us-east-1", "/gpufleet/dév-us-east-1"}
    assert all("shorter name, of letters" in e["nextStep"] for e in report["errors"])


def test_a_name_without_a_region_and_a_tag_of_the_programs_are_warned_of(directory):
    code, _, report = as_json("-s", write(directory, "trial", tags={"Name": "mine"}))
    warnings = told(report, "warnings")
    assert code == 0
    assert "Pulumi.trial-us-east-1.yaml" in warnings[""]["nextStep"]
    assert "not used" in warnings["tags.Name"]["message"]


def test_what_the_planner_had_to_assume_is_warned_of(directory):
    _, _, report = as_json("-s", write(directory, model={"id": "my/model", "parameters": "8B"}))
    warning = told(report, "warnings")["model.architecture"]
    assert "a typical dense model" in warning["message"]
    assert "model.architecture" in warning["nextStep"]


# The checkout and the machine -----------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    shutil.copy(SHIPPED.parent / "Pulumi.yaml", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    return tmp_path


def test_a_whole_checkout_with_a_cli(project, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    report = check_project(project)
    assert (report.errors, report.warnings, report.notes) == ([], [], [])
    assert report.passed == ["the virtual environment .venv is there", "the Pulumi CLI is on PATH"]


def test_no_cli_is_a_note(project, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    report = check_project(project)
    assert (report.errors, report.warnings) == ([], [])
    assert "https://www.pulumi.com/docs/install/" in report.notes[0]


def test_no_environment_is_a_warning_and_no_project_file_an_error(project):
    shutil.rmtree(project / ".venv")
    (warning,) = check_project(project).warnings
    assert warning.next_step == "run `make setup`"
    (project / "Pulumi.yaml").unlink()
    (error,) = check_project(project).errors
    assert "Pulumi.yaml" in error.message


@pytest.mark.parametrize("text", ["name: x", "- 1", "runtime: python", "runtime: {name: python, options: {}}"])
def test_a_project_file_without_an_environment(project, text):
    (project / "Pulumi.yaml").write_text(text, encoding="utf-8")
    assert "whichever Python is active" in check_project(project).passed[0]


def test_a_project_file_that_cannot_be_read(project):
    (project / "Pulumi.yaml").write_text("runtime: [", encoding="utf-8")
    assert "cannot be parsed" in check_project(project).errors[0].message


def test_it_runs_without_credentials_or_programs(tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", "from gpufleet.cli import main; main()", "check", "-s", "dev-us-east-1"]
    environment = {"PATH": "", "PYTHONPATH": str(root), "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "Checking dev-us-east-1\n"
    assert "the Pulumi CLI is not on PATH" in done.stdout
