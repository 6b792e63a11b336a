"""The steps of deploy.yml and deploy-environment.yml, and the order that their conditions make."""

from __future__ import annotations

import json

import pytest

from tests.workflows.runner import matrix_of, workflow

NOTHING = "0" * 40
ENVIRONMENTS = ("dev", "staging", "prod")
DEV, PROD = "dev-us-east-1", "prod-eu-west-1"
ALL = {"dev": [DEV], "staging": [], "prod": ["prod-ap-south-1", "prod-eu-west-1", "prod-us-east-1"]}


@pytest.fixture
def first(repository):
    """The commit that main begins with."""
    return repository.git("rev-parse", "HEAD")


def deployed(github, commit, conclusion="success", event="push"):
    """A run of the workflow that has ended; the newest comes first."""
    run = {"head_sha": commit, "head_branch": "main", "event": event, "conclusion": conclusion}
    github.runs.insert(0, run)


def grouped(result):
    assert result.outcome == "success", result.log
    return {name: json.loads(stacks) for name, stacks in result.outputs.items()}


def test_touched_stacks_are_grouped_by_environment(repository, push, first):
    repository.change(PROD, max=12)
    repository.change(DEV, max=3)
    result = push(first).run("deploy", "changes")
    assert grouped(result) == {"dev": [DEV], "staging": [], "prod": [PROD]}
    assert f"`{PROD}`" in result.summary


def test_a_change_of_no_stack_deploys_nothing(repository, push, first):
    (repository.directory / "NOTES.md").write_text("nothing about a stack")
    repository.commit()
    assert grouped(push(first).run("deploy", "changes")) == {"dev": [], "staging": [], "prod": []}


def test_it_compares_with_the_last_commit_that_was_deployed_as_a_whole(repository, github, push, first):
    """What a failed run left undone is in the next one; a run by hand counts for nothing, for it may be of one stack."""
    deployed(github, first)
    repository.change(PROD, max=12)
    failed = repository.git("rev-parse", "HEAD")
    deployed(github, failed, conclusion="failure")
    deployed(github, failed, event="workflow_dispatch")
    repository.change(DEV, max=3)
    assert grouped(push(failed).run("deploy", "changes")) == {"dev": [DEV], "staging": [], "prod": [PROD]}
    deployed(github, failed)
    assert grouped(push(failed).run("deploy", "changes")) == {"dev": [DEV], "staging": [], "prod": []}


def test_the_first_push_and_a_force_push_deploy_every_stack(repository, github, push, first):
    assert grouped(push(NOTHING).run("deploy", "changes")) == ALL
    repository.git("checkout", "-q", "--orphan", "elsewhere")
    lost = repository.commit()
    repository.git("checkout", "-q", "main")
    repository.change(DEV, max=3)
    result = push(lost).run("deploy", "changes")
    assert grouped(result) == ALL
    assert "not in the history" in result.log
    deployed(github, lost)
    assert grouped(push(first).run("deploy", "changes")) == ALL


def test_a_commit_that_cannot_be_compared_with_deploys_every_stack(repository, push):
    """Older than `gpufleet diff`."""
    repository.git("mv", "gpufleet/review", "review")
    old = repository.commit()
    repository.git("mv", "review", "gpufleet/review")
    repository.commit()
    result = push(old).run("deploy", "changes")
    assert grouped(result) == ALL
    assert "cannot be compared" in result.log


def test_a_new_stack_is_deployed_and_a_deleted_one_is_not_destroyed(repository, push, first):
    text = repository.stack_file(DEV).read_text().replace("us-east-1", "us-west-2")
    repository.stack_file("dev-us-west-2").write_text(text)
    repository.stack_file(PROD).unlink()
    repository.commit()
    result = push(first).run("deploy", "changes")
    assert grouped(result) == {"dev": ["dev-us-west-2"], "staging": [], "prod": []}
    assert f"### `{PROD}` was not destroyed" in result.summary
    assert (
        f"git checkout {first} -- stacks/Pulumi.{PROD}.yaml\npulumi state unprotect --all --stack {PROD}\n"
        f"pulumi destroy --stack {PROD} --remove" in result.summary
    )


def test_an_environment_without_a_job_is_an_error_that_says_what_to_add(repository, push, first):
    text = repository.stack_file(DEV).read_text().replace("us-east-1", "us-west-2")
    repository.stack_file("qa-us-west-2").write_text(text)
    repository.commit()
    result = push(first).run("deploy", "changes")
    assert result.outcome == "failure"
    assert "add a job qa to .github/workflows/deploy.yml" in result.log
    assert set(result.outputs.values()) == {""}


def test_a_broken_stack_on_main_stops_everything(repository, push, first):
    repository.change(DEV, max=3)
    repository.stack_file(PROD).write_text("config: [not, a, mapping]\n")
    repository.commit()
    result = push(first).run("deploy", "changes")
    assert result.outcome == "failure"
    assert set(result.outputs.values()) == {""}
    assert f"`{PROD}`" in result.summary


