"""The report on one replay: latency, money and steadiness, beside what a constant and a clairvoyant fleet would have cost.

Owns what is counted and how; leaves the sums on latencies to `judgement`, the other fleets to `yardsticks`, what to change
to `advice`, and the layout to the command.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from gpufleet.simulation import judgement
from gpufleet.simulation.judgement import Run
from gpufleet.simulation.model import Action, Moment, Outcome, Settings
from gpufleet.simulation.yardsticks import Yardstick, Yardsticks

PERCENTS = (50, 90, 95, 99)

STEP_WINDOW_SECONDS = 60.0
"""The largest step is between the means of two such windows, one after the other."""
AFTER_STEP_SECONDS = 600.0

START_FACTORS = (0.5, 2.0)
"""Of the start-up, by which the sensitivity is shown."""


class Bill(NamedTuple):
    """What a fleet took, and how many requests it kept within the target."""

    gpu_hours: float
    price_usd: float | None
    share_within: float
    most_instances: int
    """In service at once."""


class AfterStep(NamedTuple):
    """The largest rise of the arrivals from one minute to the next, and the slowest requests after it."""

    second: float
    requests_per_second_before: float
    requests_per_second_after: float
    p95_seconds: float | None
    """The worst of any bin in the ten minutes from the step on; the next too."""
    p99_seconds: float | None


class Delay(NamedTuple):
    """The same fleet, were its instances to start in another time."""

    start_seconds: float
    share_within: float
    gpu_hours: float


class Report(NamedTuple):
    """Everything that is told of one stack on one trace; hours are of instances or, where it says so, of GPUs."""

    stack: str
    trace: str
    target_seconds: float
    goal: float
    requests: float
    unanswered: float
    percentiles_seconds: dict[str, float | None]
    fleet: Bill
    static: Bill | None
    clairvoyant: Bill | None
    over_provisioned_hours: float | None
    """Instances in service beyond the clairvoyant's, and short of them; None where there is no clairvoyant."""
    under_provisioned_hours: float | None
    scale_outs: int
    scale_ins: int
    reversals: int
    minutes_at_max: float
    after_step: AfterStep | None
    delays: tuple[Delay, ...]

    @property
    def over_clairvoyant(self) -> float | None:
        """The fleet's GPU-hours as a multiple of the clairvoyant's."""
        return self.fleet.gpu_hours / self.clairvoyant.gpu_hours if self.clairvoyant else None

    @property
    def keeps(self) -> bool:
        """Whether the goal is met."""
        return self.fleet.share_within >= self.goal

    def to_json_object(self) -> dict[str, Any]:
        """Under the names that other programs read."""
        return {**_named(self), "gpuHoursOverClairvoyant": self.over_clairvoyant, "keepsTheShare": self.keeps}


def make_report(
    outcome: Outcome, yardsticks: Yardsticks, target_seconds: float, goal: float, run: Run | None = None
) -> Report:
    """The report on an outcome; with `run`, the sensitivity to the start-up too."""
    settings, static, clairvoyant = outcome.settings, yardsticks.static, yardsticks.clairvoyant
    share = judgement.share_within(outcome, target_seconds)
    most = max((m.in_service for m in outcome.moments), default=0)
    over, under = _apart(outcome, clairvoyant)
    return Report(
        stack=settings.name,
        trace=outcome.trace.name,
        target_seconds=target_seconds,
        goal=goal,
        requests=judgement.requests(outcome),
        unanswered=outcome.unanswered,
        percentiles_seconds={f"p{p}": judgement.percentile_seconds(outcome, p) for p in PERCENTS},
        fleet=_bill(outcome.instance_seconds, settings, share, most),
        static=_bill_of(static, settings),
        clairvoyant=_bill_of(clairvoyant, settings),
        over_provisioned_hours=over,
        under_provisioned_hours=under,
        scale_outs=sum(a.after > a.before for a in outcome.actions),
        scale_ins=sum(a.after < a.before for a in outcome.actions),
        reversals=reversals(outcome.actions, settings.start_seconds + settings.warmup_seconds),
        minutes_at_max=minutes_at_max(outcome),
        after_step=_after_step(outcome),
        delays=tuple(_delays(settings, target_seconds, run)) if run else (),
    )


