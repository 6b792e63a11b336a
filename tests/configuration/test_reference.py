"""docs/configuration.md says what the parser does: every key, its default and an example that works."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from gpufleet.configuration.keys import all_keys, kind_of
from gpufleet.configuration.reference import with_tables
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.requirements import Requirements, parse_requirements
from stacks.config import to_document
from tests.configuration.documents import LEAST, at, check_later, of_examples, with_key

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
KEYS = {key.path: key for key in all_keys()}
ROWS = {row[0].replace("aws:region", "region"): row[1:] for row in re.findall(
    r"^\| `([\w:.]+)` \| (.+?) \| (.+?) \| `(.+?)` \| (.+?) \|$", PAGE, re.M)}  # fmt: skip
"""Type, default, example and meaning by key, as a reader finds them."""

WITH_LATENCY = {"scaling": {"min": 1, "max": 2, "latency": {"target": "2s"}}}
LATENCY_KEYS = ("percentile", "steps", "evaluationPeriods", "datapointsToAlarm", "minRequests")
COMPANIONS = {
    "scaling.desired": {"scaling": {"min": 1, "max": 4}},
    "network.vpcId": {"network": {"subnetIds": ["subnet-0123456789abcdef0"]}},
    "network.subnetIds": {"network": {"vpcId": "vpc-0123456789abcdef0"}},
    "network.loadBalancerSubnetIds": {
        "network": {"vpcId": "vpc-0123456789abcdef0", "subnetIds": ["subnet-0123456789abcdef0"]}
    },
    "network.internal": {
        "network": {
            "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/a",
            "allowedCidrs": ["10.0.0.0/8"],
        }
    },
    **{f"scaling.latency.{key}": WITH_LATENCY for key in LATENCY_KEYS},
    "network.tlsPolicy": {"network": {"certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/a"}},
}
"""What a key needs beside it to make sense."""


def paths_of(section, prefix=""):
    for name, field in section.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        nested = kind_of(field.annotation, field.metadata).section
        if nested is None or prefix:
            yield path
        if nested:
            yield from paths_of(nested, f"{path}.")


def test_the_page_is_what_the_generator_writes():
    assert with_tables(PAGE) == PAGE


def test_every_key_of_the_models_stands_in_the_tables_once():
    assert list(ROWS) == list(paths_of(Requirements))
    assert PAGE.count("\n| `") == len(ROWS)


@pytest.mark.parametrize("path", KEYS)
def test_an_example_is_taken_at_its_key(path):
    example = yaml.safe_load(ROWS[path][2])
    if path in ("model.architecture", "model.draft.architecture"):
        assert (ROOT / "stacks" / example).is_file()
        return
    check_later(parse_requirements(with_key({**LEAST, **COMPANIONS.get(path, {})}, path, example)))


def test_all_examples_together_are_a_document():
    document = with_key(of_examples(), "model.architecture", {"hidden_size": 4096})
    del document["network"]["endpoints"]  # of a VPC that the program makes; the examples name another
    assert parse_requirements(document).scaling.max == KEYS["scaling.max"].example


@pytest.mark.parametrize("path", KEYS)
def test_a_default_is_what_the_parser_gives(path):
    """A value in the column is what the parser has without the key; words alone are a behaviour of something left open."""
    default = ROWS[path][1]
    document = {**LEAST, **WITH_LATENCY} if "latency." in path else LEAST
    if path.startswith("serving.memory."):
        document = {**LEAST, "serving": {"memory": {}}}
    if default == "**required**":
        assert missing(document, path) == [path]
        return
    found = at(parse_requirements(document), path)
    if value := re.match(r"`([^`]+)`(: |$)", default):
        assert found == at(parse_requirements(with_key(document, path, yaml.safe_load(value[1]))), path)
        assert found not in (None, (), {})
    elif default == "none":
        assert found in ((), {})
    else:
        assert found in (None, ())


def missing(document, path):
    """The problems of the document without this key."""
    without = deepcopy(document)
    *sections, name = path.split(".")
    inner = without
    for section in sections:
        inner = inner[section]
    del inner[name]
    with pytest.raises(RequirementError) as caught:
        parse_requirements(without)
    return [p.path for p in caught.value.problems if "missing" in p.message]


def test_the_page_begins_with_a_stack_file_that_works():
    config = yaml.safe_load(re.search(r"```yaml\n(.+?)```", PAGE, re.S)[1])["config"]
    assert parse_requirements(to_document(config, stack="dev-us-east-1", directory=ROOT / "stacks")).scaling.latency


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_description_ends_with_what_the_default_does(key):
    assert key.meaning.endswith(".")
    assert "efaults to" not in key.meaning
    assert not key.behaviour.endswith(".")
    assert ". " not in key.behaviour
    assert key.example is not None
