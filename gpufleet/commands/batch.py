"""One document per line in, one answer per line out. Shared by the commands that take `--batch`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import click

from gpufleet.commands.inputs import batch_lines, fail, line_document
from gpufleet.planner.errors import PlanningError

Answer = Callable[[dict[str, Any]], str]
"""The answer to a document, as JSON on one line; a PlanningError where there is none."""


def answer_batch(path: str, output: str, answer: Answer) -> None:
    """An answer for every line; a bad one never stops the rest. Exit status 1 if any failed."""
    if output == "table":
        raise click.UsageError("a batch is printed as json or jsonl")
    try:
        lines = list(batch_lines(path))
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    failed = False
    results: list[str] = []
    for text, ok in _answers(lines, answer):
        failed = failed or not ok
        if output == "jsonl":
            click.echo(text)
        else:
            results.append(text)
    if output == "json":
        click.echo("[" + ",\n".join(results) + "]")
    if failed:
        raise SystemExit(1)


def _answers(lines: list[str], answer: Answer) -> Iterator[tuple[str, bool]]:
    for line in lines:
        try:
            yield answer(line_document(line)), True
        except PlanningError as error:
            yield json.dumps({"error": error.to_json()}, ensure_ascii=False, default=str), False
