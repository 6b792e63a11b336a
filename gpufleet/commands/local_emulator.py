"""The emulator's process behind `up-local`: is it running, is it ours, does the Pulumi state belong to it.

Owns what lies below `.gpufleet/local/` (`Local`), the environment that cannot reach AWS, and starting and stopping.
Leaves the stack and Pulumi to `gpufleet.commands.local`, and AWS to `gpufleet.emulator`.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 20.0


class LocalError(Exception):
    """Something that stands in the way, in one line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Where a local deployment lives: the project, its private directory and the emulator's port."""

    project: Path
    directory: Path
    port: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def record(self) -> Path:
        """What is known of the emulator that the state belongs to: its boot id, and whether we started it."""
        return self.directory / "emulator.json"

    @property
    def stack_files(self) -> Path:
        return self.directory / "stacks"

    def stack_file(self, stack: str) -> Path:
        return self.stack_files / f"Pulumi.{stack}.yaml"

    def stacks(self) -> list[str]:
        """The stacks that exist here, sorted."""
        files = self.stack_files.glob("Pulumi.*.yaml")
        return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in files)


def environment(local: Local) -> dict[str, str]:
    """The caller's environment without anything that leads to AWS or to another Pulumi state."""
    dropped = ("AWS_", "PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_ACCESS_TOKEN", "PULUMI_STACK")
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(dropped)}
    return kept | {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": local.endpoint,
        "PULUMI_BACKEND_URL": local.state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def health(local: Local) -> dict[str, Any] | None:
    """What the emulator says of itself; None where nothing listens. A LocalError where something else does."""
    taken = LocalError(f"port {local.port} is taken by another program; choose another with EMULATOR_PORT=5001")
    try:
        document = control(local, "GET", "health")
    except (OSError, http.client.HTTPException, ValueError) as error:  # a refusal, another protocol, another server
        if isinstance(getattr(error, "reason", None), ConnectionRefusedError):
            return None
        raise taken from None
    if not isinstance(document, dict) or document.get("emulator") != "gpufleet":
        raise taken
    return document


def control(local: Local, method: str, name: str, document: Any = None) -> Any:
    """The answer of the emulator's own interface, as JSON; never through a proxy."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(f"{local.endpoint}/_gpufleet/{name}", data=body, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=ANSWER_TIMEOUT_S) as response:
        return json.load(response)


def read_record(local: Local) -> dict[str, Any]:
    """The emulator that the state belongs to; empty where there is none."""
    try:
        record = json.loads(local.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def start_emulator(local: Local) -> None:
    """Have the emulator running, and a Pulumi state that belongs to it."""
    running = health(local)
    if running is not None and running["bootId"] == read_record(local).get("bootId"):
        return
    boot = running or launch_emulator(local)
    if local.state.exists():
        say("The emulator was restarted and remembers nothing: starting from an empty state")
    forget(local)
    record = {"bootId": boot["bootId"], "ours": running is None}
    local.record.write_text(json.dumps(record), encoding="utf-8")


def launch_emulator(local: Local) -> dict[str, Any]:
    """Start the emulator in the background and wait until it answers."""
    if importlib.util.find_spec("moto") is None:
        raise LocalError("the emulator needs the test tools; install them with: make setup-dev")
    say(f"Starting the emulator on {local.endpoint}")
    log_file = local.directory / "emulator.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpufleet.emulator", "--port", str(local.port)],
            cwd=local.project,
            env=environment(local),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if (running := health(local)) is not None:
            return running
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    raise LocalError(f"the emulator did not start; see {log_file}")


def emulator_of_state(local: Local) -> dict[str, Any] | None:
    """The running emulator, if the Pulumi state is about it."""
    running = health(local)
    return running if running and running["bootId"] == read_record(local).get("bootId") else None


def forget(local: Local) -> None:
    """Empty the Pulumi state; the copies of the stack files carry its encryption and go with it."""
    for directory in (local.state, local.stack_files):
        shutil.rmtree(directory, ignore_errors=True)
    local.record.unlink(missing_ok=True)


def stop_emulator_if_unused(local: Local) -> None:
    """Stop the emulator that up-local started, unless another stack lives on it."""
    running = emulator_of_state(local)
    if running is None:
        return
    others = local.stacks()
    if others:
        say(f"The emulator keeps running for {', '.join(others)}")
    elif not read_record(local).get("ours"):
        say(f"The emulator on {local.endpoint} was not started by up-local and keeps running")
    else:
        os.kill(running["pid"], signal.SIGTERM)
        wait_until_gone(local)
        forget(local)
        say("The emulator is stopped")


def wait_until_gone(local: Local) -> None:
    """Wait until nothing answers any more, so that the port is free for whoever comes next."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    with contextlib.suppress(LocalError):  # an answer cut off in the middle
        while health(local) is not None and time.monotonic() < deadline:
            time.sleep(0.1)


def say(message: str) -> None:
    """One line of progress."""
    click.echo(message, err=True)
