"""Stack configuration: both ways in end in the same document, and every mistake names file and key."""

from __future__ import annotations

import json

import pytest

from gpufleet.planner.errors import RequirementError
from gpufleet.planner.requirements import parse_requirements
from stacks.config import (
    STACKS_DIRECTORY,
    read_requirements_file,
    read_stack_file,
    stack_file,
    stack_names,
    to_document,
)

MODEL = {"id": "Qwen/Qwen3-8B", "parameters": "8.19B"}


def write(directory, name, text):
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def stack(directory, body, name="Pulumi.dev-us-east-1.yaml"):
    return write(directory, name, f"config:\n  aws:region: us-east-1\n{body}")


def error_of(path):
    with pytest.raises(RequirementError) as caught:
        read_stack_file(path)
    return caught.value


@pytest.mark.parametrize("name", stack_names())
def test_every_shipped_stack_is_a_valid_document(name):
    document = read_stack_file(stack_file(name))
    assert parse_requirements(document).region == document["region"]
    assert name.endswith(document["region"])
    assert "encryptionsalt" not in stack_file(name).read_text(encoding="utf-8")


def test_a_missing_stack_names_the_nearest():
    with pytest.raises(RequirementError, match="did you mean dev-us-east-1"):
        stack_file("dev-us-est-1")


def test_a_stack_without_configuration_says_what_to_write(tmp_path):
    error = error_of(write(tmp_path, "Pulumi.dev-us-east-1.yaml", ""))
    assert "Pulumi.dev-us-east-1.yaml" in error.describe()
    assert "no gpufleet configuration" in error.describe()
    assert "aws:region" in error.describe()


def test_a_region_other_than_the_file_names_is_refused(tmp_path):
    error = error_of(stack(tmp_path, "  gpufleet:scaling: {min: 1, max: 2}\n", "Pulumi.prod-eu-west-1.yaml"))
    (problem,) = error.problems
    assert problem.path == "aws:region"
    assert problem.given == "us-east-1"
    assert problem.allowed == "eu-west-1"


def test_an_environment_may_have_hyphens_and_end_like_a_region():
    config = {"aws:region": "us-east-1", "gpufleet:scaling": {"min": 1, "max": 2}}
    for stack in ("prod-eu-us-east-1", "dev-eu-west-1-us-east-1", "a-b-c-us-east-1"):
        assert to_document(config, stack=stack, directory=STACKS_DIRECTORY)["region"] == "us-east-1"
    gov = {**config, "aws:region": "us-gov-west-1"}
    assert to_document(gov, stack="dev-us-gov-west-1", directory=STACKS_DIRECTORY)["region"] == "us-gov-west-1"


def test_a_secure_value_says_where_secrets_belong(tmp_path):
    error = error_of(stack(tmp_path, "  gpufleet:serving:\n    environment:\n      A: {secure: AAAB}\n"))
    assert "secure value" in error.describe()
    assert "ARN" in error.describe()
    assert "AAAB" not in error.describe()


def test_an_unknown_section_names_the_nearest(tmp_path):
    error = error_of(stack(tmp_path, "  gpufleet:modle: {id: x}\n"))
    assert "did you mean gpufleet:model?" in error.describe()


def test_a_key_written_twice_is_refused(tmp_path):
    error = error_of(stack(tmp_path, "  gpufleet:scaling:\n    min: 1\n    min: 2\n"))
    assert "min is written twice" in error.describe()


@pytest.mark.parametrize("text", ["config: [", "\t", "a: b: c", "config: 3", "- 1", "\x00", "&a [*a]"])
def test_a_broken_file_is_one_message(tmp_path, text):
    assert "Pulumi.dev-us-east-1.yaml" in error_of(write(tmp_path, "Pulumi.dev-us-east-1.yaml", text)).describe()


def test_words_for_booleans_stay_text_as_in_pulumi(tmp_path):
    path = stack(tmp_path, "  gpufleet:tags: {owner: yes, until: 2026-12-01}\n")
    assert read_stack_file(path)["tags"] == {"owner": "yes", "until": "2026-12-01"}


def test_an_architecture_is_read_from_the_file_that_is_named(tmp_path):
    write(tmp_path, "config.json", json.dumps({"hidden_size": 4096}))
    body = "  gpufleet:model: {id: a/b, architecture: config.json}\n"
    assert read_stack_file(stack(tmp_path, body))["model"]["architecture"] == {"hidden_size": 4096}


@pytest.mark.parametrize(("content", "says"), [(None, "cannot be read"), ("{", "not JSON"), ("[]", "no mapping")])
def test_a_bad_architecture_file_names_key_and_file(tmp_path, content, says):
    if content is not None:
        write(tmp_path, "config.json", content)
    error = error_of(stack(tmp_path, "  gpufleet:model: {id: a/b, architecture: config.json}\n"))
    assert error.problems[0].path == "model.architecture"
    assert says in error.describe()


def test_a_requirements_file_may_be_yaml_or_json(tmp_path):
    document = {"region": "us-east-1", "model": MODEL, "scaling": {"min": 1, "max": 2}}
    as_json = write(tmp_path, "r.json", json.dumps(document))
    as_yaml = write(tmp_path, "r.yaml", json.dumps(document))
    assert read_requirements_file(as_json) == read_requirements_file(as_yaml) == document


def test_the_program_and_the_file_end_in_the_same_document(tmp_path):
    """Pulumi hands structured values over as JSON text; `to_document` sees them decoded either way."""
    path = stack(tmp_path, "  gpufleet:model: {id: a/b, parameters: 8B}\n  gpufleet:scaling: {min: 1, max: 2}\n")
    config = {
        "aws:region": "us-east-1",
        "gpufleet:model": {"id": "a/b", "parameters": "8B"},
        "gpufleet:scaling": {"min": 1, "max": 2},
    }
    assert read_stack_file(path) == to_document(config, stack="dev-us-east-1", directory=tmp_path)
