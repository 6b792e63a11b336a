"""How far the planner's memory is from what servers logged, by term.

Owns errors, their summaries and the bounds that are asked of them. Leaves rows to `measured` and words to `accuracy`.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from benchmarks.measured import Start
from gpufleet.planner.engines import VLLM
from gpufleet.planner.memory import GpuMemory, estimate_memory, estimate_stages
from gpufleet.planner.units import MIB_PER_GIB

ANY_CARD_GIB = 80.0
"""Terms that no card decides are asked on this one where a row does not say its card's memory."""


class Error(NamedTuple):
    """One row's error: a share for weights and tokens, GiB for sums."""

    start: Start
    value: float


class Summary(NamedTuple):
    """Errors of a group: their number, the median and the 90th percentile of their size, and the lowest with its sign.
    The median counts each model once, by its own median: rows are sweeps of few models."""

    rows: int
    median: float
    ninetieth: float
    lowest: float

    @classmethod
    def of(cls, errors: Sequence[Error], *, by_model: bool = True) -> Summary | None:
        """None where there are none."""
        if not errors:
            return None
        sizes = sorted(abs(e.value) for e in errors)
        middle = statistics.median(median_by_model(errors).values()) if by_model else statistics.median(sizes)
        return cls(
            rows=len(errors),
            median=middle,
            ninetieth=sizes[math.ceil(0.9 * len(sizes)) - 1],
            lowest=min(e.value for e in errors),
        )


def median_by_model(errors: Iterable[Error]) -> dict[str, float]:
    """The median size of the errors of each model and precision."""
    grouped: dict[str, list[float]] = defaultdict(list)
    for start, value in errors:
        grouped[f"{start.model} {start.shape.precision}"].append(abs(value))
    return {name: statistics.median(values) for name, values in grouped.items()}


def share_within(errors: Sequence[Error], bound: float) -> float:
    """Share of the rows whose error is no larger than this."""
    return sum(abs(e.value) <= bound for e in errors) / len(errors)


def memory_of(start: Start) -> GpuMemory:
    """What the planner says of the row's GPU, which of a pipeline is one in the first stage."""
    usable = (start.usable_gib or ANY_CARD_GIB) * MIB_PER_GIB
    return estimate_stages(start.architecture, VLLM, start.shape, usable_memory_mib=usable)[0]


def total_gib(memory: GpuMemory) -> float:
    """Weights, activations and non-torch memory."""
    return memory.weights_gib + memory.activations_gib + memory.non_torch_gib


def weight_errors(rows: Iterable[Start]) -> list[Error]:
    """Of weights, as a share."""
    return [Error(s, memory_of(s).weights_gib / s.weights_gib - 1) for s in rows if s.weights_gib]


def token_errors(rows: Iterable[Start]) -> list[Error]:
    """Of the tokens that the logged cache holds, as a share; rows with less than 1 GiB of cache, or without the context
    length that the tokens of some models depend on, are left out."""
    return [
        Error(s, memory_of(s).cache.tokens(s.kv_cache_gib) / s.kv_cache_tokens - 1)
        for s in rows
        if s.kv_cache_gib and s.kv_cache_gib > 1 and s.kv_cache_tokens and s.has_length
    ]


def total_errors(rows: Iterable[Start], predicted: Callable[[Start], float] | None = None) -> list[Error]:
    """Of weights + activations + non-torch memory, in GiB: the planner's, or another's."""
    ask = predicted or (lambda start: total_gib(memory_of(start)))
    return [Error(s, ask(s) - s.total_gib) for s in rows if s.total_gib is not None]


def recent_text(rows: Iterable[Start]) -> list[Start]:
    """vLLM 0.17 and later, text models."""
    return [s for s in rows if s.is_recent and s.is_text]


def others(rows: Iterable[Start]) -> list[Start]:
    """Older versions and multimodal models, whose settings the logs often do not give."""
    return [s for s in rows if not (s.is_recent and s.is_text)]


def judged(rows: Iterable[Start]) -> tuple[list[Start], list[Start]]:
    """The rows that worked and those that failed at start-up for want of memory, whose card is known."""
    known = [s for s in rows if s.usable_gib]
    return [s for s in known if s.worked], [s for s in known if s.failed]


def accepted(rows: Iterable[Start]) -> list[Start]:
    """Those of which the planner says that they fit."""
    return [
        s
        for s in rows
        if estimate_memory(
            s.architecture, VLLM, s.shape, usable_memory_mib=(s.usable_gib or ANY_CARD_GIB) * MIB_PER_GIB
        ).fits
    ]


def card_size(start: Start) -> str:
    """The class of a card by its memory."""
    usable = start.usable_gib
    if usable is None:
        return "not logged"
    return next(
        name
        for limit, name in ((18, "up to 16 GB"), (35, "22 to 32 GB"), (60, "40 to 48 GB"), (math.inf, "80 GB and more"))
        if usable < limit
    )
