"""`gpufleet catalog diff`: what changed between two catalogues, and which stacks would choose otherwise. Thin: the work is
`gpufleet.review.catalogues`'."""

from __future__ import annotations

import contextlib
import functools
import json

import click

from gpufleet.commands.catalog_report import as_json, as_markdown, as_table
from gpufleet.commands.inputs import fail, stack_document
from gpufleet.review.catalogue_sides import PROJECT, named_catalogue
from gpufleet.review.catalogues import compare_catalogues
from gpufleet.review.sides import SideError
from stacks.config import stack_names

MOVES_SHOWN = 20
"""Prices in the texts, unless all are asked for."""


@click.command()
@click.argument("base", default="HEAD")
@click.argument("head", required=False)
@click.option(
    "--format", "output", type=click.Choice(["table", "markdown", "json"]), default="table", help="Defaults to table."
)
@click.option("--all", "whole", is_flag=True, help="Every price that moved, not the largest moves only.")
def diff(base: str, head: str | None, output: str, whole: bool) -> None:
    """What changed between two catalogues, and which stacks of this checkout would choose otherwise.

    BASE (HEAD by default) and HEAD (this checkout by default) are git revisions, checkouts, or directories with a catalogue.
    Stacks are planned with this checkout's code and files, so that only the catalogue differs.

    \b
    Examples:
      gpufleet catalog diff
      gpufleet catalog diff main --format markdown
      gpufleet catalog diff HEAD /tmp/catalog
    """
    stacks = {name: functools.partial(stack_document, name) for name in stack_names()}
    try:
        with contextlib.ExitStack() as sides:
            old_label, old = sides.enter_context(named_catalogue(base))
            new_label, new = sides.enter_context(named_catalogue(head if head is not None else str(PROJECT)))
            comparison = compare_catalogues(old, new, stacks)
    except SideError as error:
        fail(str(error))
    if output == "json":
        click.echo(json.dumps(as_json(old_label, new_label, comparison), indent=2, ensure_ascii=False))
    else:
        written = as_markdown if output == "markdown" else as_table
        click.echo(written(old_label, new_label, comparison, None if whole else MOVES_SHOWN))
