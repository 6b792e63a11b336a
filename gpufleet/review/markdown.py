"""A comparison as a comment on a pull request: short, with tables; what is long is folded.

Owns the layout and the escaping: text from a stack file can be no more than text. Where the whole is longer than GitHub
takes, the longest details are left out first, and it says so.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gpufleet.review import facts
from gpufleet.review.changes import Change
from gpufleet.review.comparison import Comparison, StackComparison
from gpufleet.review.costs import Amounts, CostChange
from gpufleet.review.operations import USER_DATA, Operation, property_of

MARK = "<!-- gpufleet-diff -->"
"""First line of the comment, by which it is found again."""

MAX_CHARACTERS = 60_000
"""GitHub takes 65,536 in a comment."""

MOST_CHANGES = 40
"""Of one resource."""

MOST_COLUMNS = 300
"""Of a line of a rendered file."""

LEFT_OUT = "_Left out, for a comment has its limits; `gpufleet diff` shows it in a terminal._"

LATEST_AMI = "With `instance.ami: latest`, the AMI is looked up by `pulumi up`: a newer one does not show here."

VERBS = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted"}

STATUS_WORDS = {"added": "new", "removed": "file removed", "broken": "broken", "mended": "mended", "changed": ""}


class Block(NamedTuple):
    """A part of the comment. Those of the highest rank are left out first; 0 stays."""

    text: str
    rank: int = 0


def as_markdown(comparison: Comparison) -> str:
    """The comment."""
    blocks = list(_blocks(comparison))
    for rank in sorted({block.rank for block in blocks} - {0}, reverse=True):
        if sum(len(block.text) + 2 for block in blocks) <= MAX_CHARACTERS:
            break
        blocks = [block if block.rank < rank else Block(LEFT_OUT) for block in blocks]
    joined = "\n\n".join(block.text for block in _without_repeats(blocks))
    return (
        joined if len(joined) <= MAX_CHARACTERS else f"{joined[:MAX_CHARACTERS].rpartition(chr(10))[0]}\n\n{LEFT_OUT}"
    )


def _without_repeats(blocks: Iterable[Block]) -> Iterator[Block]:
    previous = None
    for block in blocks:
        if block.text != LEFT_OUT or block != previous:
            yield block
        previous = block


def _blocks(comparison: Comparison) -> Iterator[Block]:
    count, changed = len(comparison.stacks), len(comparison.changed)
    yield Block(
        f"{MARK}\n### gpufleet: {changed or 'none'} of {count} stacks {'changes' if changed <= 1 else 'change'}"
    )
    yield Block(f"From {text(comparison.base)} to {text(comparison.head)}. Offline: AWS was not asked.")
    if comparison.failed_gates:
        yield Block(_alert("CAUTION", [f"Gate failed: {text(gate)}" for gate in comparison.failed_gates]))
    if changed:
        yield Block(_summary(comparison))
    if comparison.unchanged:
        yield Block(f"Unchanged: {', '.join(code(name) for name in comparison.unchanged)}.")
    yield from (Block(f"_{text(note)}._") for note in comparison.notes)
    for stack in comparison.changed:
        yield from _stack(stack)
    if any(stack.plan_after and stack.plan_after["machineImage"].get("parameter") for stack in comparison.changed):
        yield Block(f"_{LATEST_AMI}_")


def _summary(comparison: Comparison) -> str:
    rows: list[Sequence[str]] = [
        (
            f"**{code(stack.stack)}**{_in_brackets(STATUS_WORDS[stack.status])}",
            _instance(stack),
            _money(stack.cost, "min"),
            _money(stack.cost, "max"),
            _counts(stack),
            ", ".join(dict.fromkeys(risk.kind for risk in stack.risks)) or "–",
        )
        for stack in comparison.changed
    ]
    if len(rows) > 1:
        increase = comparison.increase
        total = (f"**{facts.signed_usd(amount)}**" for amount in (increase.min, increase.max))
        rows.append(["all together", "", *total, "", ""])
    heading = (
        "stack",
        "instance",
        "USD per month, smallest fleet",
        "USD per month, largest fleet",
        "resources",
        "risks",
    )
    return table(heading, rows)


def _stack(stack: StackComparison) -> Iterator[Block]:
    yield Block(f"#### {code(stack.stack)}{_in_brackets(STATUS_WORDS[stack.status])}")
    if stack.notes:
        yield Block("\n\n".join(fence(note) for note in stack.notes))
    if stack.risks:
        yield Block(_alert("WARNING", [f"**{risk.kind}**: {text(risk.message)}" for risk in stack.risks]))
    if stack.requirements and stack.status != "added":
        rows = [(code(c.path), _value(c.path, c.before), _value(c.path, c.after)) for c in stack.requirements]
        yield Block(table(("asked differently", "before", "now"), rows))
    headlines = facts.headline_changes(stack.plan, stack.requirements)
    if headlines:
        yield Block(_follows(stack, headlines))
    if stack.warnings:
        yield Block("New warnings of the plan:\n" + "\n".join(f"- {text(warning)}" for warning in stack.warnings))
    yield from _details(stack)


def _follows(stack: StackComparison, headlines: Sequence[Change]) -> str:
    if stack.status == "added":
        return table(("planned", ""), [(facts.label(c.path), _value(c.path, c.after)) for c in headlines])
    rows = [(facts.label(c.path), _value(c.path, c.before), _value(c.path, c.after)) for c in headlines]
    why = [f"- {facts.label(c.path)}: {text(stack.reasons[c.path])}" for c in headlines if c.path in stack.reasons]
    return "\n".join([table(("what follows", "before", "now"), rows), "", *why]).rstrip()


def _details(stack: StackComparison) -> Iterator[Block]:
    """What is folded."""
    if stack.cost and stack.cost.parts:
        yield Block(folded("Monthly cost, part by part", _cost_parts(stack.cost)), 1)
    if stack.operations:
        yield Block(folded(f"Resources: {_counts(stack)}", _resources(stack.operations)), 3)
    rest = [c for c in stack.plan if c.path not in facts.HEADLINES]
    if rest and stack.status != "added":
        rows = [(code(c.path), _difference(c)) for c in rest]
        yield Block(folded(f"{len(rows)} more values of the plan", table(("value", "change"), rows)), 4)
    if stack.verdicts:
        judged = [
            (code(v.type), v.before or "not offered", v.after or "not offered", text(v.reason)) for v in stack.verdicts
        ]
        title = f"{len(judged)} instance types are judged otherwise"
        yield Block(folded(title, table(("type", "before", "now", "reason"), judged)), 2)
    for file in stack.files:
        title = f"Rendered {code(file.name)}: {file.added} lines added, {file.removed} removed"
        lines = (_shortened(line, MOST_COLUMNS) for line in file.diff.splitlines())
        yield Block(folded(title, fence("\n".join(lines), "diff")), 5)


def _instance(stack: StackComparison) -> str:
    before, after = (plan and plan["instance"]["type"] for plan in (stack.plan_before, stack.plan_after))
    if before and after and before != after:
        return f"{code(before)} → **{code(after)}**"
    return code(after or before or "?")


def _money(cost: CostChange | None, size: str) -> str:
    if cost is None:
        return "not compared"
    before, after = (side and facts.usd(getattr(side, size)) for side in (cost.before, cost.after))
    if before is None or after is None:
        return str(after if before is None else f"{before}, until destroyed")
    difference = getattr(cost.difference, size)
    return before if difference == 0 else f"{before} → {after} (**{facts.signed_usd(difference)}**)"


def _cost_parts(cost: CostChange) -> str:
    def row(cause: str, amounts: Amounts) -> tuple[str, ...]:
        return (text(cause), *(facts.signed_usd(amount) for amount in amounts))

    rows = [*(row(part.cause, part.difference) for part in cost.parts), row("together", cost.difference)]
    heading = ("USD per month, instances only", "smallest fleet", "at creation", "largest fleet")
    return table(heading, rows)


def _counts(stack: StackComparison) -> str:
    """`2 updated, 1 replaced`; or why there is nothing to count."""
    if stack.status == "removed":
        return "left standing"
    if stack.operations is None:
        return "not compared"
    kinds = [operation.kind for operation in stack.operations]
    return ", ".join(f"{kinds.count(kind)} {verb}" for kind, verb in VERBS.items() if kind in kinds) or "none"


def _resources(found: Iterable[Operation]) -> str:
    rows = [
        (
            f"**{operation.kind}**" if operation.kind != "update" else operation.kind,
            f"{code(operation.short_type)}<br>{code(operation.name)}",
            "<br>".join(_properties(operation)),
        )
        for operation in found
    ]
    return table(("operation", "resource", "properties"), rows)


def _properties(operation: Operation) -> Iterator[str]:
    """What changes of a resource; of one that comes or goes as a whole, nothing."""
    if operation.kind in ("create", "delete"):
        return
    for change in operation.changes[:MOST_CHANGES]:
        forces = " **replaces it**" if property_of(change) in operation.forced_by else ""
        yield f"{code(change.path)}: {_difference(change)}{forces}"
    if len(operation.changes) > MOST_CHANGES:
        yield f"… and {len(operation.changes) - MOST_CHANGES} more"


def _difference(change: Change) -> str:
    if property_of(change) == USER_DATA:
        return "see the rendered files"
    if detail := facts.of_list(change):
        return text(detail)
    return f"{_value(change.path, change.before)} → {_value(change.path, change.after)}"


def _value(path: str, value: object) -> str:
    return code(_shortened(facts.shown(path, value)))


def _shortened(value: str, most: int = MOST_COLUMNS) -> str:
    return value if len(value) <= most else f"{value[:most]}…"


def _in_brackets(words: str) -> str:
    return f" ({words})" if words else ""


# Markdown ---------------------------------------------------------------------------------------------------------


def code(value: str) -> str:
    """Text in code style: nothing in it is Markdown, HTML, a mention or a reference."""
    line = _one_line(value) or " "
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    space = " " if "`" in line else ""
    # Inside a table a bar ends the cell, even in code, unless it is escaped.
    return f"{ticks}{space}{line}{space}{ticks}".replace("|", "\\|")


def text(value: str) -> str:
    """Running text with everything escaped that Markdown or GitHub would read as more."""
    escaped = re.sub(r"([\\`*_\[\]#|~!])", r"\\\1", html.escape(_one_line(value), quote=False))
    return escaped.replace("@", "@\u200b").replace("://", ":\u200b//")


def _one_line(value: str) -> str:
    return " ".join(value.split()).replace("\0", "\ufffd")


def fence(value: str, language: str = "") -> str:
    """A block of code, its fence longer than any in the text."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", value)), default=0))
    return f"{ticks}{language}\n{value}\n{ticks}"


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell or ' ' for cell in line)} |" for line in lines)


def folded(title: str, body: str) -> str:
    """Details behind a line. The blank lines make GitHub read Markdown inside of HTML."""
    return f"<details><summary>{_html_code(title)}</summary>\n\n{body}\n\n</details>"


def _html_code(title: str) -> str:
    """In a summary, Markdown is not read: its code is HTML's."""
    return re.sub(r"`+ ?(.*?) ?`+", r"<code>\1</code>", title)


def _alert(kind: str, lines: Iterable[str]) -> str:
    return "\n".join([f"> [!{kind}]", *(f"> - {line}" for line in lines)])
