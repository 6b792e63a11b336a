"""`gpufleet up-local` and `destroy-local`: a stack made for real by the Pulumi CLI, against an emulator on loopback.

Owns the emulator's process, a copy of the stack file, Pulumi's local state and an environment that cannot reach AWS;
all of it below `.gpufleet/local/`. No tracked file is touched: Pulumi writes into the copy. Leaves AWS to
`gpufleet.emulator`, and what is created to the program.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gpufleet.commands.inputs import errors_for_people, fail
from stacks import config as stack_config

DEFAULT_PORT = 5000
START_TIMEOUT_S = 60.0

KEPT_PROVIDER_KEYS = frozenset({"aws:region", "aws:defaultTags", "aws:ignoreTags"})
"""The provider's keys that mean the same in the emulator; profiles, roles and endpoints are left out of the copy."""

SECRETS_KEYS = ("secretsprovider", "encryptedkey", "encryptionsalt")
"""How a stack file's secrets are encrypted: another backend's are of no use here."""


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
    with locked(local):
        start_emulator(local)
        prepare(local, source)
        run_pulumi(local, [pulumi, "-C", str(local.directory), "stack", "select", "--create", "--stack", stack])
        say(f"Creating {stack} in the emulator (the first time about 90 s: the provider waits a minute for a load balancer)")
        return run_on_stack(local, pulumi, "up", stack)


def destroy(local: Local, stack: str) -> int:
    """Destroy the stack; stop the emulator when it was the last one. Pulumi's exit status."""
    pulumi = find_pulumi()
    with locked(local):
        if not local.stack_file(stack).is_file() or not emulator_of_state(local):
            forget_if_gone(local)
            say(f"{stack} does not exist in the emulator: nothing to destroy")
        else:
            if status := run_on_stack(local, pulumi, "destroy", stack):
                return status
            run_pulumi(local, [pulumi, "-C", str(local.directory), "stack", "rm", "--yes", "--stack", stack])
            local.stack_file(stack).unlink(missing_ok=True)
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


def prepare(local: Local, source: Path) -> None:
    """Copy the stack file, and the project file next to it, to where Pulumi may write."""
    document = stack_config.load_yaml(source)
    target = local.stack_file(stack_of(source))
    before = stack_config.load_yaml(target) if target.is_file() else {}
    local.stack_files.mkdir(parents=True, exist_ok=True)
    local.state.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(local.project / "Pulumi.yaml", local.directory / "Pulumi.yaml")
    copy = local_document(document, salt=before.get("encryptionsalt"))
    # JSON is YAML, and keeps every value as it was read.
    target.write_text(json.dumps(copy, indent=2, default=str) + "\n", encoding="utf-8")


def local_document(document: Any, *, salt: str | None) -> dict[str, Any]:
    """A stack file's content for the emulator: no profile, role or foreign encryption; buckets addressed by path."""
    given: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
    settings = given.get("config")
    config = {
        key: value
        for key, value in (settings if isinstance(settings, Mapping) else {}).items()
        if not str(key).startswith("aws:") or key in KEPT_PROVIDER_KEYS
    }
    copy = {key: value for key, value in given.items() if key not in SECRETS_KEYS}
    copy["config"] = config | {"aws:s3UsePathStyle": "true"}
    return copy | ({"encryptionsalt": salt} if salt else {})


def run_on_stack(local: Local, pulumi: str, operation: str, stack: str) -> int:
    """`pulumi up` or `destroy` of a stack with the copy of its file; Pulumi's output goes to the terminal."""
    release_stale_lock(local, pulumi, stack)
    command = [pulumi, "-C", str(local.project), operation, "--yes", "--skip-preview", "--stack", stack]
    command += ["--config-file", str(local.stack_file(stack))]
    process = subprocess.Popen(command, env=environment(local))
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


def health(local: Local) -> dict[str, Any] | None:
    """What the emulator says of itself; None where nothing listens. A LocalError where something else does."""
    taken = LocalError(f"port {local.port} is taken by another program; choose another with EMULATOR_PORT=5001")
    try:
        document = get_json(f"{local.endpoint}/_gpufleet/health")
    except (urllib.error.HTTPError, ValueError):
        raise taken from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return None
        raise taken from None
    except OSError:  # what listens does not speak HTTP
        raise taken from None
    if not isinstance(document, dict) or document.get("emulator") != "gpufleet":
        raise taken
    return document


def get_json(url: str) -> Any:
    """The JSON at a URL on loopback; never through a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as response:
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
    running, ours = health(local), bool(read_record(local).get("ours"))
    if running is None:
        running, ours = launch_emulator(local), True
    if read_record(local).get("bootId") == running["bootId"]:
        return
    if local.state.exists():
        say("The emulator was restarted and remembers nothing: starting from an empty state")
    forget(local)
    local.record.write_text(json.dumps({"bootId": running["bootId"], "ours": ours}), encoding="utf-8")


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


def forget_if_gone(local: Local) -> None:
    """Without its emulator the state describes nothing."""
    if emulator_of_state(local) is None:
        forget(local)


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
    others = sorted(stack_of(path) for path in local.stack_files.glob("Pulumi.*.yaml"))
    if others:
        say(f"The emulator keeps running for {', '.join(others)}")
    elif not read_record(local).get("ours"):
        say(f"The emulator on {local.endpoint} was not started by up-local and keeps running")
    else:
        os.kill(running["pid"], signal.SIGTERM)
        forget(local)
        say("The emulator is stopped")


def say(message: str) -> None:
    """One line of progress."""
    click.echo(message, err=True)


@contextlib.contextmanager
def one_message() -> Iterator[None]:
    """Whatever stands in the way ends in one message and exit status 1."""
    with errors_for_people():
        try:
            yield
        except LocalError as error:
            fail(str(error))


stack_option = click.option("-s", "--stack", metavar="STACK", help="A stack with a file in stacks/, such as dev-us-east-1.")
file_option = click.option("-f", "--file", "file", metavar="FILE", help="Another stack file, named Pulumi.<stack>.yaml.")


def chosen_file(stack: str | None, file: str | None) -> Path:
    """The stack file that the options name."""
    if bool(stack) == bool(file):
        raise click.UsageError("Give one of -s STACK and -f FILE.")
    return Path(file) if file else stack_config.stack_file(stack or "")


@click.command("up-local")
@stack_option
@file_option
def up_local(stack: str | None, file: str | None) -> None:
    """Create a stack for real, against an AWS emulator on this machine; no account is touched.

    \b
    Example:
      gpufleet up-local -s dev-us-east-1
    """
    with one_message():
        raise SystemExit(up(default_local(), chosen_file(stack, file)))


@click.command("destroy-local")
@stack_option
@file_option
def destroy_local(stack: str | None, file: str | None) -> None:
    """Destroy a stack made by up-local, and stop the emulator when no other is left.

    \b
    Example:
      gpufleet destroy-local -s dev-us-east-1
    """
    with one_message():
        raise SystemExit(destroy(default_local(), stack_of(chosen_file(stack, file))))
