"""`gpufleet check`: everything that can be known of stacks before `up`, as one list with fixes."""

from __future__ import annotations

import json

import click

from gpufleet.commands.inputs import complete_stacks, fail
from stacks.config import STACKS_DIRECTORY, stack_names

ONLY_AWS_TELLS = (
    "whether the account's quotas leave the vCPUs above beside what else runs, and whether EC2 has them when the fleet asks",
    "which of the zones are the account's, and which AMI is behind `latest`",
    "whether the VPC, subnets, certificate, secrets and buckets that a stack names are there and may be used",
)
"""What is left to `pulumi preview` and `up`."""


@click.command()
@click.option(
    "-s", "--stack", "stacks", metavar="STACK", multiple=True, shell_complete=complete_stacks,
    help="Only this stack; may be repeated. Defaults to every stack in stacks/.",
)  # fmt: skip
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", help="Defaults to table.")
@click.option("--strict", is_flag=True, help="Fail on warnings too.")
def check(stacks: tuple[str, ...], output: str, strict: bool) -> None:
    """Find what is wrong or risky in stacks before `up`: every error, then every warning, each with what to do.

    Reads the files, plans, renders the user data and runs the Pulumi program offline. Needs no account and no Pulumi CLI, and
    says what is left for AWS to tell; where there are AWS credentials, the account's quotas are compared. Exit status 1 where
    there is an error, or with --strict a warning.

    \b
    Examples:
      gpufleet check
      gpufleet check -s dev-us-east-1 -s prod-eu-west-1
      gpufleet check --strict --format json
    """
    names = list(dict.fromkeys(stacks)) or stack_names()
    if not names:
        fail("there is no stack file in stacks/; `gpufleet init` writes one")
    from gpufleet.commands.check_project import check_project
    from gpufleet.commands.check_report import counted
    from gpufleet.commands.check_stack import check_stack

    reports = []
    for name in names:
        click.echo(f"Checking {name}", err=True)
        reports.append(check_stack(name))
    reports.append(check_project(STACKS_DIRECTORY.parent))
    errors, warnings = ([p for r in reports for p in getattr(r, kind)] for kind in ("errors", "warnings"))
    failed = bool(errors or (strict and warnings))
    if output == "json":
        *of_stacks, of_project = (report.to_json() for report in reports)
        document = {"ok": not failed, "stacks": of_stacks, "project": of_project, "onlyAwsTells": list(ONLY_AWS_TELLS)}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))
    else:
        left = "Only AWS can tell\n" + "\n".join(f"  - {line}" for line in ONLY_AWS_TELLS)
        total = f"{counted(names, 'stack')}: {counted(errors, 'error')}, {counted(warnings, 'warning')}"
        click.echo("\n\n".join([*(report.describe() for report in reports), left, total]))
    raise SystemExit(int(failed))