@pytest.mark.parametrize(("stack", "stacks"), [("", ALL), (DEV, {"dev": [DEV], "staging": [], "prod": []})])
def test_by_hand_it_is_every_stack_or_the_one_that_is_named(repository, start, stack, stacks):
    runner = start("workflow_dispatch", {}, "refs/heads/main")
    assert grouped(runner.run("deploy", "changes", inputs={"stack": stack})) == stacks


# Order ----------------------------------------------------------------------------------------------------------------


def jobs_that_start(runner, stacks, **results):
    """Which environments' jobs start, where those named end otherwise than in success."""
    outputs = {name: json.dumps(stacks.get(name, [])) for name in ENVIRONMENTS}
    ended = {"changes": {"result": results.get("changes", "success"), "outputs": outputs}}
    started = []
    for name in ENVIRONMENTS:
        needed = workflow("deploy")["jobs"][name]["needs"]
        needs = {need: ended[need] for need in ([needed] if isinstance(needed, str) else needed)}
        runs = runner.starts("deploy", name, needs=needs)
        started += [name] if runs else []
        ended[name] = {"result": results.get(name, "success") if runs else "skipped", "outputs": {}}
    return started


SOME = {"dev": ["dev-us-east-1"], "staging": ["staging-us-east-1"], "prod": ["prod-us-east-1"]}


@pytest.mark.parametrize(
    ("stacks", "results", "started"),
    [
        (SOME, {}, ["dev", "staging", "prod"]),
        (SOME, {"dev": "failure"}, ["dev"]),
        (SOME, {"dev": "cancelled"}, ["dev"]),
        (SOME, {"staging": "failure"}, ["dev", "staging"]),
        ({"prod": SOME["prod"]}, {}, ["prod"]),
        ({"dev": SOME["dev"], "prod": SOME["prod"]}, {}, ["dev", "prod"]),
        ({"dev": SOME["dev"], "prod": SOME["prod"]}, {"dev": "failure"}, ["dev"]),
        ({}, {}, []),
        (SOME, {"changes": "failure"}, []),
        (SOME, {"changes": "skipped"}, []),
    ],
)
def test_a_failure_stops_what_follows_and_an_empty_environment_does_not(push, first, stacks, results, started):
    assert jobs_that_start(push(first), stacks, **results) == started


def test_nothing_starts_before_it_is_set_up(push, first):
    runner = push(first)
    assert runner.starts("deploy", "changes")
    runner.variables.clear()
    assert not runner.starts("deploy", "changes")


def test_each_environment_deploys_its_own_stacks_with_its_own_rules():
    jobs = workflow("deploy")["jobs"]
    assert list(jobs) == ["changes", *ENVIRONMENTS]
    for name in ENVIRONMENTS:
        assert jobs[name]["uses"] == "./.github/workflows/deploy-environment.yml"
        assert jobs[name]["with"] == {"environment": name, "stacks": f"${{{{ needs.changes.outputs.{name} }}}}"}
    up = workflow("deploy-environment")["jobs"]["up"]
    assert up["environment"] == "${{ inputs.environment }}"
    assert up["concurrency"] == {"group": "stack-${{ matrix.stack }}", "cancel-in-progress": "false"}
    assert (up["strategy"]["max-parallel"], up["strategy"]["fail-fast"]) == ("1", "true")
    assert matrix_of(up, {"inputs": {"stacks": json.dumps([PROD, DEV])}}) == [PROD, DEV]


# One stack ------------------------------------------------------------------------------------------------------------

DEPLOY = {"inputs": {"environment": "prod", "stacks": json.dumps([PROD])}, "matrix": {"stack": PROD}}
ROLE = "arn:aws:iam::111122223333:role/gpufleet-deploy-prod"


def test_a_stack_is_brought_up_with_the_role_of_its_environment(repository, push, first):
    runner = push(first)
    runner.variables["AWS_DEPLOY_ROLE_ARN"] = ROLE
    result = runner.run("deploy-environment", "up", **DEPLOY)
    assert result.outcome == "success", result.log
    assert result.inputs_of("aws-actions/configure-aws-credentials")["role-to-assume"] == ROLE
    inputs = result.inputs_of("pulumi/actions")
    assert (inputs["command"], inputs["stack-name"]) == ("up", PROD)
    assert inputs["cloud-url"] == runner.variables["PULUMI_BACKEND_URL"]
    assert result.summary == ""


def test_a_commit_that_main_has_left_behind_is_not_deployed(repository, github, push, first):
    runner = push(first)
    repository.change(DEV, max=3)
    github.main = repository.git("rev-parse", "main")
    result = runner.run("deploy-environment", "up", **DEPLOY)
    assert result.outcome == "failure"
    assert f"main is at {github.main} by now" in result.log
    assert [name for name, _ in result.used] == []


def test_a_stack_that_fails_says_what_to_do(repository, push, first):
    result = push(first).run("deploy-environment", "up", failing="pulumi/actions", **DEPLOY)
    assert result.outcome == "failure"
    assert f"`{PROD}` is not deployed" in result.summary
    assert f"pulumi cancel --stack {PROD}" in result.summary
