"""`gpufleet up-local` and `destroy-local`: a stack made for real by the Pulumi CLI, against an emulator on loopback.

Owns the copy of the stack file and the calls of Pulumi. No tracked file is touched: Pulumi writes into the copy. Leaves
the emulator's process to `gpufleet.commands.local_emulator`, and what is created to the program.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from gpufleet.commands.inputs import errors_for_people, fail, stack_option, stack_source
from gpufleet.commands.local_emulator import (
    Local,
    LocalError,
    control,
    emulator_of_state,
    environment,
    forget,
    say,
    start_emulator,
    stop_emulator_if_unused,
)
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.machine_image import ami_parameter
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from stacks import config as stack_config

DEFAULT_PORT = 5000

KEPT_PROVIDER_KEYS = frozenset({"aws:region", "aws:defaultTags", "aws:ignoreTags"})
"""The provider's keys that mean the same in the emulator; profiles, roles and endpoints are left out of the copy."""

SECRETS_KEYS = ("secretsprovider", "encryptedkey", "encryptionsalt")
"""How a stack file's secrets are encrypted: another backend's are of no use here."""


def default_local() -> Local:
    """This checkout's, on the port that `EMULATOR_PORT` names."""
    given = os.environ.get("EMULATOR_PORT") or str(DEFAULT_PORT)
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise LocalError(f"EMULATOR_PORT is {given}; it must be a port between 1 and 65535")
    project = stack_config.STACKS_DIRECTORY.parent
    return Local(project=project, directory=project / ".gpufleet" / "local", port=int(given))


def up(local: Local, source: Path) -> int:
    """Create or update the stack of this file; Pulumi's exit status."""
    stack = stack_of(source)
    pulumi = find_pulumi()
    standins = standins_for(source)
    with locked(local):
        start_emulator(local)
        control(local, "POST", "standins", standins)
        prepare(local, source)
        run_pulumi(local, [pulumi, "-C", str(local.directory), "stack", "select", "--create", "--stack", stack])
        say(f"Creating {stack} in the emulator; the provider waits a minute for a new load balancer")
        copy = str(local.stack_file(stack))
        status = run_on_stack(local, stack, [pulumi, "-C", str(local.project), "up", "--config-file", copy])
    if status:
        say("What an error code of AWS's asks for, and how to go on: docs/recovery.md")
    return status


def destroy(local: Local, stack: str) -> int:
    """Destroy the stack; stop the emulator when it was the last one. Pulumi's exit status."""
    pulumi = find_pulumi()
    with locked(local):
        if emulator_of_state(local) is None:
            forget(local)
            say("No emulator is running: nothing to destroy")
        elif stack not in local.stacks():
            say(f"{stack} does not exist in the emulator: nothing to destroy")
        else:
            # What is protected is meant for an account; here the emulator goes away with it.
            run_pulumi(
                local, [pulumi, "-C", str(local.directory), "state", "unprotect", "--all", "--yes", "--stack", stack]
            )
            # In the private directory, so that the stack file which Pulumi removes in the end is the copy.
            command = [pulumi, "-C", str(local.directory), "destroy", "--remove"]
            if status := run_on_stack(local, stack, command):
                return status
        stop_emulator_if_unused(local)
    return 0


def stack_of(source: Path) -> str:
    """The stack that a stack file belongs to."""
    name = source.name
    if not source.is_file() or not name.startswith("Pulumi.") or not name.endswith(".yaml"):
        raise LocalError(f"{source} is not a stack file; it must exist and be named Pulumi.<stack>.yaml")
    return name.removeprefix("Pulumi.").removesuffix(".yaml")


def find_pulumi() -> str:
    """The Pulumi CLI on PATH."""
    if path := shutil.which("pulumi"):
        return path
    raise LocalError("the Pulumi CLI is not on PATH; install it (https://www.pulumi.com/docs/install/) and try again")


