"""Text for a terminal, shared by the tables of the commands: columns, bullets, and how numbers are written.

Owns the form. Leaves what is shown to each table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def columns(rows: Sequence[tuple[str, ...]], *, right: Iterable[int] = ()) -> str:
    """Aligned columns; the last one is as wide as it is."""
    aligned_right = set(right)
    width = [max(len(row[i]) for row in rows if len(row) > i) for i in range(max(len(row) for row in rows))]
    lines = []
    for row in rows:
        cells = [c.rjust(width[i]) if i in aligned_right else c.ljust(width[i]) for i, c in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def bullets(lines: Iterable[str]) -> str:
    """Lines with a dash each."""
    return "\n".join(f"- {line}" for line in lines)


def indented(text: str) -> str:
    """The text two columns further in."""
    return "\n".join(f"  {line}" for line in text.splitlines())


def billions(parameters: int) -> str:
    """A parameter count as people say it."""
    return f"{parameters / 1e9:.2f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"


def usd(amount: float | None, digits: int = 2) -> str:
    """An amount of money; what is unknown says so."""
    return "unknown" if amount is None else f"{amount:,.{digits}f}"
