"""The steps of drift.yml. That the check finds drift, and takes no scaling for it, tests/engine/test_permissions.py shows."""

from __future__ import annotations

import json

import pytest

from stacks.config import stack_names
from tests.workflows.runner import matrix_of, workflow

VARIABLES = {
    "AWS_PREVIEW_ROLE_ARN": "arn:aws:iam::111122223333:role/gpufleet-preview",
    "AWS_REGION": "us-east-1",
    "PULUMI_ORGANIZATION": "acme",
}


@pytest.fixture
def nightly(start):
    return lambda **variables: start("schedule", {}, "refs/heads/main", variables=variables or VARIABLES)


def test_every_stack_is_checked_and_none_stops_another(nightly):
    runner = nightly()
    listed = runner.run("drift", "stacks")
    assert listed.outcome == "success", listed.log
    assert json.loads(listed.outputs["stacks"]) == stack_names()
    job = workflow("drift")["jobs"]["drift"]
    assert matrix_of(job, {"needs": {"stacks": {"outputs": listed.outputs}}}) == stack_names()
    assert job["strategy"]["fail-fast"] == "false"


def test_a_check_reads_with_the_role_of_previews(nightly):
    result = nightly().run("drift", "drift", matrix={"stack": "prod-eu-west-1"})
    assert result.outcome == "success", result.log
    assert result.inputs_of("aws-actions/configure-aws-credentials")["role-to-assume"].endswith("gpufleet-preview")
    assert result.inputs_of("pulumi/auth-actions")["organization"] == "acme"
    inputs = result.inputs_of("pulumi/actions")
    assert (inputs["command"], inputs["refresh"], inputs["expect-no-changes"]) == ("preview", "true", "true")
    assert inputs["stack-name"] == "acme/prod-eu-west-1"
    assert result.summary == ""


def test_drift_fails_the_job_and_says_what_to_do(nightly):
    result = nightly().run("drift", "drift", matrix={"stack": "prod-eu-west-1"}, failing="pulumi/actions")
    assert result.outcome == "failure"
    assert "`prod-eu-west-1` is not what main says" in result.summary
    assert "run the workflow Deploy" in result.summary


def test_nothing_is_checked_before_it_is_set_up(nightly):
    assert nightly().starts("drift", "stacks")
    assert not nightly(AWS_REGION="us-east-1").starts("drift", "stacks")
