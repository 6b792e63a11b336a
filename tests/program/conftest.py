"""Runs of the real program under Pulumi's mocks, and a way to ask them for resources."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from gpufleet.offline import ProgramRun, RecordedResource, run_program, stack_config
from stacks.config import stack_names

Runner = Callable[..., "Program"]

MODEL = {"id": "Qwen/Qwen3-8B", "parameters": "8.19B", "precision": "fp16"}


@dataclass(frozen=True)
class Program:
    """A run, with look-ups."""

    run: ProgramRun

    def of_type(self, kind: str) -> list[RecordedResource]:
        """Every resource of AWS's whose type's last part is this one."""
        return [r for r in self.run.resources if r.custom and r.type.rpartition(":")[2] == kind]

    def one(self, kind: str, name: str = "") -> dict[str, Any]:
        """The inputs of the only resource of a type (and logical name)."""
        found = [r for r in self.of_type(kind) if not name or r.name == f"gpufleet-{name}"]
        assert len(found) == 1, (kind, name, [r.name for r in found])
        return dict(found[0].inputs)

    def statements(self, role: str = "instance") -> list[dict[str, Any]]:
        """Every statement of every policy of a role: the instances', if no other is named."""
        policies = [r.inputs for r in self.of_type("RolePolicy") if r.inputs["role"] == f"<gpufleet-{role}.id>"]
        return [s for policy in policies for s in json.loads(policy["policy"])["Statement"]]

    def actions(self) -> set[str]:
        """Every action that the instances' role allows."""
        listed = [s["Action"] for s in self.statements()]
        return {action for a in listed for action in ([a] if isinstance(a, str) else a)}

    def user_data(self) -> str:
        """What EC2 hands an instance."""
        return base64.b64decode(self.one("LaunchTemplate")["userData"]).decode()

    def scripts(self) -> str:
        """The files that user data brings, one after the other."""
        packed = self.user_data().split("<<'EOF'\n")[1].split("\nEOF\n")[0].replace("\n", "")
        with tarfile.open(fileobj=io.BytesIO(base64.b85decode(packed))) as archive:
            return "".join(file.read().decode() for entry in archive if (file := archive.extractfile(entry)))


@cache
def shipped(stack: str) -> Program:
    """The run of a stack in stacks/; once per session, for nothing in it changes."""
    return Program(run_program(stack, stack_config(stack)))


def config(region: str = "us-east-1", **sections: Mapping[str, Any]) -> dict[str, Any]:
    """A stack's configuration with the least that it needs, and these sections."""
    complete = {"model": MODEL, "scaling": {"min": 1, "max": 3}, **sections}
    return {"aws:region": region, **{f"gpufleet:{name}": section for name, section in complete.items()}}


@pytest.fixture(params=stack_names())
def stack(request: pytest.FixtureRequest) -> Program:
    """Each shipped stack in turn."""
    return shipped(request.param)


@pytest.fixture
def dev() -> Program:
    """The smallest shipped stack."""
    return shipped("dev-us-east-1")


@pytest.fixture
def run() -> Runner:
    """Run the program with hand-made sections: `run(network={...}, stack=...)`."""

    def run_sections(stack: str = "test-us-east-1", **sections: Mapping[str, Any]) -> Program:
        return Program(run_program(stack, config(**sections)))

    return run_sections
