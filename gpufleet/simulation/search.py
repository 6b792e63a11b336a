"""The cheapest settings that keep the share within the target: coordinate descent over what can be turned.

Owns the order in which settings are tried. Leaves the keys and their values to `dials`. Deterministic; what is found is the
best of what was tried on this trace, not of all there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gpufleet.simulation import dials, judgement
from gpufleet.simulation.dials import Change
from gpufleet.simulation.judgement import Run
from gpufleet.simulation.model import Settings

STARTS = (1.0, 0.7, 0.45)
"""Multiples of the tracked targets to descend from: a lower target and a lower minimum make up for each other."""
ROUNDS = 4
"""Through all dials, from one start."""

Progress = Callable[[int], None]
"""Told how many settings were tried so far."""


class Tried(NamedTuple):
    """Settings and how they did."""

    settings: Settings
    share_within: float
    instance_seconds: float


class Found(NamedTuple):
    """The end of a search."""

    before: Tried
    best: Tried
    keeps: bool
    """Whether the best keeps the share; where none does, it is the one that comes nearest."""
    changes: tuple[Change, ...]
    tried: int


def search(
    settings: Settings, run: Run, target_seconds: float, goal: float, progress: Progress, enough: int | None = None
) -> Found:
    """From the settings as they are, from lower targets, and from a minimum of `enough`: instances that always do."""
    bench = _Bench(run, target_seconds, goal, progress)
    before = bench.tried(settings)
    starts = [settings if factor == 1 else dials.with_targets(settings, factor) for factor in STARTS]
    if enough is not None and settings.bounds[0].min < enough <= settings.bounds[0].max and len(settings.bounds) == 1:
        starts.append(dials.with_min(settings, enough))
    best = min((_descend(start, bench) for start in starts), key=bench.rank)
    keeps = best.share_within >= goal
    return Found(before, best, keeps, dials.changes(settings, best.settings), bench.count)


class _Bench:
    """Tries settings, each once."""

    def __init__(self, run: Run, target_seconds: float, goal: float, progress: Progress) -> None:
        self._run, self._target_seconds, self._goal, self._progress = run, target_seconds, goal, progress
        self._known: dict[Settings, Tried] = {}

    @property
    def count(self) -> int:
        return len(self._known)

    def tried(self, settings: Settings) -> Tried:
        if settings not in self._known:
            outcome = self._run(settings)
            share = judgement.share_within(outcome, self._target_seconds)
            self._known[settings] = Tried(settings, share, outcome.instance_seconds)
            self._progress(self.count)
        return self._known[settings]

    def rank(self, tried: Tried) -> tuple[bool, float, float]:
        """Those that keep the share by cost, then the others by how near they come."""
        if tried.share_within >= self._goal:
            return False, tried.instance_seconds, -tried.share_within
        return True, -tried.share_within, tried.instance_seconds


def _descend(start: Settings, bench: _Bench) -> Tried:
    best = bench.tried(start)
    for _ in range(ROUNDS):
        before = best
        for dial in dials.dials(best.settings):
            here = best.settings
            best = min([best, *(bench.tried(dial.set(here, value)) for value in dial.values(here))], key=bench.rank)
        if best == before:
            break
    return best
