"""`gpufleet size`: one replica on one card, or on every card: its memory part by part, and whether it fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gpufleet.commands.batch import answer_batch
from gpufleet.commands.inputs import (
    catalog_option,
    errors_for_people,
    file_document,
    opened_catalog,
    print_error,
    stack_document,
    stack_option,
    stack_source,
)
from gpufleet.planner.catalog import Catalog, load_catalog
from gpufleet.planner.size import Size, parse_size_requirements, size_on_cards, size_replica


def _complete_gpus(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in load_catalog().gpu_names if name.casefold().startswith(incomplete.casefold())]


@click.command()
@stack_option
@click.option(
    "-f", "--file", "file", metavar="FILE", help="A requirements document in YAML or JSON; - reads standard input."
)
@click.option("--batch", metavar="FILE", help="One requirements document per line of JSON; - reads standard input.")
@click.option("--gpu", "gpu_name", metavar="NAME", shell_complete=_complete_gpus, help="The card, such as L4.")
@click.option(
    "--gpu-memory-mib",
    metavar="MIB",
    type=click.FloatRange(min=1),
    help="Memory of the card, as the driver reports it (nvidia-smi: memory.total).",
)
@catalog_option
@click.option(
    "--format", "output", type=click.Choice(["table", "json", "jsonl"]), help="Defaults to table; in a batch to jsonl."
)
def size(
    stack: str | None,
    file: str | None,
    batch: str | None,
    gpu_name: str | None,
    gpu_memory_mib: float | None,
    catalog_directory: Path | None,
    output: str | None,
) -> None:
    """How much GPU memory a replica takes, part by part, and whether it fits.

    Takes the documents of `gpufleet plan`, but needs no region and no scaling. A key that is absent means what the engine
    does by itself, in its version. Without a card, the size on every card.

    \b
    Examples:
      gpufleet size -s dev-us-east-1
      gpufleet size -s dev-us-east-1 --gpu L4
      gpufleet size -f model.yaml --gpu-memory-mib 22579 --format json
      gpufleet size --batch models.jsonl --gpu H100 > sizes.jsonl
    """
    if sum(source is not None for source in (stack, file, batch)) != 1:
        raise click.UsageError("give exactly one of -s STACK, -f FILE and --batch FILE")
    card = {key: value for key, value in (("name", gpu_name), ("memoryMiB", gpu_memory_mib)) if value is not None}
    on_error = print_error if output in ("json", "jsonl") else None
    with errors_for_people(on_error=on_error):
        catalog = opened_catalog(catalog_directory)
    if batch is not None:
        answer_batch(batch, output or "jsonl", lambda document: _one(_with_card(document, card), catalog).to_json())
        return
    source = stack_source(stack) if stack is not None else file or ""
    with errors_for_people(source, on_error):
        document = _with_card(stack_document(stack) if stack is not None else file_document(file or "-"), card)
        if document.get("gpu"):
            _show(_one(document, catalog), output)
        else:
            _show_all(size_on_cards(parse_size_requirements(document), catalog), output)


def _with_card(document: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    return {**document, "gpu": card} if card else document


def _one(document: dict[str, Any], catalog: Catalog) -> Size:
    return size_replica(parse_size_requirements(document), catalog)


def _show(answer: Size, output: str | None) -> None:
    if output in ("json", "jsonl"):
        click.echo(answer.to_json(indent=2 if output == "json" else None))
    else:
        from gpufleet.commands.size_table import describe_size

        click.echo(describe_size(answer))


def _show_all(answers: tuple[Size, ...], output: str | None) -> None:
    if output in ("json", "jsonl"):
        objects = [answer.to_json_object() for answer in answers]
        click.echo(json.dumps({"sizes": objects}, indent=2 if output == "json" else None, ensure_ascii=False))
    else:
        from gpufleet.commands.size_table import describe_sizes

        click.echo(describe_sizes(answers))