@contextlib.contextmanager
def locked(local: Local) -> Iterator[None]:
    """One local command at a time: they share the state and the emulator."""
    local.directory.mkdir(parents=True, exist_ok=True)
    with (local.directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalError("another up-local or destroy-local is running in this checkout; wait for it") from None
        yield


def prepare(local: Local, source: Path) -> None:
    """Copy the stack file, and the project file next to it, to where Pulumi may write."""
    document = stack_config.load_yaml(source)
    target = local.stack_file(stack_of(source))
    before = stack_config.load_yaml(target) if target.is_file() else {}
    local.stack_files.mkdir(parents=True, exist_ok=True)
    local.state.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(local.project / "Pulumi.yaml", local.directory / "Pulumi.yaml")
    copy = local_document(document, directory=source.parent.absolute(), salt=before.get("encryptionsalt"))
    # JSON is YAML, and keeps every value as it was read.
    target.write_text(json.dumps(copy, indent=2, default=str) + "\n", encoding="utf-8")


def local_document(document: Mapping[str, Any], *, directory: Path, salt: str | None) -> dict[str, Any]:
    """A stack file's content for the emulator: no profile, role or foreign encryption; buckets addressed by path.

    `directory` is where the stack file lies: a file that it names is found from there. `salt` is the copy's own.
    """
    config = {
        key: value
        for key, value in document["config"].items()
        if not key.startswith("aws:") or key in KEPT_PROVIDER_KEYS
    }
    model = config["gpufleet:model"]
    config["gpufleet:model"] = stack_config.map_files(model, lambda named, _: str(directory / named))
    copy = {key: value for key, value in document.items() if key not in SECRETS_KEYS}
    copy["config"] = config | {"aws:s3UsePathStyle": "true"}
    return copy | ({"encryptionsalt": salt} if salt else {})


def standins_for(source: Path) -> dict[str, Any]:
    """What this stack file names in the user's account; the emulator makes it. A mistake in the file ends here."""
    requirements = parse_requirements(stack_config.read_stack_file(source))
    network = requirements.network
    return {
        "region": requirements.region,
        "vpc_id": network.vpc_id or "",
        "subnet_ids": network.subnet_ids,
        "load_balancer_subnet_ids": network.load_balancer_subnet_ids,
        "zone_ids": plan_deployment(requirements, load_catalog()).availability_zone_ids,
        "certificate_arn": network.certificate_arn or "",
        "ami_parameter": ami_parameter(requirements) or "",
    }


def run_on_stack(local: Local, stack: str, command: list[str]) -> int:
    """`pulumi up` or `destroy` of a stack; Pulumi's output goes to the terminal."""
    release_stale_lock(local, command[0], stack)
    process = subprocess.Popen([*command, "--yes", "--skip-preview", "--stack", stack], env=environment(local))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            pass  # the terminal has interrupted Pulumi too, which ends in order


def release_stale_lock(local: Local, pulumi: str, stack: str) -> None:
    """Our own lock is held, so a lock in the state was left by a Pulumi that was killed."""
    if any(local.state.glob(f".pulumi/locks/**/{stack}/*.json")):
        run_pulumi(local, [pulumi, "-C", str(local.directory), "cancel", "--yes", "--stack", stack])


def run_pulumi(local: Local, command: list[str]) -> None:
    """One of Pulumi's quick commands; its output is shown only when it fails."""
    done = subprocess.run(command, env=environment(local), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise LocalError(f"pulumi {command[3]} failed: {words}")


file_option = click.option("-f", "--file", "file", metavar="FILE", help="Another file, named Pulumi.<stack>.yaml.")


@contextlib.contextmanager
def chosen_file(stack: str | None, file: str | None) -> Iterator[Path]:
    """The stack file that the options name. Whatever stands in the way ends in one message and exit status 1."""
    if bool(stack) == bool(file):
        raise click.UsageError("give exactly one of -s STACK and -f FILE")
    with errors_for_people(file or stack_source(stack or "")):
        try:
            yield Path(file) if file else stack_config.stack_file(stack or "")
        except LocalError as error:
            fail(str(error))


@click.command("up-local")
@stack_option
@file_option
def up_local(stack: str | None, file: str | None) -> None:
    """Create a stack for real, against an AWS emulator on this machine; no account is touched.

    \b
    Examples:
      gpufleet up-local -s dev-us-east-1
      EMULATOR_PORT=5001 gpufleet up-local -f Pulumi.trial-us-east-1.yaml
    """
    with chosen_file(stack, file) as source:
        raise SystemExit(up(default_local(), source))


@click.command("destroy-local")
@stack_option
@file_option
def destroy_local(stack: str | None, file: str | None) -> None:
    """Destroy a stack made by up-local, and stop the emulator when no other is left.

    \b
    Example:
      gpufleet destroy-local -s dev-us-east-1
    """
    with chosen_file(stack, file) as source:
        raise SystemExit(destroy(default_local(), stack_of(source)))
