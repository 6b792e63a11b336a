"""The accuracy report: the planner's memory against what servers logged, in docs/accuracy.md.

Run `make accuracy`. Owns the tables and the reasons of exceptions; the page's other words are written by hand. Leaves rows
to `measured`, errors to `scores`, the picture to `accuracy_plot`. `tests/test_accuracy.py` fails while the page is behind.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import scores  # noqa: E402
from benchmarks.measured import FURTHER, SHARED, Start, starts  # noqa: E402
from benchmarks.other_planners import PLANNERS  # noqa: E402
from benchmarks.scores import Error, Summary  # noqa: E402

PAGE = ROOT / "docs" / "accuracy.md"
PLOT = ROOT / "docs" / "accuracy.svg"

UNDERESTIMATED = -1.5
"""GiB; every row below is listed with its reason."""

REASONS = {
    "M067": "its four figures add up to 0.95 of the card, while the row says 0.9; at 0.95 it is accepted",
    "M089": "its tokens fill 7.46 GiB, its cell says 8.69: the server takes the smallest of its ranks, the cell may hold another",
    "M113": "a virtual GPU on 0.6.4, which counted 4.09 GiB that were taken on the card already as non-torch memory; it worked "
    "on 0.6.3, and nothing but the card's name tells",
    "X010": "a development build of the profiler itself, between 0.6.4 and 0.6.5; no release logged so much non-torch memory",
    "X011": "the same",
}  # fmt: skip


def parts() -> dict[str, list[Start]]:
    """The rows by what was known of them when the laws were made."""
    shared = starts(SHARED)
    return {
        "all of the shared file": shared,
        "— models that a constant was set on": [s for s in shared if s.is_fitted_on],
        "— all other models": [s for s in shared if not s.is_fitted_on],
        "further logs": starts(FURTHER),
    }


# Tables ---------------------------------------------------------------------------------------------------------------


def summary_table() -> str:
    """Every bound, for every part of the rows."""
    lines = [("", "weights", "KV tokens", "0.17 and later, text", "other rows", "accepted"), ("---",) * 6]
    for name, rows in parts().items():
        weights, tokens = scores.weight_errors(rows), scores.token_errors(rows)
        recent, rest = scores.total_errors(scores.recent_text(rows)), scores.total_errors(scores.others(rows))
        worked, failed = scores.judged(rows)
        lines.append((
            name,
            f"{_percent(weights)}; {scores.share_within(weights, 0.03):.0%} within 3%",
            f"{_percent(tokens)}; {scores.share_within(tokens, 0.06):.0%} within 6%",
            f"{_gib(recent)}; 90% within {Summary.of(recent).ninetieth:.2f}; lowest {_signed(Summary.of(recent).lowest, '+.2f')}",
            f"{_gib(rest, by_model=False)}; lowest {_signed(Summary.of(rest).lowest, '+.2f')}",
            f"{len(scores.accepted(worked))} of {len(worked)} that worked, "
            f"{len(scores.accepted(failed))} of {len(failed)} that failed",
        ))  # fmt: skip
    lines.append(("asked", "median 1%; 95% within 3%", "median 2%; 90% within 6%",
                  "median 0.25 GiB; 90% within 0.8; lowest −1.0", "median 1.0 GiB", "95% and none"))  # fmt: skip
    return _table(lines)


def cards_table() -> str:
    """The other rows by the size of their card."""
    rows = scores.total_errors(scores.others([*starts(SHARED), *starts(FURTHER)]))
    lines = [("card", "rows", "median", "90% within", "lowest"), ("---", "--:", "--:", "--:", "--:")]
    for size in sorted(
        {scores.card_size(e.start) for e in rows}, key=lambda name: (name == "not logged", len(name), name)
    ):
        found = Summary.of([e for e in rows if scores.card_size(e.start) == size], by_model=False)
        if found:
            lines.append(
                (
                    size,
                    str(found.rows),
                    *(f"{v:.2f} GiB" for v in (found.median, found.ninetieth)),
                    f"{_signed(found.lowest, '+.2f')} GiB",
                )
            )
    return _table(lines)


def models_table() -> str:
    """Errors by model and term."""
    rows = [*starts(SHARED), *starts(FURTHER)]
    names = sorted({f"{s.model}, {s.shape.precision}" for s in rows}, key=str.casefold)
    lines = [("model", "rows", "weights", "activations", "non-torch", "KV tokens"), ("---", *["--:"] * 5)]
    for name in names:
        mine = [s for s in rows if f"{s.model}, {s.shape.precision}" == name]
        terms = (
            _cell(scores.weight_errors(mine), "{:+.2%}"),
            _cell(_term_errors(mine, "activations_gib"), "{:+.2f} GiB"),
            _cell(_term_errors(mine, "non_torch_gib"), "{:+.2f} GiB"),
            _cell(scores.token_errors(mine), "{:+.2%}"),
        )
        if any(terms):
            lines.append((name, str(len(mine)), *terms))
    return _table(lines)


def planners_table() -> str:
    """Other planners on the same rows, as a share of the card."""
    rows = [s for s in (*starts(SHARED), *starts(FURTHER)) if s.total_gib is not None and s.usable_gib]
    lines = [("planner", "median", "90% within", "largest under-estimate"), ("---", "--:", "--:", "--:")]
    asked: dict[str, Callable[[Start], float] | None] = {"gpufleet": None, **PLANNERS}
    for name, predicted in asked.items():
        shares = [Error(s, value / s.usable_gib) for s, value in scores.total_errors(rows, predicted) if s.usable_gib]
        found = Summary.of(shares, by_model=False)
        if found:
            lines.append((name, f"{found.median:.1%}", f"{found.ninetieth:.1%}", _signed(min(found.lowest, 0), ".1%")))
    return _table(lines) + f"\n\n{len(rows)} starts that logged all three terms."


def exceptions_table() -> str:
    """Every row outside of a bound, with its reason."""
    rows = [*starts(SHARED), *starts(FURTHER)]
    found: dict[str, list[str]] = {}
    for start, value in scores.weight_errors(rows):
        _note(found, start, abs(value) > 0.03, f"weights {value:+.1%}")
    for start, value in scores.token_errors(rows):
        _note(found, start, abs(value) > 0.06, f"KV tokens {value:+.1%}")
    for start, value in scores.total_errors(rows):
        _note(found, start, value < UNDERESTIMATED, f"total {value:+.2f} GiB")
    worked, failed = scores.judged(rows)
    for start in worked:
        _note(found, start, start not in scores.accepted([start]), "worked, and is refused")
    for start in scores.accepted(failed):
        _note(found, start, True, "failed, and is accepted")
    lines = [("row", "model", "what", "reason"), ("---",) * 4]
    by_id = {s.id: s for s in rows}
    lines += [(key, by_id[key].model, "; ".join(found[key]), REASONS.get(key, "not known")) for key in sorted(found)]
    return _table(lines)


TABLES: dict[str, Callable[[], str]] = {
    "summary": summary_table,
    "cards": cards_table,
    "planners": planners_table,
    "exceptions": exceptions_table,
    "models": models_table,
}


def page_with_tables(page: str) -> str:
    """The page with every table anew between its marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = page.partition(begin)
        _, ends, after = rest.partition(end)
        if not found or not ends:
            raise SystemExit(
                f"error: docs/accuracy.md has not both marks of the table {name}: {begin.strip()} and {end}"
            )
        page = f"{before}{begin}{table()}\n{end}{after}"
    return page


# Cells ----------------------------------------------------------------------------------------------------------------


def _term_errors(rows: Iterable[Start], term: str) -> list[Error]:
    return [
        Error(s, getattr(scores.memory_of(s), term) - logged) for s in rows if (logged := getattr(s, term)) is not None
    ]


def _cell(errors: Sequence[Error], form: str) -> str:
    """The error of the row in the middle, with its sign."""
    return form.format(statistics.median_low(e.value for e in errors)).replace("-", "−") if errors else ""


def _signed(value: float, form: str) -> str:
    return format(value, form).replace("-", "−")


def _percent(errors: Sequence[Error]) -> str:
    found = Summary.of(errors)
    return f"{found.rows} rows, median {found.median:.2%}" if found else ""


def _gib(errors: Sequence[Error], *, by_model: bool = True) -> str:
    found = Summary.of(errors, by_model=by_model)
    return f"{found.rows} rows, median {found.median:.2f} GiB" if found else ""


def _note(found: dict[str, list[str]], start: Start, is_out: bool, text: str) -> None:
    if is_out:
        found.setdefault(start.id, []).append(text.replace("-", "−"))


def _table(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    from benchmarks.accuracy_plot import draw

    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    draw(PLOT)
    print(summary_table())
