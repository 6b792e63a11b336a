"""A trace read from a CSV file: arrivals in bins.

Owns the two shapes of file and what is wrong with one. Leaves what becomes of the arrivals to the replay.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.simulation.model import Bin, Trace

BINNED = ("t_s", "requests", "input_tokens_sum", "output_tokens_sum")
PER_REQUEST = ("t_s", "input_tokens", "output_tokens")
SHAPES = f"{','.join(BINNED)} (arrivals in bins of equal length) or {','.join(PER_REQUEST)} (a line per request)"

BIN_SECONDS = 10.0
"""Of a file that has a line per request, and of one that has a single bin."""

MOST_BINS = 1_000_000

MOST = {
    "t_s": 10**10,
    "requests": 10**6,
    "input_tokens_sum": 10**12,
    "output_tokens_sum": 10**12,
    "input_tokens": 10**9,
    "output_tokens": 10**9,
}
"""Of a value: beyond what any service sees, within what is replayed in reasonable time. Seconds since 1970 are allowed."""

MOST_BIN_SECONDS = 86_400
TOLERANCE = 1e-6


class TokensPerRequest(NamedTuple):
    """What to take for a request whose tokens the file does not know; None: the file must know."""

    input: float | None = None
    output: float | None = None


KNOWN = TokensPerRequest()


class _Line(NamedTuple):
    number: int
    values: tuple[float | None, ...]


def read_trace(path: Path, unknown: TokensPerRequest = KNOWN) -> Trace:
    """The file's arrivals, from its first second on. A RequirementError names file and line of what is wrong."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            shape, lines = _lines(csv.reader(file))
    except OSError as error:
        raise RequirementError(
            Problem("", f"the trace cannot be read: {error.strerror}", given=str(path), next_step="give a CSV file")
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequirementError(
            Problem("", "the trace is no CSV text", given=str(error), allowed=SHAPES), source=str(path)
        ) from error
    except RequirementError as error:
        raise error.in_source(str(path)) from error
    try:
        bin_seconds, bins = shape(lines, unknown)
    except RequirementError as error:
        raise error.in_source(str(path)) from error
    return Trace(path.stem, bin_seconds, bins)


Shape = Callable[[Sequence[_Line], TokensPerRequest], tuple[float, tuple[Bin, ...]]]


def _lines(rows: Iterator[list[str]]) -> tuple[Shape, list[_Line]]:
    header = [name.strip() for name in next(rows, [])]
    columns = next((names for names in _SHAPES if set(names) <= set(header)), None)
    if columns is None:
        raise _wrong(1, "the header names no trace", given=",".join(header), allowed=SHAPES)
    places = [header.index(name) for name in columns]
    lines = [
        _Line(number, tuple(_number(number, name, row, place) for name, place in zip(columns, places, strict=True)))
        for number, row in enumerate(rows, 2)
        if any(cell.strip() for cell in row)
    ]
    if not lines:
        raise _wrong(2, "the trace has no arrivals", allowed="at least one line after the header")
    return _SHAPES[columns], lines


def _number(line: int, name: str, row: Sequence[str], place: int) -> float | None:
    text = row[place].strip() if place < len(row) else ""
    if not text and name not in ("t_s", "requests"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST[name]:
        raise _wrong(
            line, f"{name} is no number that it may be", given=text or "nothing", allowed=f"0 to {MOST[name]:,}"
        )
    return value


def _binned(lines: Sequence[_Line], unknown: TokensPerRequest) -> tuple[float, tuple[Bin, ...]]:
    """Lines in order, one bin each; the first two tell how long a bin is."""
    seconds = [line.values[0] or 0.0 for line in lines]
    length = seconds[1] - seconds[0] if len(lines) > 1 else BIN_SECONDS
    for place, line in enumerate(lines):
        if not 0 < length <= MOST_BIN_SECONDS or abs(seconds[place] - seconds[0] - place * length) > TOLERANCE * (
            1 + seconds[place]
        ):
            raise _wrong(
                line.number,
                f"t_s is not {length:g} s after the line before",
                given=f"{seconds[place]:g}",
                allowed=f"bins of equal length of at most {MOST_BIN_SECONDS} s, one after the other; an empty one has 0 requests",
            )
    return length, tuple(_bin(line, unknown) for line in lines)


def _bin(line: _Line, unknown: TokensPerRequest) -> Bin:
    _, requests, inputs, outputs = line.values
    count = requests or 0.0
    return Bin(
        count,
        _tokens(line.number, "input", inputs, unknown.input, count),
        _tokens(line.number, "output", outputs, unknown.output, count),
    )


def _per_request(lines: Sequence[_Line], unknown: TokensPerRequest) -> tuple[float, tuple[Bin, ...]]:
    """Counted in bins of 10 s from the first request on; lines may be in any order."""
    start = min(line.values[0] or 0.0 for line in lines)
    places = [int(((line.values[0] or 0.0) - start) // BIN_SECONDS) for line in lines]
    if max(places) >= MOST_BINS:
        raise _wrong(
            lines[places.index(max(places))].number,
            "the trace is too long",
            given=f"{max(places) * BIN_SECONDS:.0f} s",
            allowed=f"{MOST_BINS * BIN_SECONDS:.0f} s from the first request on",
            next_step="t_s is in seconds",
        )
    sums = [[0.0, 0.0, 0.0] for _ in range(max(places) + 1)]
    for line, place in zip(lines, places, strict=True):
        _, inputs, outputs = line.values
        sums[place][0] += 1
        sums[place][1] += _tokens(line.number, "input", inputs, unknown.input, 1)
        sums[place][2] += _tokens(line.number, "output", outputs, unknown.output, 1)
    return BIN_SECONDS, tuple(Bin(*values) for values in sums)


_SHAPES: dict[tuple[str, ...], Shape] = {BINNED: _binned, PER_REQUEST: _per_request}


def _tokens(line: int, kind: str, known: float | None, each: float | None, requests: float) -> float:
    if not requests:
        return 0.0
    if known is not None:
        return known
    if each is not None:
        return each * requests
    raise _wrong(
        line,
        f"the {kind} tokens are unknown",
        given="nothing",
        allowed="a number",
        next_step=f"give --{kind}-tokens-per-request, the mean that your requests have",
    )


def _wrong(
    line: int, message: str, *, given: str | None = None, allowed: str = "", next_step: str = ""
) -> RequirementError:
    return RequirementError(Problem(f"line {line}", message, given=given, allowed=allowed, next_step=next_step))
