"""A comparison for a terminal: coloured and fitted to its width; plain where it is none.

Owns the layout. What is long (rendered files, lists of values) comes last, stack by stack.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gpufleet.review import facts
from gpufleet.review.changes import Change
from gpufleet.review.comparison import Comparison, StackComparison
from gpufleet.review.costs import Amounts, CostChange
from gpufleet.review.operations import USER_DATA, Operation, property_of

SIZES = Amounts._fields
LEFT = (0, 0, 0, 2)
BELOW = (1, 0, 0, 2)
INNER = (0, 0, 0, 4)
"""Indentation: above, right, below, left."""

PLAIN_WIDTH = 120
"""Columns where there is no terminal that has its own."""

STYLES = {"create": "green", "update": "yellow", "replace": "bold magenta", "delete": "red"}
SIGNS = {"create": "+", "update": "~", "replace": "±", "delete": "-"}
STATUS_STYLES = {"added": "green", "removed": "red", "broken": "bold red", "mended": "yellow", "changed": "yellow"}


def print_comparison(comparison: Comparison, *, with_files: bool) -> None:
    """Print it on standard output; `with_files` with the lines of the rendered files."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(*_parts(comparison, with_files), sep="\n")
        return
    plain = Console(highlight=False, width=PLAIN_WIDTH, file=io.StringIO())
    with plain.capture() as captured:
        plain.print(*_parts(comparison, with_files), sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()))


def _parts(comparison: Comparison, with_files: bool) -> Iterator[RenderableType]:
    for stack in comparison.changed:
        yield from _stack(stack)
        for file in stack.files:
            yield Padding(Text(f"{file.name}: {file.added} lines added, {file.removed} removed"), LEFT)
            if with_files:
                yield Padding(_coloured(file.diff), INNER)
        yield Text()
    yield from map(Text, _conclusion(comparison, with_files))


def _conclusion(comparison: Comparison, with_files: bool) -> Iterator[str]:
    count, changed = len(comparison.stacks), len(comparison.changed)
    if not with_files and any(stack.files for stack in comparison.stacks):
        yield "With --files, the lines of the rendered files."
    yield from (f"Note: {note}" for note in comparison.notes)
    if comparison.unchanged:
        yield f"Unchanged: {', '.join(comparison.unchanged)}"
    summary = f"{changed or 'None'} of {count} stacks {'changes' if changed <= 1 else 'change'}"
    if changed:
        amounts = comparison.increase._asdict().items()
        summary += f"; USD per month: {', '.join(f'{facts.signed_usd(usd)} at {size}' for size, usd in amounts)}"
    yield summary


def _stack(stack: StackComparison) -> Iterator[RenderableType]:
    yield Text.assemble((stack.stack, "bold"), "  ", (stack.status, STATUS_STYLES[stack.status]))
    yield from (Padding(Text(note, style="red"), LEFT) for note in stack.notes)
    for risk in stack.risks:
        yield Padding(Text.assemble((f"{risk.kind}: ", "bold red"), risk.message), LEFT)
    if stack.requirements and stack.status != "added":
        yield _table(("asked differently", "before", "now"), map(_values, stack.requirements))
    headlines = facts.headline_changes(stack.plan, stack.requirements)
    if headlines:
        rows = ((facts.label(c.path), *_values(c)[1:], stack.reasons.get(c.path, "")) for c in headlines)
        yield _table(("what follows", "before", "now", "why"), rows)
    if stack.cost and stack.status != "unchanged":
        yield _table(("USD per month, instances only", *SIZES), _money(stack.cost), right=range(1, 4))
    yield from (Padding(Text(f"new warning: {warning}", style="yellow"), LEFT) for warning in stack.warnings)
    yield from _details(stack)


def _details(stack: StackComparison) -> Iterator[RenderableType]:
    rest = [(*_values(c), stack.reasons.get(c.path, "")) for c in stack.plan if c.path not in facts.HEADLINES]
    if rest and stack.status != "added":
        yield _table(("more values of the plan", "before", "now", ""), rest)
    if stack.verdicts:
        rows = ((v.type, v.before or "not offered", v.after or "not offered", v.reason) for v in stack.verdicts)
        yield _table(("judged otherwise", "before", "now", "reason"), rows)
    if stack.operations:
        yield Padding(Text("\n").join(map(_operation, stack.operations)), BELOW)


def _values(change: Change) -> tuple[str, str, str]:
    return change.path, facts.shown(change.path, change.before), facts.shown(change.path, change.after)


def _money(cost: CostChange) -> Iterator[tuple[str, ...]]:
    def row(name: str, amounts: Amounts, show: Callable[[float | None], str]) -> tuple[str, ...]:
        return (name, *(show(amount) for amount in amounts))

    if cost.before:
        yield row("before", cost.before, facts.usd)
    if cost.after:
        yield row("now", cost.after, facts.usd)
    if cost.parts:
        yield row("difference", cost.difference, facts.signed_usd)
        yield from (row(f"  {part.cause}", part.difference, facts.signed_usd) for part in cost.parts)


def _operation(operation: Operation) -> Text:
    style = STYLES[operation.kind]
    text = Text.assemble(
        (f"{SIGNS[operation.kind]} {operation.kind}  ", style), operation.short_type, "  ", operation.name
    )
    if operation.kind in ("update", "replace"):
        for change in operation.changes:
            forces = "  (replaces it)" if property_of(change) in operation.forced_by else ""
            text.append(f"\n    {change.path}: {_difference(change)}{forces}")
    return text


def _difference(change: Change) -> str:
    if property_of(change) == USER_DATA:
        return "see the rendered files"
    _, before, after = _values(change)
    return facts.of_list(change) or f"{before} → {after}"


def _coloured(diff: str) -> Text:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    return Text("\n").join(Text(line, style=styles.get(line[:1], "")) for line in diff.splitlines())


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    numbers = set(right)
    for place, title in enumerate(heading):
        table.add_column(title, justify="right" if place in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return Padding(table, BELOW)
