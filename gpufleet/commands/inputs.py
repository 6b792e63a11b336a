"""How a command is given its requirements, and how it ends when they are wrong. Shared by the subcommands."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gpufleet.planner.errors import PlanningError, Problem, RequirementError
from stacks import config as stack_config

if TYPE_CHECKING:
    from gpufleet.planner.catalog import Catalog


def complete_stacks(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The stacks that have a file, for the shell."""
    return [name for name in stack_config.stack_names() if name.startswith(incomplete)]


def complete_regions(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """The regions of the catalogue, for the shell."""
    from gpufleet.planner.catalog import load_catalog

    return [name for name in load_catalog().regions if name.startswith(incomplete)]


_STACK_HELP = "A stack with a file in stacks/, such as dev-us-east-1."

stack_option = click.option("-s", "--stack", metavar="STACK", shell_complete=complete_stacks, help=_STACK_HELP)
required_stack_option = click.option(
    "-s", "--stack", metavar="STACK", required=True, shell_complete=complete_stacks, help=_STACK_HELP
)

catalog_option = click.option(
    "--catalog", "catalog_directory", metavar="DIR", type=click.Path(path_type=Path),
    help="Another catalogue than the repository's own.",
)  # fmt: skip


def opened_catalog(directory: Path | None) -> Catalog:
    """The repository's own catalogue, or the one in `directory` once it is found whole."""
    if directory is None:
        from gpufleet.planner.catalog import load_catalog

        return load_catalog()
    from gpufleet.planner.catalog.integrity import checked_catalog

    return checked_catalog(directory)


def stack_document(stack: str) -> dict[str, Any]:
    """The requirements document of a stack."""
    return stack_config.read_stack_file(stack_config.stack_file(stack))


def file_document(path: str) -> dict[str, Any]:
    """The requirements document in a YAML or JSON file; `-` is standard input (YAML), with paths from where one stands."""
    if path == "-":
        return stack_config.read_requirements_file(Path("/dev/stdin"), directory=Path.cwd())
    return stack_config.read_requirements_file(Path(path))


def with_region(document: dict[str, Any], region: str | None) -> dict[str, Any]:
    """The document for another region."""
    return {**document, "region": region} if region else document


def batch_lines(path: str) -> Iterator[str]:
    """The lines of a batch that hold something; `-` is standard input."""
    with click.open_file(path, encoding="utf-8", errors="surrogateescape") as lines:
        yield from (line for line in lines if line.strip())


def line_document(line: str) -> dict[str, Any]:
    """The requirements document in one line of JSON."""
    try:
        document = stack_config.parse_json(line)
    except (ValueError, RecursionError) as error:
        raise RequirementError(
            Problem(
                path="",
                message=f"the line is not JSON: {error}",
                given=line.strip()[:80],
                allowed="one JSON object per line",
            )
        ) from None
    if not isinstance(document, dict):
        raise RequirementError(
            Problem(
                path="",
                message="the line holds no requirements document",
                given=line.strip()[:80],
                allowed="a JSON object",
            )
        )
    return stack_config.with_files(document, Path.cwd())


def fail(message: str) -> NoReturn:
    """End with one message and exit status 1."""
    click.echo(f"error: {message}", err=True)
    raise SystemExit(1)


def print_error(error: PlanningError) -> NoReturn:
    """End with the error as JSON on standard output, for a program, and exit status 1."""
    click.echo(json.dumps({"error": error.to_json()}, ensure_ascii=False))
    raise SystemExit(1)


@contextlib.contextmanager
def errors_for_people(source: str = "", on_error: Callable[[PlanningError], NoReturn] | None = None) -> Iterator[None]:
    """A mistake of the user's ends in one message that names its file, and exit status 1."""
    try:
        yield
    except PlanningError as error:
        if on_error:
            on_error(error)
        fail((error if error.source else error.in_source(source)).describe())


def stack_source(stack: str) -> str:
    """How a stack's file is named in messages."""
    return f"stacks/Pulumi.{stack}.yaml"
