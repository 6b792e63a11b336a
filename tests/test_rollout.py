"""`python -m gpufleet.rollout`: the stacks of a roll-out, grouped as the workflows need them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import load_catalog
from gpufleet.rollout import main
from stacks.config import environment_of, stack_names

ENVIRONMENTS = ("dev", "staging", "prod")


@pytest.fixture
def run(tmp_path):
    def run(*environments, touched=None, removed=()):
        arguments = list(environments)
        if touched is not None:
            document = {
                "touched": touched,
                "stacks": [{"stack": s, "status": "changed"} for s in touched]
                + [{"stack": s, "status": "removed"} for s in removed],
            }
            (tmp_path / "changes.json").write_text(json.dumps(document), encoding="utf-8")
            arguments = ["--changes", str(tmp_path / "changes.json"), *arguments]
        return CliRunner().invoke(main, arguments)

    return run


def test_touched_stacks_come_by_environment_in_the_order_that_was_asked_for(run):
    result = run(*ENVIRONMENTS, touched=["dev-us-east-1", "prod-eu-west-1", "prod-us-gov-west-1"], removed=["dev-x"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document == {
        "stacks": ["dev-us-east-1", "prod-eu-west-1", "prod-us-gov-west-1"],
        "environments": {"dev": ["dev-us-east-1"], "staging": [], "prod": ["prod-eu-west-1", "prod-us-gov-west-1"]},
        "removed": ["dev-x"],
    }
    assert list(document["environments"]) == list(ENVIRONMENTS)


def test_without_a_comparison_it_is_every_stack(run):
    document = json.loads(run().stdout)
    assert document["stacks"] == stack_names()
    assert sorted(stack for found in document["environments"].values() for stack in found) == stack_names()
    assert document["removed"] == []


def test_a_stack_can_be_named_whatever_has_changed(run):
    document = json.loads(run("--stack", "dev-us-east-1", *ENVIRONMENTS).stdout)
    assert document["environments"] == {"dev": ["dev-us-east-1"], "staging": [], "prod": []}
    unknown = run("--stack", "dev-us-east-2", *ENVIRONMENTS)
    assert unknown.exit_code == 1
    assert "did you mean dev-us-east-1?" in unknown.stderr


def test_an_environment_without_a_job_is_an_error_that_says_what_to_add(run):
    result = run(*ENVIRONMENTS, touched=["dev-us-east-1", "qa-eu-west-1"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "stacks/Pulumi.qa-eu-west-1.yaml: no job deploys the environment qa" in result.stderr
    assert "allowed: dev, prod, staging" in result.stderr
    assert "add a job qa to .github/workflows/deploy.yml" in result.stderr


def test_a_stack_without_an_environment_can_be_listed_but_not_deployed(run):
    assert json.loads(run(touched=["playground"]).stdout)["stacks"] == ["playground"]
    result = run("dev", touched=["playground"])
    assert result.exit_code == 1
    assert "pulumi stack rename" in result.stderr


@given(
    environment=st.from_regex(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", fullmatch=True),
    region=st.sampled_from(load_catalog().regions),
)
def test_a_name_of_environment_and_region_gives_its_environment(environment, region):
    assert environment_of(f"{environment}-{region}") == environment
