"""docs/recovery.md, "A killed engine": its commands, one after the other, until the state and the emulator agree."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

from tests.emulator.running import PROJECT
from tests.engine.conftest import Deploy
from tests.engine.deployment import PROVIDER_GAP, Deployment
from tests.engine.recovery_page import aws, blocks, piped, pulumi, unknown

STACK = "dev-us-east-1"
KIND = "elbv2:load-balancer"
"""What is being made when the engine is killed: the provider waits a minute for it."""


def test_what_a_killed_engine_began_is_deleted_or_taken_in(deploy: Deploy) -> None:
    stack = deploy(STACK)
    before = stack.resources()
    unlock, take_in, give_up, end = blocks("A killed engine")

    balancer = kill_while_making(stack)
    assert "locked" in stack.refused("up")
    urn = pending(stack, unlock)
    assert unknown(stack) == [balancer]
    delete, forget = give_up
    aws(stack, delete, ID=balancer)
    pulumi(stack, forget)
    assert KIND not in stack.resources()

    balancer = kill_while_making(stack)
    assert pending(stack, unlock) == urn
    assert unknown(stack) == [balancer]
    edit, refresh = take_in
    piped(stack, edit, URN=urn, ID=balancer)
    pulumi(stack, refresh)
    finish, check = end
    try:
        pulumi(stack, finish)
    except AssertionError as error:
        if PROVIDER_GAP not in str(error):
            raise
        stack.run("refresh")
        pulumi(stack, finish)
    pulumi(stack, check)
    assert stack.resources()[KIND] == [balancer]
    assert unknown(stack) == []

    stack.destroy()
    assert stack.resources() == before


def kill_while_making(stack: Deployment) -> str:
    """`pulumi up`, killed while the load balancer is being made and nothing else; the balancer's ARN."""
    with (stack.directory / "killed.txt").open("w") as output:
        process = subprocess.Popen(
            [stack.pulumi, "-C", str(PROJECT), "up", "--yes", "--skip-preview", *stack.options()],
            env=stack.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        while not (made := stack.resources().get(KIND)) or len(stack.exported()["pending_operations"]) > 1:
            assert process.poll() is None, (stack.directory / "killed.txt").read_text()
            time.sleep(0.5)
    finally:
        kill_session(process.pid)
        process.wait()
    [balancer] = made
    return balancer


def kill_session(leader: int) -> None:
    """Kill the engine and its plugins, which have process groups of their own, as a machine does that goes away."""
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)


def pending(stack: Deployment, commands: list[str]) -> str:
    """The URN of the one operation that had begun, after the page's first block."""
    cancel, export = commands
    pulumi(stack, cancel)
    [(kind, urn)] = [line.split(" ", 1) for line in piped(stack, export).splitlines()]
    assert kind == "creating"
    return urn
