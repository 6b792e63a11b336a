"""One line on what to change. Every change that it names was tried on the same trace, and the line says what came of it.

Owns the reasons and their order. Leaves the trials to the run that it is given, and the keys to `dials`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gpufleet.simulation import dials, judgement
from gpufleet.simulation.judgement import Run
from gpufleet.simulation.model import Outcome, Settings
from gpufleet.simulation.report import is_at_max
from gpufleet.simulation.yardsticks import Yardsticks

LOWER_FACTORS = (0.85, 0.7, 0.55, 0.4)
HIGHER_FACTORS = (1.3, 1.15)
SAVING = 0.03
"""Less is not worth a change."""
LATE_AT_MAX = 0.3
"""Share of the late minutes at the maximum from which that is the reason."""
TARGET_FIRST = 1.2
"""As a multiple of what a higher minimum costs."""
PEGGED = 0.8
"""Share of the bins above the target from which a signal does not tell a busy fleet from an idle one."""


class Trial(NamedTuple):
    """A change and what comes of it."""

    change: str
    share_within: float
    instance_seconds: float


def advise(outcome: Outcome, yardsticks: Yardsticks, run: Run, target_seconds: float, goal: float) -> str:
    """What to change first, with the reason and the effect; that nothing need be where nothing better was found."""
    case = _Case(outcome, yardsticks, run, target_seconds, goal)
    share = judgement.share_within(outcome, target_seconds)
    found = case.when_late() if share < goal else case.when_kept()
    return next(found)


class _Case(NamedTuple):
    """One outcome, and the means to try something else."""

    outcome: Outcome
    yardsticks: Yardsticks
    run: Run
    target_seconds: float
    goal: float

    # Too few within the target

    def when_late(self) -> Iterator[str]:
        settings, static = self.outcome.settings, self.yardsticks.static
        if static is None:
            yield (
                f"no number of instances keeps {self.goal:.2%} of the requests within {self.target_seconds:g} s: too many of "
                "them take longer on an idle replica; raise the target, or judge streamed answers by --streaming"
            )
            return
        if not settings.tracking and settings.stepping is None:
            yield "no policy moves this fleet: set scaling.requestsInFlight, or another signal of docs/scaling.md"
            return
        for signal in self._silent():
            yield f"scaling.{signal} has no data here, and a metric without data scales nothing: track another signal"
            return
        yield from self._more_at_most(max(static.capacity))
        lower = self._best(self._lower_targets(settings))
        more = self._fewest(settings, max(static.capacity))
        yield from self._cheaper(lower, more)
        yield (
            f"neither a lower target nor a higher minimum keeps {self.goal:.2%} within {self.target_seconds:g} s; "
            "--search tries more, a faster start (an image with the weights) helps most"
        )

    def _silent(self) -> Iterator[str]:
        """Tracked signals that nobody emitted."""
        for policy in self.outcome.settings.tracking:
            if all(m.metrics.get(policy.signal) is None for m in self.outcome.moments):
                yield policy.signal

    def _more_at_most(self, enough: int) -> Iterator[str]:
        """Where the fleet is as large as it may be while requests are slow. `enough` is what is enough all the time."""
        settings, minutes = self.outcome.settings, self.outcome.trace.bin_seconds / 60
        late = [m for m in self.outcome.moments if (m.latency_seconds.get("p95") or 0) > self.target_seconds]
        at_max = [m for m in late if is_at_max(settings, m)]
        if not late or len(at_max) < LATE_AT_MAX * len(late):
            return
        most = max(b.max for b in settings.bounds)
        why = f"{len(at_max) * minutes:.0f} of the {len(late) * minutes:.0f} slow minutes were at the maximum"
        for raised in sorted({max(most + 1, enough), max(most, enough) * 3 // 2 + 1}):
            trial = self._trial(f"raise scaling.max from {most} to {raised}", dials.with_max(settings, raised))
            if trial.share_within >= self.goal:
                yield f"{trial.change}: {why}; {self._effect(trial)}"
                return
        if most < enough:
            yield f"{trial.change}, and simulate again: {why}; {self._effect(trial)}"

    def _cheaper(self, lower: Trial | None, more: Trial | None) -> Iterator[str]:
        """The target unless the minimum is clearly cheaper: a target follows a load that grows, a minimum does not."""
        if lower and (more is None or lower.instance_seconds <= TARGET_FIRST * more.instance_seconds):
            yield f"{lower.change}: capacity must be asked for earlier; {self._effect(lower)}"
        elif more:
            start_seconds = self.outcome.settings.start_seconds
            why = (
                "a lower target costs more"
                if lower
                else f"load rises faster than an instance starts ({start_seconds:g} s)"
            )
            yield f"{more.change}: {why}; {self._effect(more)}"

    def _lower_targets(self, settings: Settings) -> Iterator[tuple[str, Settings]]:
        for factor in LOWER_FACTORS if settings.tracking else ():
            turned = dials.with_targets(settings, factor)
            yield self._say("lower", settings, turned), turned

    def _fewest(self, settings: Settings, enough: int) -> Trial | None:
        """The lowest minimum that does, found by halving."""
        if len(settings.bounds) > 1:
            return None
        low, found = settings.bounds[0].min, None
        high = max(enough, low + 1)
        while high - low >= 1:
            middle = high if found is None else (low + high) // 2
            if middle == low:
                break
            turned = dials.with_min(settings, middle)
            trial = self._trial(f"raise scaling.min from {settings.bounds[0].min} to {middle}", turned)
            if trial.share_within >= self.goal:
                high, found = middle, trial
            elif found is None:
                return None
            else:
                low = middle
        return found

    # Enough within the target

    def when_kept(self) -> Iterator[str]:
        settings = self.outcome.settings
        yield from self._pegged()
        saving = self._best([*self._higher_targets(settings), *self._less(settings)])
        if saving and saving.instance_seconds <= (1 - SAVING) * self.outcome.instance_seconds:
            yield f"{saving.change}: the target is kept with capacity to spare; {self._effect(saving)}"
        yield "change nothing: the share is kept, and neither a higher target nor a lower minimum saves anything"

    def _pegged(self) -> Iterator[str]:
        """A signal above its target nearly always, while fewer instances would do: it says that work is there, not how much."""
        clairvoyant, moments = self.yardsticks.clairvoyant, self.outcome.moments
        if clairvoyant is None or self.outcome.instance_seconds < 1.25 * clairvoyant.instance_seconds:
            return
        for policy in self.outcome.settings.tracking:
            above = sum((m.metrics.get(policy.signal) or 0) > policy.target for m in moments)
            if above >= PEGGED * len(moments):
                yield (
                    f"scaling.{policy.signal} is above {policy.target:g} in {above / len(moments):.0%} of the time whatever the "
                    "capacity, and holds the fleet at its maximum: it is no measure of load here, track scaling.requestsInFlight"
                )
                return

    def _higher_targets(self, settings: Settings) -> Iterator[tuple[str, Settings]]:
        for factor in HIGHER_FACTORS if settings.tracking else ():
            turned = dials.with_targets(settings, factor)
            if turned != settings:
                yield self._say("raise", settings, turned), turned

    def _less(self, settings: Settings) -> Iterator[tuple[str, Settings]]:
        fewest = settings.bounds[0].min
        if len(settings.bounds) == 1 and fewest > 1:
            for less in sorted({fewest - 1, max(1, fewest // 2)}):
                yield f"lower scaling.min from {fewest} to {less}", dials.with_min(settings, less)

    # Trials

    def _best(self, changes: Iterable[tuple[str, Settings]]) -> Trial | None:
        """The cheapest that keeps the share."""
        trials = (self._trial(change, settings) for change, settings in changes)
        kept = [trial for trial in trials if trial.share_within >= self.goal]
        return min(kept, key=lambda trial: trial.instance_seconds, default=None)

    def _trial(self, change: str, settings: Settings) -> Trial:
        outcome = self.run(settings)
        return Trial(change, judgement.share_within(outcome, self.target_seconds), outcome.instance_seconds)

    def _say(self, verb: str, before: Settings, after: Settings) -> str:
        turned = [f"{c.key} from {c.before} to {c.after}" for c in dials.changes(before, after)]
        return f"{verb} {' and '.join(turned)}"

    def _effect(self, trial: Trial) -> str:
        more = trial.instance_seconds / self.outcome.instance_seconds - 1
        return f"then {trial.share_within:.2%} are within {self.target_seconds:g} s, for {more:+.0%} GPU-hours"
