"""`gpufleet render`: writes the files that the planned fleet gets, for reading and for review."""

from __future__ import annotations

from pathlib import Path

import click

from gpufleet.commands.inputs import errors_for_people, fail, required_stack_option, stack_document, stack_source
from gpufleet.commands.plan import plan_document
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.naming import log_group_name


@click.command()
@required_stack_option
@click.option(
    "--to",
    "directory",
    metavar="DIR",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write.",
)
def render(stack: str, directory: Path) -> None:
    """Write the files that an instance gets: scripts, units, agent and proxy configuration; the user data that brings them.

    Beside them a compose file for a machine of yours, and the plan.

    \b
    Example:
      gpufleet render -s dev-us-east-1 --to rendered/
    """
    with errors_for_people(stack_source(stack)):
        planned = plan_document(stack_document(stack), load_catalog())
        from templates.render import render_all, render_user_data

        files = render_all(planned, stack=stack, log_group=log_group_name(stack))
        files["user-data.sh"] = render_user_data(planned, stack=stack, log_group=log_group_name(stack))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in sorted(files.items()):
            (directory / name).write_text(text, encoding="utf-8")
            click.echo(f"{directory / name}  {len(text.encode()):,} bytes")
    except OSError as error:
        fail(f"{directory}: {error.strerror}")
