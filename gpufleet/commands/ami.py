"""`gpufleet ami`: which AMI a stack boots, which one AWS has now, and that one into the stack file.

Owns the words and the writing of the file. Leaves asking AWS to `gpufleet.refresh.account` and finding the place in the file
to `gpufleet.configuration.edit`.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import click

from gpufleet.commands.inputs import errors_for_people, required_stack_option, stack_source
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.machine_image import checked_ami_id, parameter_of
from gpufleet.planner.requirements import parse_requirements
from stacks import config as stack_config

SECTION, KEY = "gpufleet:instance", "ami"
POLICY = "docs/iam/read.json"

MEANS = {
    "latest": "AWS's newest at each `up`",
    "launch": "AWS's newest whenever an instance launches",
}


class Image(NamedTuple):
    """An AMI, and what EC2 says of it; empty where it says nothing."""

    id: str
    name: str = ""
    created: str = ""

    def __str__(self) -> str:
        said = ", ".join(part for part in (self.name, self.created[:10]) if part)
        return f"{self.id} ({said})" if said else self.id


@click.command()
@required_stack_option
@click.option("--update", is_flag=True, help="Write AWS's newest id into the stack file.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def ami(stack: str, update: bool, form: str) -> None:
    """Show the stack's AMI and AWS's newest; with --update, pin the newest in the stack file.

    Asks AWS with your credentials (ssm:GetParameter; ec2:DescribeImages for names and dates, where it is allowed). Nothing
    but the one value changes in the file: comments and order stay. The change is for a pull request, and `up` rolls the
    fleet.

    \b
    Examples:
      gpufleet ami -s prod-us-east-1
      gpufleet ami -s prod-us-east-1 --update
    """
    with errors_for_people(stack_source(stack)):
        path = stack_config.stack_file(stack)
        requirements = parse_requirements(stack_config.read_stack_file(path))
        given, parameter = requirements.instance.ami, parameter_of(requirements)
        newest, standing = _ask_aws(requirements.region, parameter, given)
        is_newest = given == newest.id
        if update and not is_newest:
            _write(path, newest.id)
    if form == "json":
        document = {
            "stack": stack, "ami": given, "newest": newest._asdict(), "parameter": parameter, "isNewest": is_newest,
            "updated": update and not is_newest,
        }  # fmt: skip
        click.echo(json.dumps(document, indent=2))
        return
    has = f"{given}: {MEANS[given]}" if given in MEANS else str(standing)
    click.echo(f"{stack_source(stack)}: instance.ami is {has}")
    click.echo(f"AWS's newest: {newest}, by {parameter}")
    if is_newest:
        click.echo("The stack has the newest.")
    elif update:
        click.echo(f"Changed: instance.ami: {given} → {newest.id}")
        click.echo(f"What it does: gpufleet diff; to roll the fleet: pulumi up --stack {stack}")
    else:
        click.echo(f"To pin the newest: gpufleet ami -s {stack} --update")


def _ask_aws(region: str, parameter: str, given: str) -> tuple[Image, Image]:
    """The newest image and the one in the file; their names are a courtesy, for which nothing fails."""
    from gpufleet.refresh.account import Account, AwsError

    account = Account(policy=POLICY)
    answer: Any = account.ask("ssm", region, "GetParameter", "Parameter", Name=parameter)
    newest = checked_ami_id(parameter, answer.get("Value"))
    described: dict[str, Image] = {}
    ids = [newest, *([given] if given not in (*MEANS, newest) else [])]
    for image_id in ids:
        with contextlib.suppress(AwsError):
            for found in account.ask("ec2", region, "DescribeImages", "Images", ImageIds=[image_id]):
                image = Image(image_id, str(found.get("Name", "")), str(found.get("CreationDate", "")))
                described[image_id] = image
    return described.get(newest, Image(newest)), described.get(given, Image(given))


def _write(path: Path, image_id: str) -> None:
    """The file with the id, put in the place of the old one whole."""
    from gpufleet.configuration.edit import with_value

    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()
    changed = with_value(text, SECTION, KEY, image_id, stack_config.parse_yaml)
    target = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(changed)
        Path(name).chmod(target.stat().st_mode & 0o777)
        Path(name).replace(target)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise RequirementError(Problem(path="", message=f"the file cannot be written: {error.strerror}")) from None
