"""Accuracy of the memory of diffusion pipelines, against figures that others published.

Run `make accuracy`: it puts the tables into docs/diffusion.md. Leaves the rows to `measured_diffusion`; a test fails while the
page is behind.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "diffusion.md"
START = "<!-- accuracy: written by `make accuracy` -->\n"
END = "<!-- end of accuracy -->\n"

sys.path.insert(0, str(ROOT))

from benchmarks.measured_diffusion import Row, rows  # noqa: E402

MEASURES = {"allocated": "peak allocated", "reserved": "peak reserved", "resident": "weights after the run"}


def with_tables(page: str) -> str:
    """The page with the tables between its marks."""
    before, rest = page.split(START)
    return f"{before}{START}\n{tables()}\n\n{END}{rest.split(END)[1]}"


def tables() -> str:
    """Scores by pipeline, every row, and the reasons of those that are scored apart."""
    found = sorted(rows(), key=lambda row: (row.pipeline, row.measure, row.published_gib))
    inside = [row for row in found if row.role == "held out" and not row.outside]
    groups = sorted({(row.pipeline, row.measure) for row in inside})
    scores = [
        _score(f"{p}, {MEASURES[m]}", [r for r in inside if (r.pipeline, r.measure) == (p, m)]) for p, m in groups
    ]
    loaded = [row for row in found if row.loaded_gib is not None and not row.outside]
    scores.append(_score("FLUX.1-dev, weights after loading", loaded, is_loaded=True))
    scores.append(_score("**all held-out rows**", inside))
    apart = [row for row in found if row.outside]
    return "\n\n".join(
        (
            _table(("pipeline and measure", "rows", "median error", "worst error", "worst, GiB"), scores),
            _table(("pipeline", "run", "measure", "published GiB", "planned GiB", "error", ""), map(_line, found)),
            "Scored apart, since they say something else than a law can:\n\n" + "\n".join(_reasons(apart)),
        )
    )


def errors(found: Iterable[Row], *, is_loaded: bool = False) -> list[float]:
    """Signed errors in GiB."""
    return [row.planned_loaded_gib - (row.loaded_gib or 0.0) if is_loaded else row.error_gib for row in found]


def _score(name: str, found: Sequence[Row], *, is_loaded: bool = False) -> tuple[str, ...]:
    published = [(row.loaded_gib or 0.0) if is_loaded else row.published_gib for row in found]
    signed = errors(found, is_loaded=is_loaded)
    shares = [100 * error / value for error, value in zip(signed, published, strict=True)]
    worst = max(range(len(found)), key=lambda place: abs(shares[place]))
    return (
        name,
        str(len(found)),
        f"{statistics.median(map(abs, shares)):.1f}%",
        f"{shares[worst]:+.1f}%",
        f"{signed[worst]:+.2f}",
    )


def _line(row: Row) -> tuple[str, ...]:
    share = 100 * row.error_gib / row.published_gib
    mark = "set on it" if row.role == "fitted" else "apart" if row.outside else ""
    return (
        row.pipeline,
        row.what,
        MEASURES[row.measure],
        f"{row.published_gib:.2f}",
        f"{row.planned_gib:.2f}",
        f"{share:+.1f}%",
        mark,
    )


def _reasons(apart: Iterable[Row]) -> Iterable[str]:
    by_reason: dict[str, list[str]] = {}
    for row in apart:
        by_reason.setdefault(row.outside, []).append(f"{row.pipeline}, {row.what}")
    return [f"- {'; '.join(names)}: {reason}." for reason, names in by_reason.items()]


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *lines))


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print("docs/diffusion.md is written")
