"""`gpufleet up-local` and `destroy-local`, as a user runs them, in a clone of the project."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.emulator.running import free_port, get_json, isolated_environment
from tests.repository import Repository, copy_project

STACK = "dev-us-east-1"


@dataclass(frozen=True, slots=True)
class Clone:
    """A copy of the project under git, whose commands are run with an emulator port of its own."""

    repository: Repository
    port: int

    def gpufleet(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a local command for the stack; standard error is joined to the output."""
        return subprocess.run(
            [sys.executable, "-c", "from gpufleet.cli import main; main()", command, "-s", STACK],
            cwd=self.repository.directory,
            env=isolated_environment(
                EMULATOR_PORT=str(self.port), PYTHONPATH=str(self.repository.directory), **environment
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def changes(self) -> str:
        """What git sees as changed or new."""
        return self.repository.git("status", "--porcelain")

    @property
    def running(self) -> int | None:
        """The process id of the emulator on the clone's port."""
        try:
            return int(get_json(f"http://127.0.0.1:{self.port}/_gpufleet/health")["pid"])
        except OSError:
            return None

    def wait_until_stopped(self) -> None:
        """Wait for the emulator to end after it was told to."""
        for _ in range(100):
            if self.running is None:
                return
            time.sleep(0.1)
        pytest.fail("the emulator still runs")


@pytest.fixture
def clone(pulumi: str, tmp_path: Path) -> Iterator[Clone]:
    """The project as git has it and would have it, with this environment as its `.venv`."""
    clone = Clone(copy_project(tmp_path / "clone"), free_port())
    yield clone
    if pid := clone.running:
        os.kill(pid, signal.SIGTERM)


def test_a_stack_comes_and_goes_and_survives_a_restarted_emulator(clone: Clone) -> None:
    first = clone.gpufleet("up-local")
    assert first.returncode == 0, first.stdout
    assert "created" in first.stdout
    pid = clone.running
    assert pid

    again = clone.gpufleet("up-local")
    assert again.returncode == 0, again.stdout
    assert clone.running == pid
    assert "unchanged" in again.stdout
    assert "created" not in again.stdout
    assert clone.changes() == ""

    os.kill(pid, signal.SIGTERM)
    clone.wait_until_stopped()
    restarted = clone.gpufleet("up-local")
    assert restarted.returncode == 0, restarted.stdout
    [line] = [line for line in restarted.stdout.splitlines() if "starting from an empty state" in line]
    assert "restarted" in line
    assert "created" in restarted.stdout

    gone = clone.gpufleet("destroy-local")
    assert gone.returncode == 0, gone.stdout
    clone.wait_until_stopped()
    assert clone.changes() == ""


def test_a_port_that_is_taken_is_said_in_one_message(clone: Clone) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", clone.port))
        other.listen()
        other.settimeout(60)
        threading.Thread(target=answer_nothing, args=(other,), daemon=True).start()
        result = clone.gpufleet("up-local")
    assert result.returncode == 1
    [message] = result.stdout.splitlines()
    assert f"port {clone.port} is taken by another program" in message


def test_a_missing_pulumi_is_said_in_one_message(clone: Clone, tmp_path: Path) -> None:
    result = clone.gpufleet("up-local", PATH=str(tmp_path))
    assert result.returncode == 1
    [message] = result.stdout.splitlines()
    assert "Pulumi CLI is not on PATH" in message
    assert clone.running is None


def answer_nothing(listener: socket.socket) -> None:
    """Accept one connection and close it."""
    connection, _ = listener.accept()
    connection.close()
