"""A stack of the program, made by the real Pulumi CLI in the emulator, with a state and a stack file of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.emulator.running import PROJECT, Emulator, isolated_environment

TIMEOUT_S = 420

PROVIDER_GAP = "Missing Resource Identity After Update"
"""The AWS provider said so of updates that it had made, in versions around 6.14 (hashicorp/terraform-provider-aws#44366):
the update is done, the state does not know. A refresh and another `up` end it. Versions that are mended never say it."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """One stack of the program, with its own state and its own copy of the stack file."""

    pulumi: str
    stack: str
    directory: Path
    emulator: Emulator
    backend: str
    """Where the state lies, as `pulumi login` takes it."""

    @property
    def file(self) -> Path:
        return self.directory / "stacks" / f"Pulumi.{self.stack}.yaml"

    @property
    def region(self) -> str:
        return str(self.config()["aws:region"])

    def config(self) -> dict[str, Any]:
        """The stack's configuration as it is in the copy."""
        config: dict[str, Any] = yaml.safe_load(self.file.read_text())["config"]
        return config

    def configure(self, **sections: Any) -> None:
        """Replace sections of the gpufleet configuration in the copy."""
        document = yaml.safe_load(self.file.read_text())
        document["config"] |= {f"gpufleet:{name}": value for name, value in sections.items()}
        self.file.write_text(yaml.safe_dump(document))

    def run(self, operation: str, *arguments: str) -> str:
        """`pulumi up`, `refresh`, `destroy` or `preview` of the stack; its output. Fails with it when Pulumi fails."""
        apply = () if operation == "preview" else ("--yes", "--skip-preview")
        return self.command(PROJECT, operation, *apply, *arguments, *self.options())

    def options(self) -> tuple[str, ...]:
        """What names the stack and its file to an operation."""
        return "--config-file", str(self.file), "--stack", self.stack

    def destroy(self) -> None:
        """`pulumi destroy`, after the protection of a production stack was lifted."""
        self.command(self.directory, "state", "unprotect", "--all", "--yes", "--stack", self.stack)
        self.run("destroy")

    def refused(self, operation: str, *arguments: str) -> str:
        """What Pulumi says to an operation that it must refuse."""
        try:
            self.run(operation, *arguments)
        except AssertionError as error:
            return str(error)
        raise AssertionError(f"pulumi {operation} was not refused")

    def preview(self) -> dict[str, set[str]]:
        """The types of resources that an update would touch, by operation."""
        steps = json.loads(self.run("preview", "--json"))["steps"]
        touched: dict[str, set[str]] = {}
        for step in steps:
            if step["op"] != "same":
                touched.setdefault(step["op"], set()).add(step["urn"].split("::")[2].split("$")[-1])
        return touched

    def resources(self) -> dict[str, list[str]]:
        """What exists in the stack's region, by kind."""
        return self.emulator.resources(self.region)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""
        outputs: dict[str, Any] = json.loads(
            self.command(self.directory, "stack", "output", "--json", "--stack", self.stack)
        )
        return outputs

    def state(self) -> list[dict[str, Any]]:
        """The resources in the stack's state."""
        resources: list[dict[str, Any]] = self.exported()["resources"]
        return resources

    def exported(self) -> dict[str, Any]:
        """The stack's state, with the operations that have begun; also while an `up` goes on."""
        document = json.loads(self.command(self.directory, "stack", "export", "--stack", self.stack))
        deployment: dict[str, Any] = document["deployment"]
        return deployment

    def command(self, project: Path, *arguments: str) -> str:
        """Any command of Pulumi's in a project folder; its output. Fails with it when Pulumi fails."""
        done = self.execute(project, *arguments)
        assert done.returncode == 0, f"pulumi {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def execute(self, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any command of Pulumi's, cut off from AWS and from the user's own Pulumi state, however it ends."""
        return subprocess.run(
            [self.pulumi, "-C", str(project), *arguments, "--color", "never"],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    def environment(self) -> dict[str, str]:
        """In which Pulumi knows the emulator and this stack's state, and nothing else."""
        return isolated_environment(
            AWS_ENDPOINT_URL=self.emulator.endpoint,
            AWS_ACCESS_KEY_ID="testing",
            AWS_SECRET_ACCESS_KEY="testing",
            AWS_CONFIG_FILE=os.devnull,
            AWS_SHARED_CREDENTIALS_FILE=os.devnull,
            AWS_EC2_METADATA_DISABLED="true",
            PULUMI_BACKEND_URL=self.backend,
            PULUMI_CONFIG_PASSPHRASE="",
        )


def new_deployment(pulumi: str, emulator: Emulator, directory: Path, stack: str) -> Deployment:
    """A shipped stack that exists and is empty, its state in the directory."""
    document = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    (directory / "state").mkdir()
    deployment = Deployment(pulumi, stack, directory, emulator, backend=(directory / "state").as_uri())
    initialise(deployment, document["config"])
    return deployment


def initialise(deployment: Deployment, config: dict[str, Any], *init_arguments: str) -> None:
    """Make the stack, empty. Its file is a copy, because Pulumi writes into it."""
    deployment.file.parent.mkdir()
    shutil.copy(PROJECT / "Pulumi.yaml", deployment.directory)
    # A bucket's name is no host name on loopback.
    deployment.file.write_text(yaml.safe_dump({"config": {**config, "aws:s3UsePathStyle": "true"}}))
    deployment.command(deployment.directory, "stack", "init", deployment.stack, *init_arguments)


def assert_nothing_is_orphaned(stack: Deployment) -> None:
    """Everything that exists is in the state, but for what the group and the VPC bring with them."""
    state = json.dumps(stack.state())
    brought = {"ec2:instance", "ec2:volume", "ec2:network-interface", "autoscaling:lifecycle-hook"}
    made = {kind: ids for kind, ids in stack.resources().items() if kind not in brought}
    assert len(made) > 10
    assert not [f"{kind} {id_}" for kind, ids in made.items() for id_ in ids if id_ not in state]