def reversals(actions: tuple[Action, ...], within_seconds: float) -> int:
    """Actions in the other direction than the one before, less than a start and a warm-up after it."""
    return sum(
        (a.after > a.before) != (b.after > b.before) and b.second - a.second < within_seconds
        for a, b in itertools.pairwise(actions)
    )


def minutes_at_max(outcome: Outcome) -> float:
    """How long the fleet was as large as it may be, where it may be smaller at all."""
    bins = sum(is_at_max(outcome.settings, m) for m in outcome.moments)
    return bins * outcome.trace.bin_seconds / 60


def is_at_max(settings: Settings, moment: Moment) -> bool:
    """Whether no more instances may be asked for."""
    bounds = next(b for b in reversed(settings.bounds) if b.from_second <= moment.second or b is settings.bounds[0])
    return bounds.min < bounds.max <= moment.in_service + moment.starting


def _bill(instance_seconds: float, settings: Settings, share: float, most: int) -> Bill:
    hours, usd = judgement.gpu_hours(instance_seconds, settings), judgement.price_usd(instance_seconds, settings)
    return Bill(hours, usd, share, most)


def _bill_of(yardstick: Yardstick | None, settings: Settings) -> Bill | None:
    if yardstick is None:
        return None
    return _bill(yardstick.instance_seconds, settings, yardstick.share_within, max(yardstick.capacity, default=0))


def _apart(outcome: Outcome, clairvoyant: Yardstick | None) -> tuple[float | None, float | None]:
    if clairvoyant is None:
        return None, None
    differences = [m.in_service - c for m, c in zip(outcome.moments, clairvoyant.capacity, strict=False)]
    hours_per_bin = outcome.trace.bin_seconds / judgement.SECONDS_PER_HOUR
    over, under = sum(d for d in differences if d > 0), sum(-d for d in differences if d < 0)
    return over * hours_per_bin, under * hours_per_bin


def _after_step(outcome: Outcome) -> AfterStep | None:
    bin_seconds, moments = outcome.trace.bin_seconds, outcome.moments
    width = max(1, round(STEP_WINDOW_SECONDS / bin_seconds))
    sums = [0.0, *itertools.accumulate(b.requests for b in outcome.trace.bins)]
    places = range(width, len(sums) - width)
    if not places:
        return None
    place = max(places, key=lambda i: sums[i + width] - 2 * sums[i] + sums[i - width])
    after = moments[place : place + round(AFTER_STEP_SECONDS / bin_seconds)]
    rate = 1 / (width * bin_seconds)
    return AfterStep(
        place * bin_seconds,
        (sums[place] - sums[place - width]) * rate,
        (sums[place + width] - sums[place]) * rate,
        *(max(_known(after, percentile), default=None) for percentile in ("p95", "p99")),
    )


def _known(moments: tuple[Moment, ...], percentile: str) -> Iterator[float]:
    values = (m.latency_seconds.get(percentile) for m in moments)
    return (value for value in values if value is not None)


def _delays(settings: Settings, target_seconds: float, run: Run) -> Iterator[Delay]:
    for factor in START_FACTORS:
        start_seconds = settings.start_seconds * factor
        outcome = run(settings._replace(start_seconds=start_seconds))
        share = judgement.share_within(outcome, target_seconds)
        yield Delay(start_seconds, share, judgement.gpu_hours(outcome.instance_seconds, settings))


def _named(value: Any) -> Any:
    """Tuples with names as objects; numbers to six significant digits after the point."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {_camel(name): _named(part) for name, part in value._asdict().items()}
    if isinstance(value, tuple):
        return [_named(part) for part in value]
    if isinstance(value, dict):
        return {name: _named(part) for name, part in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
