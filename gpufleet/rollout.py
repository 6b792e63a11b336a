"""Which stacks a roll-out is about, by environment, for the workflows in .github: JSON in, JSON out.

`python -m gpufleet.rollout [--changes FILE | --stack STACK] [ENVIRONMENT…]` prints
`{"stacks": […], "environments": {"dev": […], …}, "removed": […]}`: the stacks that the comparison in FILE (`gpufleet
diff --write FILE.json`) calls touched, or the one that is named, or every stack; the same by environment, in the order
in which the environments are named; and those whose file is gone. Where environments are named, a stack of another one
is an error.
Decides nothing about a stack: what is touched, `gpufleet.review` has found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gpufleet.commands.inputs import errors_for_people
from gpufleet.planner.errors import Problem, RequirementError, list_names
from stacks.config import environment_of, stack_file, stack_names


@click.command()
@click.option(
    "--changes",
    "changes_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What `gpufleet diff --write FILE.json` wrote. Without it, every stack.",
)
@click.option("-s", "--stack", metavar="STACK", help="Only this stack, whatever has changed.")
@click.argument("environments", metavar="[ENVIRONMENT]...", nargs=-1)
def main(changes_file: Path | None, stack: str | None, environments: tuple[str, ...]) -> None:
    """Print the stacks of a roll-out by environment, as JSON."""
    if changes_file and stack:
        raise click.UsageError("give --changes or --stack, not both")
    with errors_for_people():
        if stack:
            stack_file(stack)
            document = rollout([stack], environments)
        elif changes_file:
            changes = json.loads(changes_file.read_text(encoding="utf-8"))
            removed = [s["stack"] for s in changes["stacks"] if s["status"] == "removed"]
            document = rollout(changes["touched"], environments, removed)
        else:
            document = rollout(stack_names(), environments)
    click.echo(json.dumps(document, indent=2))


def rollout(stacks: Sequence[str], environments: Sequence[str], removed: Sequence[str] = ()) -> dict[str, Any]:
    """The stacks by environment.

    Raises:
        RequirementError: environments are named, and a stack belongs to none of them.
    """
    found: dict[str, list[str]] = {name: [] for name in environments}
    for stack in stacks:
        environment = environment_of(stack)
        if environments and environment not in found:
            raise RequirementError(_without_a_job(stack, environment, environments))
        if environment is not None:
            found.setdefault(environment, []).append(stack)
    return {"stacks": list(stacks), "environments": found, "removed": list(removed)}


def _without_a_job(stack: str, environment: str | None, environments: Sequence[str]) -> Problem:
    path, allowed = f"stacks/Pulumi.{stack}.yaml", list_names(environments)
    if environment is None:
        return Problem(
            path=path,
            message="the stack's name has no environment and region, so no job deploys it",
            given=stack,
            allowed=f"<environment>-<region>, with one of {allowed}",
            next_step="rename the file and the stack (`pulumi stack rename`)",
        )
    return Problem(
        path=path,
        message=f"no job deploys the environment {environment}",
        given=environment,
        allowed=allowed,
        next_step=f"add a job {environment} to .github/workflows/deploy.yml, and its name to the list in the job changes",
    )


if __name__ == "__main__":
    main()
