"""`gpufleet plan`: the plan of a stack, a file or a batch, as a table or as JSON. Never imports Pulumi."""

from __future__ import annotations

from pathlib import Path

import click

from gpufleet.commands.batch import answer_batch
from gpufleet.commands.inputs import (
    catalog_option,
    complete_regions,
    errors_for_people,
    file_document,
    opened_catalog,
    print_error,
    stack_document,
    stack_option,
    stack_source,
    with_region,
)
from gpufleet.planner.catalog import Catalog
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
@catalog_option
@click.option(
    "--format", "output", type=click.Choice(["table", "json", "jsonl"]), help="Defaults to table; in a batch to jsonl."
)
def plan(
    stack: str | None,
    file: str | None,
    batch: str | None,
    region: str | None,
    catalog_directory: Path | None,
    output: str | None,
) -> None:
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
    on_error = print_error if output in ("json", "jsonl") else None
    with errors_for_people(on_error=on_error):
        catalog = opened_catalog(catalog_directory)
    if batch is not None:
        answer_batch(
            batch, output or "jsonl", lambda document: plan_document(with_region(document, region), catalog).to_json()
        )
        return
    source = stack_source(stack) if stack is not None else file or ""
    with errors_for_people(source, on_error):
        document = stack_document(stack) if stack is not None else file_document(file or "-")
        planned = plan_document(with_region(document, region), catalog)
    if output in ("json", "jsonl"):
        click.echo(planned.to_json(indent=2 if output == "json" else None))
    else:
        from gpufleet.commands.plan_table import describe_plan

        click.echo(describe_plan(planned))


def plan_document(document: dict[str, object], catalog: Catalog) -> DeploymentPlan:
    """A requirements document to a plan, without an account."""
    return plan_deployment(parse_requirements(document), catalog)
