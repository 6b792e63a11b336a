"""docs/lifecycle.md: its commands are run in their order, its changes made, and the fleet does what the page says."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.running import PROJECT, Emulator, isolated_environment
from tests.repository import Repository, copy_project

STACK, REGION = "prod-ap-south-1", "ap-south-1"
PAGE = (PROJECT / "docs" / "lifecycle.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^## (.+?)$|^```(diff|console)\n(.+?)^```", PAGE, re.M | re.S)
EXITS = re.compile(r"^(?P<command>.+?)(?: # exits with (?P<status>\d+))?$")

AWS = """
import sys
import boto3, jmespath
service, operation, *options = sys.argv[1:]
given = dict(zip(options[::2], options[1::2]))
query = given.pop("--query")
assert given.pop("--output") == "text"
client = boto3.client(service)
answer = getattr(client, operation.replace("-", "_"))(**{
    "".join(word.capitalize() for word in name.removeprefix("--").split("-")): [value] if name.endswith("s") else value
    for name, value in given.items()
})
print(jmespath.search(query, answer))
"""
"""The AWS CLI as far as the page uses it."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A copy of the project whose commands reach the emulator only."""

    repository: Repository
    emulator: Emulator
    programs: Path

    @property
    def file(self) -> Path:
        return self.repository.directory / "stacks" / f"Pulumi.{STACK}.yaml"

    def console(self, command: str) -> str:
        """A line of the page, in a shell; its output, after the exit status was what the page says."""
        match = EXITS.match(command)
        assert match
        done = subprocess.run(
            ["bash", "-c", match["command"]],
            cwd=self.repository.directory,
            env=isolated_environment(
                PATH=f"{self.programs}{os.pathsep}{os.environ['PATH']}",
                PYTHONPATH=str(self.repository.directory),
                AWS_ENDPOINT_URL=self.emulator.endpoint,
                AWS_ACCESS_KEY_ID="testing",
                AWS_SECRET_ACCESS_KEY="testing",
                AWS_DEFAULT_REGION=REGION,
                AWS_EC2_METADATA_DISABLED="true",
                PULUMI_BACKEND_URL=(self.repository.directory.parent / "state").as_uri(),
                PULUMI_CONFIG_PASSPHRASE="",
                PULUMI_SKIP_CONFIRMATIONS="true",
                NO_COLOR="1",
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=420,
        )
        assert done.returncode == int(match["status"] or 0), f"$ {command}\n{done.stdout}"
        return done.stdout

    def change(self, diff: str) -> None:
        """The lines of a diff of the page in the stack file, which must have those that it takes away or stands by."""
        old = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] in " -")
        new = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] in " +")
        self.repository.edit(f"stacks/Pulumi.{STACK}.yaml", old, new)

    def group(self) -> dict[str, Any]:
        [group] = self.emulator.client("autoscaling", REGION).describe_auto_scaling_groups()["AutoScalingGroups"]
        return dict(group)

    def standing(self) -> dict[str, list[str]]:
        """What no change of the page may replace."""
        found = self.emulator.resources(REGION)
        return {k: found[k] for k in ("autoscaling:group", "elbv2:load-balancer", "elbv2:target-group")}


@pytest.fixture
def walk(pulumi: str, emulator: Emulator, tmp_path: Path) -> Iterator[Walk]:
    programs = tmp_path / "programs"
    for directory in (programs, tmp_path / "state"):
        directory.mkdir()
    for name, code in (("aws", AWS), ("gpufleet", "from gpufleet.cli import main; main()")):
        program = programs / name
        program.write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    yield Walk(copy_project(tmp_path / "project"), emulator, programs)
    emulator.control("DELETE", "faults")


def test_a_whole_life(walk: Walk) -> None:
    before, section, said = walk.emulator.resources(REGION), "", ""
    seen: dict[str, list[Any]] = {}
    for heading, kind, text in BLOCKS:
        if heading:
            section = heading
            seen[section] = []
        elif kind == "diff":
            walk.change(text)
        else:
            for line in text.splitlines():
                command = line.removeprefix("$ ")
                if section.startswith("A bad image") and "describe-instance-refreshes" in command:
                    walk.emulator.control("POST", "faults", cannot_launch(walk))
                said = walk.console(command)
                if "describe-instance-refreshes" in command:
                    said = until_it_ended(walk, command)
                seen[section].append(said)
                if command == "pulumi up":
                    walk.repository.commit(section)
                    seen.setdefault("standing", []).append(walk.standing())
                    seen.setdefault("versions", []).append(version(walk))
    assert "InService" in seen["The first `up`"][-1]
    assert len({str(standing) for standing in seen["standing"]}) == 1
    assert "Successful" in seen["A new model"][-1]
    ended = seen["A bad image, rolled back"][1]
    assert "Failed" in ended
    assert "Successful" not in ended
    assert seen["versions"] == ["1", "2", "3", "4", "5"]
    shown, changed = seen["An AMI update"][:2]
    assert "instance.ami is ami-0123456789abcdef0" in shown
    assert "Changed: instance.ami: ami-0123456789abcdef0 → ami-" in changed
    refused = seen["What is refused, and by whom"]
    assert "pulumi state unprotect 'urn:pulumi:prod-ap-south-1::gpufleet::" in refused[0]
    assert "protect" in refused[1]
    assert walk.emulator.resources(REGION) == before


def cannot_launch(walk: Walk) -> dict[str, Any]:
    """The next instance of the group does not come up."""
    name = walk.group()["AutoScalingGroupName"]
    return {"service": "ec2", "action": "RunInstances", "code": "InternalError", "contains": name}


def until_it_ended(walk: Walk, command: str) -> str:
    """What the page's command says in the end: each look moves the emulator's refresh one step forward."""
    for _ in range(20):
        said = walk.console(command)
        if "InProgress" not in said and "Pending" not in said:
            return said
    raise AssertionError(said)


def version(walk: Walk) -> str:
    """The version of the template that the group is to have."""
    policy = walk.group()["MixedInstancesPolicy"]
    return str(policy["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"])
