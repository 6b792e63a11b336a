"""docs/recovery.md, "A killed engine": its commands, one after the other, until the state and the emulator agree."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

from tests.emulator.running import PROJECT
from tests.engine.conftest import Deploy
from tests.engine.deployment import Deployment
from tests.engine.test_change_matrix import PROVIDER_GAP

STACK = "dev-us-east-1"
SECTION = (PROJECT / "docs" / "recovery.md").read_text(encoding="utf-8").partition("## A killed engine")[2]
BLOCKS = [block.splitlines() for block in re.findall(r"^```console\n(.+?)^```", SECTION, re.M | re.S)]
KIND = "elbv2:load-balancer"
"""What is being made when the engine is killed: the provider waits a minute for it."""


def test_what_a_killed_engine_began_is_deleted_or_taken_in(deploy: Deploy) -> None:
    stack = deploy(STACK)
    before, earlier = stack.resources(), tagged(stack)
    unlock, find, take_in, give_up, end = BLOCKS

    balancer = kill_while_making(stack)
    assert "locked" in stack.refused("up")
    urn = pending(stack, unlock)
    assert balancer in tagged(stack)
    delete, forget = give_up
    assert shlex.split(delete)[1:4] == ["aws", "elbv2", "delete-load-balancer"]
    stack.emulator.client("elbv2", stack.region).delete_load_balancer(LoadBalancerArn=balancer)
    walk(stack, forget)
    assert KIND not in stack.resources()

    balancer = kill_while_making(stack)
    assert pending(stack, unlock) == urn
    assert "Key=gpufleet:stack,Values=STACK" in find[0]
    assert balancer in tagged(stack)
    edit, refresh = take_in
    piped(stack, edit, URN=urn, ID=balancer)
    walk(stack, refresh)
    finish, check = end
    try:
        walk(stack, finish)
    except AssertionError as error:
        if PROVIDER_GAP not in str(error):
            raise
        stack.run("refresh")
        walk(stack, finish)
    walk(stack, check)
    assert stack.resources()[KIND] == [balancer]
    state = json.dumps(stack.state())
    made = tagged(stack) - earlier
    assert not {arn for arn in made if arn.rpartition("/")[2] not in state}, "made, and not in the state"

    stack.destroy()
    assert stack.resources() == before


def kill_while_making(stack: Deployment) -> str:
    """`pulumi up`, killed while the load balancer is being made; the balancer's ARN."""
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
        while not (made := stack.resources().get(KIND)):
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
    walk(stack, cancel)
    [(kind, urn)] = [line.split(" ", 1) for line in piped(stack, export).splitlines()]
    assert kind == "creating"
    return urn


def piped(stack: Deployment, command: str, **names: str) -> str:
    """A pipe of the page's from the state through a program, and back into the state where the page says so."""
    source, program, *sink = split_at(shlex.split(command)[1:], "|")
    state = stack.command(stack.directory, *source[1:], "--stack", stack.stack)
    assert program[:2] == ["python3", "-c"]
    filled = [sys.executable, *(names.get(argument, argument) for argument in program[1:])]
    said = subprocess.run(filled, input=state, capture_output=True, text=True, check=True).stdout
    for arguments in sink:
        edited = stack.directory / "edited.json"
        edited.write_text(said)
        stack.command(stack.directory, *arguments[1:], "--file", str(edited), "--stack", stack.stack)
    return said


def split_at(words: list[str], separator: str) -> list[list[str]]:
    """The words between separators."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def walk(stack: Deployment, command: str) -> None:
    """One of the page's commands of Pulumi's."""
    prompt, program, operation, *filled = shlex.split(command)
    assert (prompt, program) == ("$", "pulumi")
    if operation in ("up", "refresh"):
        stack.command(PROJECT, operation, *filled, *stack.options())
    else:
        stack.command(stack.directory, operation, *filled, "--stack", stack.stack)


def tagged(stack: Deployment) -> set[str]:
    """The ARNs of everything with the stack's tag, without what the group launches: no state knows that.

    The emulator, like AWS for a while, also lists what an earlier stack of the name had and deleted.
    """
    pages = stack.emulator.client("resourcegroupstaggingapi", stack.region).get_paginator("get_resources")
    found = pages.paginate(TagFilters=[{"Key": "gpufleet:stack", "Values": [stack.stack]}])
    arns = {resource["ResourceARN"] for page in found for resource in page["ResourceTagMappingList"]}
    return {arn for arn in arns if not arn.rpartition(":")[2].startswith(("instance/", "volume/"))}
