"""A comparison of catalogues as text for a terminal, as Markdown for a pull request, and as JSON for other programs.

Owns the layout: sections of rows, which both texts print. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from gpufleet.commands.layout import columns, indented
from gpufleet.review.catalogues import (
    ON_DEMAND,
    SERVICE,
    SPOT,
    CatalogueComparison,
    Choice,
    PriceMove,
    RowChange,
    StackChoice,
)

NOTHING = "Nothing differs."
UNKNOWN = "unknown"


class Section(NamedTuple):
    """A heading with a table; `after` stands below it."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    after: str = ""


def as_table(base: str, head: str, comparison: CatalogueComparison, most: int | None) -> str:
    """For a terminal; at most so many moves of prices."""
    parts = [f"Catalogue: {base} → {head}"]
    for section in _sections(comparison, most):
        table = indented(columns([tuple(h.upper() for h in section.headings), *section.rows]))
        parts.append("\n".join(filter(None, (section.title, table, section.after and indented(section.after)))))
    return "\n\n".join(parts if len(parts) > 1 else [*parts, NOTHING])


def as_markdown(base: str, head: str, comparison: CatalogueComparison, most: int | None) -> str:
    """For a pull request; at most so many moves of prices."""
    parts = [f"### Catalogue: `{base}` → `{head}`"]
    for section in _sections(comparison, most):
        lines = [section.headings, tuple("---" for _ in section.headings), *section.rows]
        table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
        parts += [f"**{section.title}**", table] + ([section.after] if section.after else [])
    return "\n\n".join(parts if len(parts) > 1 else [*parts, NOTHING])


def as_json(base: str, head: str, comparison: CatalogueComparison) -> dict[str, Any]:
    """Everything, under names that are a contract."""
    return {
        "base": base,
        "head": head,
        "regions": {"added": list(comparison.regions_added), "removed": list(comparison.regions_removed)},
        "types": [_row_json(row) for row in comparison.types],
        "gpus": [_row_json(row) for row in comparison.gpus],
        "offers": [
            {
                "region": o.region,
                "type": o.type,
                "change": o.change,
                "zonesGained": list(o.gained),
                "zonesLost": list(o.lost),
            }
            for o in comparison.offers
        ],
        "prices": [
            {
                "region": p.region,
                "name": p.name,
                "kind": p.kind,
                "beforeUsd": p.before,
                "afterUsd": p.after,
                "percent": None if p.percent is None else round(p.percent, 2),
            }
            for p in comparison.prices
        ],
        "stacks": [
            {"stack": s.stack, "moves": s.moves, "before": _choice_json(s.before), "after": _choice_json(s.after)}
            for s in comparison.stacks
        ],
    }


def _row_json(row: RowChange) -> dict[str, Any]:
    return {"name": row.name, "change": row.change, "values": [change._asdict() for change in row.values]}


def _choice_json(choice: Choice) -> dict[str, Any]:
    return {"type": choice.type, "usdPerHour": choice.usd_per_hour, "error": choice.error}


# Sections ---------------------------------------------------------------------------------------------------------


def _sections(comparison: CatalogueComparison, most: int | None) -> Iterator[Section]:
    """What somebody who reviews it asks first, first: the stacks, then prices, then offerings and specifications."""
    if comparison.stacks:
        yield _stacks(comparison)
    for title, kind in (("On-demand prices", ON_DEMAND), ("Prices of services", SERVICE), ("Spot prices", SPOT)):
        moves = [move for move in comparison.prices if move.kind == kind]
        if moves:
            yield _prices(title, moves, most)
    regions = [(region, "added") for region in comparison.regions_added]
    regions += [(region, "removed") for region in comparison.regions_removed]
    if regions:
        yield Section("Regions", ("region", "change"), regions)
    if comparison.offers:
        rows = [(o.region, o.type, o.change, _list(o.gained), _list(o.lost)) for o in comparison.offers]
        yield Section("Offerings", ("region", "type", "change", "zones gained", "zones lost"), rows)
    for title, changed in (("Types", comparison.types), ("GPUs", comparison.gpus)):
        if changed:
            yield Section(title, ("name", "change", "value", "before", "after"), list(_values(changed)))


def _stacks(comparison: CatalogueComparison) -> Section:
    rows = [
        (s.stack, "MOVES" if s.moves else "same type", _choice(s.before), _choice(s.after)) for s in comparison.stacks
    ]
    pins = "\n".join(_pin(stack) for stack in comparison.moved)
    return Section("Stacks", ("stack", "choice", "before", "after"), rows, pins)


def _pin(stack: StackChoice) -> str:
    where = f"stacks/Pulumi.{stack.stack}.yaml"
    if stack.before.type is None:
        return f"{stack.stack} had no type before."
    return f"{stack.stack} moves; to keep it, while the type can still serve it: instance.type: {stack.before.type} in {where}."


def _prices(title: str, moves: Sequence[PriceMove], most: int | None) -> Section:
    shown = moves if most is None else moves[:most]
    rows = [(m.region, m.name, _usd(m.before), _usd(m.after), _percent(m)) for m in shown]
    left = len(moves) - len(shown)
    return Section(
        f"{title}: {len(moves)} moved, the largest moves first",
        ("region", "name", "before", "after", "change"),
        rows,
        f"{left} more; --all shows them." if left else "",
    )


def _values(changed: Iterable[RowChange]) -> Iterator[tuple[str, ...]]:
    for row in changed:
        if not row.values:
            yield row.name, row.change, "", "", ""
        for value in row.values:
            yield row.name, row.change, value.path, _text(value.before), _text(value.after)


def _choice(choice: Choice) -> str:
    return choice.error if choice.type is None else f"{choice.type} at {_usd(choice.usd_per_hour)}"


def _usd(price: float | None) -> str:
    return UNKNOWN if price is None else f"{price:.4f}"


def _percent(move: PriceMove) -> str:
    if move.percent is None:
        return "now known" if move.before is None else "not known any more"
    return f"{move.percent:+.1f}%"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "-"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
