"""`gpufleet plan`: the plan of a stack, a file or a batch, as a table or as JSON. Never imports Pulumi."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NoReturn

import click

from gpufleet.commands.inputs import (
    batch_lines,
    complete_regions,
    errors_for_people,
    fail,
    file_document,
    line_document,
    stack_document,
    stack_option,
    stack_source,
    with_region,
)
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements


@click.command()
@stack_option
@click.option(
    "-f", "--file", "file", metavar="FILE", help="A requirements document in YAML or JSON; - reads standard input."
)
@click.option("--batch", metavar="FILE", help="One requirements document per line of JSON; - reads standard input.")
@click.option(
    "--region",
    metavar="REGION",
    shell_complete=complete_regions,
    help="Plan for this region instead of the document's.",
)
@click.option(
    "--format", "output", type=click.Choice(["table", "json", "jsonl"]), help="Defaults to table; in a batch to jsonl."
)
def plan(stack: str | None, file: str | None, batch: str | None, region: str | None, output: str | None) -> None:
    """Work out the instance type, the limits and the cost; create nothing.

    \b
    Examples:
      gpufleet plan -s dev-us-east-1
      gpufleet plan -s dev-us-east-1 --region eu-west-1
      gpufleet plan -f requirements.yaml --format json
      gpufleet plan --batch models.jsonl > plans.jsonl
    """
    if sum(source is not None for source in (stack, file, batch)) != 1:
        raise click.UsageError("give exactly one of -s STACK, -f FILE and --batch FILE")
    if batch is not None:
        _plan_batch(batch, region, output or "jsonl")
        return
    source = stack_source(stack) if stack is not None else file or ""
    with errors_for_people(source, _print_error if output in ("json", "jsonl") else None):
        document = stack_document(stack) if stack is not None else file_document(file or "-")
        planned = plan_document(with_region(document, region))
    if output in ("json", "jsonl"):
        click.echo(planned.to_json(indent=2 if output == "json" else None))
    else:
        from gpufleet.commands.plan_table import describe_plan

        click.echo(describe_plan(planned))


def plan_document(document: dict[str, object]) -> DeploymentPlan:
    """A requirements document to a plan, with the embedded catalogue and without an account."""
    return plan_deployment(parse_requirements(document), load_catalog())


def _print_error(error: PlanningError) -> NoReturn:
    click.echo(json.dumps({"error": error.to_json()}, ensure_ascii=False))
    raise SystemExit(1)


def _plan_batch(path: str, region: str | None, output: str) -> None:
    """A line out for every line in; a bad one never stops the rest. Exit status 1 if any failed."""
    if output == "table":
        raise click.UsageError("a batch is printed as json or jsonl")
    try:
        lines = list(batch_lines(path))
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    failed = False
    results: list[str] = []
    for text, ok in _batch_results(lines, region):
        failed = failed or not ok
        if output == "jsonl":
            click.echo(text)
        else:
            results.append(text)
    if output == "json":
        click.echo("[" + ",\n".join(results) + "]")
    if failed:
        raise SystemExit(1)


def _batch_results(lines: list[str], region: str | None) -> Iterator[tuple[str, bool]]:
    for line in lines:
        try:
            yield plan_document(with_region(line_document(line), region)).to_json(), True
        except PlanningError as error:
            yield json.dumps({"error": error.to_json()}, ensure_ascii=False, default=str), False
