"""`gpufleet plan`: the plan of a stack, a file or a batch, as a table or as JSON. Never imports Pulumi."""

from __future__ import annotations

import click

from gpufleet.commands.batch import answer_batch
from gpufleet.commands.inputs import (
    complete_regions,
    errors_for_people,
    file_document,
    print_error,
    stack_document,
    stack_option,
    stack_source,
    with_region,
)
from gpufleet.planner.catalog import load_catalog
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
@click.option("--all-regions", is_flag=True, help="Plan for every region, and rank them by cost and availability.")
@click.option(
    "--format", "output", type=click.Choice(["table", "json", "jsonl"]), help="Defaults to table; in a batch to jsonl."
)
def plan(
    stack: str | None, file: str | None, batch: str | None, region: str | None, all_regions: bool, output: str | None
) -> None:
    """Work out the instance type, the limits and the cost; create nothing.

    \b
    Examples:
      gpufleet plan -s dev-us-east-1
      gpufleet plan -s dev-us-east-1 --region eu-west-1
      gpufleet plan -s dev-us-east-1 --all-regions
      gpufleet plan -f requirements.yaml --format json
      gpufleet plan --batch models.jsonl > plans.jsonl
    """
    if sum(source is not None for source in (stack, file, batch)) != 1:
        raise click.UsageError("give exactly one of -s STACK, -f FILE and --batch FILE")
    if all_regions and (batch is not None or region is not None):
        raise click.UsageError("--all-regions takes neither --batch nor --region")
    if batch is not None:
        answer_batch(batch, output or "jsonl", lambda document: plan_document(with_region(document, region)).to_json())
        return
    source = stack_source(stack) if stack is not None else file or ""
    with errors_for_people(source, print_error if output in ("json", "jsonl") else None):
        document = stack_document(stack) if stack is not None else file_document(file or "-")
        if all_regions:
            from gpufleet.commands.regions import answer_regions

            answer_regions(document, load_catalog(), output or "table")
        planned = plan_document(with_region(document, region))
    if output in ("json", "jsonl"):
        click.echo(planned.to_json(indent=2 if output == "json" else None))
    else:
        from gpufleet.commands.plan_table import describe_plan

        click.echo(describe_plan(planned))


def plan_document(document: dict[str, object]) -> DeploymentPlan:
    """A requirements document to a plan, with the embedded catalogue and without an account."""
    return plan_deployment(parse_requirements(document), load_catalog())
