"""docs/recovery.md as a script: its commands, run as they are written, on the engine and on the emulator.

Owns how a line of the page is run. Leaves to the tests which lines, and what has to come of them.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

from botocore import xform_name

from tests.emulator.running import PROJECT
from tests.engine.deployment import Deployment

PAGE = (PROJECT / "docs" / "recovery.md").read_text(encoding="utf-8")


def blocks(heading: str) -> list[list[str]]:
    """The commands of a section, by block."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [block.splitlines() for block in re.findall(r"^```console\n(.+?)^```", section, re.M | re.S)]


def pulumi(stack: Deployment, command: str) -> str:
    """One of the page's commands of Pulumi's; its output."""
    program, operation, *filled = words(command)
    assert program == "pulumi"
    if operation in ("up", "refresh"):
        return stack.command(PROJECT, operation, *filled, *stack.options())
    return stack.command(stack.directory, operation, *filled, "--stack", stack.stack)


def aws(stack: Deployment, command: str, **names: str) -> dict[str, Any]:
    """One of the page's commands of the AWS CLI, with names in the place of its words in capitals; the answer."""
    program, service, operation, *options = words(command)
    assert program == "aws"
    client = stack.emulator.client(service, stack.region)
    method = operation.replace("-", "_")
    members = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method]).input_shape.members
    keys = {f"--{xform_name(member, '-')}": member for member in members}
    given: dict[str, Any] = {}
    for word in options:
        if word in keys:
            key = keys[word]
            given[key] = True
        else:
            value = names[word] if word.isupper() else word
            given[key] = [value] if members[key].type_name == "list" else value
    answer: dict[str, Any] = getattr(client, method)(**given)
    return answer


def piped(stack: Deployment, command: str, **names: str) -> str:
    """A pipe of the page's from the state through a program, and back into the state where the page says so."""
    source, program, *sink = split_at(words(command), "|")
    state = stack.command(stack.directory, *source[1:], "--stack", stack.stack)
    said = through(stack, program, state, **names)
    for arguments in sink:
        edited = stack.directory / "edited.json"
        edited.write_text(said)
        stack.command(stack.directory, *arguments[1:], "--file", str(edited), "--stack", stack.stack)
    return said


def through(stack: Deployment, program: list[str], text: str, **names: str) -> str:
    """What one of the page's Python programs makes of a text."""
    assert program[:2] == ["python3", "-c"]
    filled = [sys.executable, *(names.get(argument, argument) for argument in program[1:])]
    done = subprocess.run(filled, input=text, cwd=stack.directory, capture_output=True, text=True, check=True)
    return done.stdout


def unknown(stack: Deployment) -> list[str]:
    """The ARNs that the page's search finds: they have the stack's tag, and its state does not know them."""
    export, find = blocks("What was made and is not in the state")[0]
    pulumi(stack, export)
    search, program = split_at(words(find), "|")
    assert search[:3] == ["aws", "resourcegroupstaggingapi", "get-resources"]
    assert "Key=gpufleet:stack,Values=STACK" in search
    return through(stack, program, "\n".join(_tagged(stack))).split()


def _tagged(stack: Deployment) -> list[str]:
    """The ARNs that `aws resourcegroupstaggingapi get-resources` has for the stack's tag, on all of its pages."""
    pages = stack.emulator.client("resourcegroupstaggingapi", stack.region).get_paginator("get_resources")
    found = pages.paginate(TagFilters=[{"Key": "gpufleet:stack", "Values": [stack.stack]}])
    return [resource["ResourceARN"] for page in found for resource in page["ResourceTagMappingList"]]


def words(command: str) -> list[str]:
    """Those of a command, without the prompt."""
    prompt, *rest = shlex.split(command)
    assert prompt == "$"
    return rest


def split_at(words: list[str], separator: str) -> list[list[str]]:
    """The words between separators."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts
