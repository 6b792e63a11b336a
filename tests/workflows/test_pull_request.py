"""The steps of pull-request.yml, run in a repository made for the test."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from tests.workflows.conftest import Repository
from tests.workflows.expressions import condition
from tests.workflows.runner import RUN_ID, matrix_of, workflow

STACK = "prod-eu-west-1"
OTHER = "dev-us-east-1"


@pytest.fixture(autouse=True)
def topic(repository: Repository) -> None:
    repository.git("checkout", "-q", "-b", "topic")


def uploaded(github):
    """The files of the run's newest artifact."""
    artifact = github.artifacts[RUN_ID][-1]
    assert artifact["name"] == "gpufleet-diff"
    with zipfile.ZipFile(io.BytesIO(github.archives[artifact["id"]])) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def previewed(runner, diff):
    """The stacks that the job `preview` runs for; none where it does not run."""
    needs = {"diff": {"result": diff.outcome, "outputs": diff.outputs}}
    if not runner.starts("pull-request", "preview", needs=needs):
        return []
    return matrix_of(workflow("pull-request")["jobs"]["preview"], runner.context(needs=needs))


ROLE = {"AWS_PREVIEW_ROLE_ARN": "arn:aws:iam::111122223333:role/gpufleet-preview", "AWS_REGION": "us-east-1"}


def test_a_change_of_one_stack_is_compared_shown_and_previewed(repository, github, pull_request):
    repository.change(STACK, max=12)
    runner = pull_request(variables=ROLE)
    result = runner.run("pull-request", "diff")

    assert result.outcome == "success", result.log
    files = uploaded(github)
    assert files["diff.md"].startswith("<!-- gpufleet-diff -->\n")
    assert result.summary == files["diff.md"]
    assert f"`{STACK}`" in result.summary
    assert json.loads(files["diff.json"])["touched"] == [STACK]
    assert previewed(runner, result) == [STACK]


def test_it_compares_with_main_as_it_is_now_and_not_as_it_was(repository, github, pull_request):
    repository.change(STACK, max=12)
    repository.git("checkout", "-q", "main")
    repository.change(OTHER, max=3)
    repository.git("checkout", "-q", "topic")
    pull_request().run("pull-request", "diff")
    assert json.loads(uploaded(github)["diff.json"])["touched"] == [STACK]


def test_without_a_change_nothing_is_previewed(repository, github, pull_request):
    (repository.directory / "NOTES.md").write_text("nothing about a stack")
    repository.commit()
    runner = pull_request(variables=ROLE)
    result = runner.run("pull-request", "diff")
    assert result.outcome == "success", result.log
    assert "none of" in uploaded(github)["diff.md"]
    assert previewed(runner, result) == []


def test_a_broken_stack_fails_the_job_and_the_others_are_seen_all_the_same(repository, github, pull_request):
    repository.change(OTHER, max=3)
    repository.stack_file(STACK).write_text("config: [not, a, mapping]\n")
    repository.commit()
    runner = pull_request(variables=ROLE)
    result = runner.run("pull-request", "diff")

    assert result.outcome == "failure"
    files = uploaded(github)
    assert json.loads(files["diff.json"])["broken"] == [STACK]
    assert f"`{OTHER}`" in files["diff.md"]
    assert result.summary == files["diff.md"]
    assert previewed(runner, result) == [OTHER]


def test_where_nothing_can_be_compared_the_comment_says_so(repository, github, pull_request):
    (repository.directory / "gpufleet" / "planner" / "planning.py").write_text("this is not Python\n")
    repository.commit()
    runner = pull_request(variables=ROLE)
    result = runner.run("pull-request", "diff")
    assert result.outcome == "failure"
    text = uploaded(github)["diff.md"]
    assert text.startswith("<!-- gpufleet-diff -->\n### gpufleet: nothing could be compared\n    ")
    assert "planning.py" in text
    assert previewed(runner, result) == []


@pytest.mark.parametrize(("name", "limit"), [("MAX_MONTHLY_INCREASE", "1"), ("FAIL_ON", "any")])
def test_a_gate_fails_the_job_and_stops_no_preview(repository, github, pull_request, monkeypatch, name, limit):
    """The gates are written into the workflow's own `env`, empty as it is shipped."""
    repository.change(STACK, max=12)
    repository.change(STACK, "serving", maxNumSeqs=16)
    document = workflow("pull-request")
    assert set(document["env"].values()) == {""}
    document["env"][name] = limit
    monkeypatch.setattr("tests.workflows.runner.workflow", lambda _: document)
    runner = pull_request(variables=ROLE)
    result = runner.run("pull-request", "diff")
    assert result.outcome == "failure"
    assert json.loads(uploaded(github)["diff.json"])["failedGates"]
    assert previewed(runner, result) == [STACK]


def test_a_fork_is_compared_and_never_previewed(repository, github, pull_request):
    repository.change(STACK, max=12)
    runner = pull_request(head="somebody/fleet", variables=ROLE)
    result = runner.run("pull-request", "diff")
    assert result.outcome == "success", result.log
    assert json.loads(uploaded(github)["diff.json"])["touched"] == [STACK]
    assert previewed(runner, result) == []


def test_without_a_role_nothing_is_previewed(repository, pull_request):
    repository.change(STACK, max=12)
    runner = pull_request()
    assert previewed(runner, runner.run("pull-request", "diff")) == []


@pytest.mark.parametrize(("organization", "name"), [("", STACK), ("acme", f"acme/{STACK}")])
def test_a_preview_reads_with_the_role_of_previews_and_comments(repository, pull_request, organization, name):
    runner = pull_request(variables=ROLE | {"PULUMI_ORGANIZATION": organization, "PULUMI_BACKEND_URL": "s3://state"})
    result = runner.run("pull-request", "preview", matrix={"stack": STACK})
    assert result.outcome == "success", result.log
    assert result.inputs_of("aws-actions/configure-aws-credentials")["role-to-assume"] == ROLE["AWS_PREVIEW_ROLE_ARN"]
    assert ("pulumi/auth-actions" in [used for used, _ in result.used]) == bool(organization)
    inputs = result.inputs_of("pulumi/actions")
    assert (inputs["command"], inputs["stack-name"], inputs["cloud-url"]) == ("preview", name, "s3://state")
    assert inputs["comment-on-pr"] == inputs["edit-pr-comment"] == "true"


def test_a_preview_that_fails_says_where_to_look(repository, pull_request):
    result = pull_request(variables=ROLE).run(
        "pull-request", "preview", matrix={"stack": STACK}, failing="pulumi/actions"
    )
    assert result.outcome == "failure"
    assert STACK in result.summary
    assert "docs/ci.md" in result.summary


def test_the_tests_are_run_through_make_with_what_they_need(repository, pull_request):
    result = pull_request().run("pull-request", "test")
    assert result.outcome == "success", result.log
    assert "pytest" in result.log
    assert "mypy" in result.log
    assert any("haproxy" in line for line in result.noted)
    assert any("actionlint" in line for line in result.noted)


def test_a_newer_push_ends_the_run_of_the_older():
    concurrency = workflow("pull-request")["concurrency"]
    assert concurrency["cancel-in-progress"] == "true"
    assert "github.event.pull_request.number" in concurrency["group"]


def test_the_artifact_is_kept_even_when_the_comparison_fails():
    [upload] = [s for s in workflow("pull-request")["jobs"]["diff"]["steps"] if "upload-artifact" in s.get("uses", "")]
    assert condition(upload["if"], {}, "failure")
    assert not condition(upload["if"], {}, "cancelled")
