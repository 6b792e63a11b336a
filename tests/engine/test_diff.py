"""The operations that `gpufleet diff` tells beforehand are those of the real engine with the real AWS provider."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from gpufleet.offline import run_program
from gpufleet.review.operations import TABLE, operations
from tests.emulator.running import PROJECT
from tests.engine.conftest import Deploy
from tests.engine.deployment import Deployment

STACK = "dev-us-east-1"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"

CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "model": {"model": {"id": "Qwen/Qwen2.5-14B-Instruct", "precision": "fp16"}},
    "tag": {"tags": {"environment": "dev", "team": "search"}},
    "port": {"serving": {"port": 9000}},
    "target": {"scaling": {"min": 1, "max": 2, "gpuUtilization": 60}},
    "sizes": {"scaling": {"min": 2, "desired": 3, "max": 5}},
    "latency": {"scaling": {"min": 1, "max": 2, "latency": {"percentile": "p90", "target": "2s"}}},
    "spot": {"instance": {"spotPercentage": 50}},
    "networks": {"network": {"allowedCidrs": ["10.1.0.0/16"]}},
    "public": {"network": {"internal": False, "certificateArn": CERTIFICATE, "allowedCidrs": ["203.0.113.0/24"]}},
    "secret": {"serving": {"secrets": {"HF_TOKEN": "arn:aws:ssm:us-east-1:123456789012:parameter/hf-token"}}},
}
"""Sections of the stack file that each change replaces."""

KINDS = {"create-replacement": "replace", "delete-replaced": "replace"}
"""Steps of the engine that are parts of one operation."""


def test_operations_are_those_of_the_engine(deploy: Deploy) -> None:
    stack = deploy(STACK)
    stack.run("up")
    standing = stack.config()
    for name, sections in CHANGES.items():
        stack.configure(**sections)
        assert predicted(standing, stack.config()) == previewed(stack), name
        stack.configure(**{key: standing.get(f"gpufleet:{key}", {}) for key in sections})
    stack.run("destroy")


def predicted(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    """Kinds of operations by the resource's name, from the program run in process."""
    sides = ([r.to_json() for r in run_program(STACK, config).resources if r.custom] for config in (before, after))
    return {operation.name: operation.kind for operation in operations(*sides)}


def previewed(stack: Deployment) -> dict[str, str]:
    """The same from `pulumi preview`."""
    steps = json.loads(stack.run("preview", "--json"))["steps"]
    return {
        step["urn"].rpartition("::")[2]: KINDS.get(step["op"], step["op"])
        for step in steps
        if step["op"] != "same" and ":aws:" not in step["urn"].split("::")[2].split("$")[0] and is_resource(step)
    }


def is_resource(step: dict[str, Any]) -> bool:
    """Whether it is one of AWS's, not a component or the stack."""
    return step["urn"].split("::")[2].split("$")[-1].startswith("aws:")


def test_the_table_of_replacements_is_the_providers_own() -> None:
    spec = importlib.util.spec_from_file_location("generator", PROJECT / "tools" / "generate_replacements.py")
    assert spec
    assert spec.loader
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.table() == json.loads(TABLE.read_bytes())["replacedOnChange"]
