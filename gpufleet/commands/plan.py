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
from gpufleet.planner.errors import NothingFitsError
from gpufleet.planner.plan import Candidate, DeploymentPlan
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
@click.option("--all-regions", is_flag=True, help="Plan for every region, and rank them by cost and availability.")
@click.option(
    "--explain", is_flag=True, help="Show every offered type with what it needs, has and costs, and the rules."
)
def plan(
    stack: str | None,
    file: str | None,
    batch: str | None,
    region: str | None,
    catalog_directory: Path | None,
    all_regions: bool,
    output: str | None,
    explain: bool,
) -> None:
    """Work out the instance type, the limits and the cost; create nothing.

    \b
    Examples:
      gpufleet plan -s dev-us-east-1
      gpufleet plan -s dev-us-east-1 --region eu-west-1
      gpufleet plan -s dev-us-east-1 --explain
      gpufleet plan -s dev-us-east-1 --all-regions
      gpufleet plan -f requirements.yaml --format json
      gpufleet plan --batch models.jsonl > plans.jsonl
    """
    if sum(source is not None for source in (stack, file, batch)) != 1:
        raise click.UsageError("give exactly one of -s STACK, -f FILE and --batch FILE")
    if explain and (batch is not None or output not in (None, "table")):
        raise click.UsageError("--explain is a table; the JSON of a plan has all of it under candidates")
    if all_regions and (batch is not None or region is not None or explain):
        raise click.UsageError("--all-regions takes neither --batch nor --region nor --explain")
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
        if all_regions:
            from gpufleet.commands.regions import answer_regions

            answer_regions(document, catalog, output or "table")
        document = with_region(document, region)
        planned = _explained(document, catalog) if explain else plan_document(document, catalog)
    if output in ("json", "jsonl"):
        click.echo(planned.to_json(indent=2 if output == "json" else None))
    elif explain:
        from gpufleet.commands.explain_table import explain_plan

        click.echo(explain_plan(planned, parse_requirements(document).instance))
    else:
        from gpufleet.commands.plan_table import describe_plan

        click.echo(describe_plan(planned))


def _explained(document: dict[str, object], catalog: Catalog) -> DeploymentPlan:
    """The plan; where nothing fits, every candidate is shown before the error."""
    try:
        return plan_document(document, catalog)
    except NothingFitsError as error:
        from gpufleet.commands.explain_table import explain_candidates

        rows = [Candidate.model_validate(row) for row in error.problems[0].candidates]
        click.echo(explain_candidates(rows) + "\n")
        raise


def plan_document(document: dict[str, object], catalog: Catalog) -> DeploymentPlan:
    """A requirements document to a plan, without an account."""
    return plan_deployment(parse_requirements(document), catalog)
