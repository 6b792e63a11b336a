"""What of a fleet can be turned, under the keys of a stack file.

Owns reading and setting each, and what values are worth a try. Leaves trying to `advice` and `search`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from gpufleet.simulation.model import Settings, Stepping

FACTORS = (0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.35, 1.5)
"""Of a target or a warm-up, to try."""

PERCENT_SIGNALS = frozenset({"gpuUtilization", "cpuUtilization", "kvCacheUtilization"})
MOST_PERCENT = 95.0


class Dial(NamedTuple):
    """One key and its number."""

    key: str
    """Dotted, as in `scaling.min`."""
    read: Callable[[Settings], float]
    set: Callable[[Settings, float], Settings]
    values: Callable[[Settings], tuple[float, ...]]
    """To try from here, ascending."""
    text: Callable[[Settings], str]
    """As the stack file has it."""


class Change(NamedTuple):
    """A key of the stack file that is turned, and its values as written there."""

    key: str
    before: str
    after: str


def dials(settings: Settings) -> tuple[Dial, ...]:
    """All of a fleet: what it has no policy for cannot be turned."""
    return (*_targets(settings), *_minimum(settings), *_steps(settings), WARM_UP)


def changes(before: Settings, after: Settings) -> tuple[Change, ...]:
    """What was turned between two settings of the same fleet."""
    turned = (Change(dial.key, dial.text(before), dial.text(after)) for dial in dials(before))
    return tuple(change for change in turned if change.before != change.after)


def with_min(settings: Settings, fewest: int) -> Settings:
    """At least so many instances, from the start on; the most grows with it."""
    bounds = tuple(b._replace(min=fewest, max=max(b.max, fewest)) for b in settings.bounds)
    return settings._replace(bounds=bounds, desired=max(fewest, settings.desired))


def with_max(settings: Settings, most: int) -> Settings:
    """At most so many instances."""
    return settings._replace(bounds=tuple(b._replace(max=most) for b in settings.bounds))


def with_targets(settings: Settings, factor: float) -> Settings:
    """Every tracked target times a factor."""
    for dial in _targets(settings):
        settings = dial.set(settings, _rounded(dial.read(settings) * factor, dial.key))
    return settings


def _targets(settings: Settings) -> Iterable[Dial]:
    for place, policy in enumerate(settings.tracking):
        key = f"scaling.{policy.signal}"

        def read(s: Settings, place: int = place) -> float:
            return s.tracking[place].target

        def turned(s: Settings, value: float, place: int = place) -> Settings:
            tracking = list(s.tracking)
            tracking[place] = tracking[place]._replace(target=value)
            return s._replace(tracking=tuple(tracking))

        def values(s: Settings, place: int = place, key: str = key) -> tuple[float, ...]:
            return _scaled(s.tracking[place].target, key)

        def text(s: Settings, place: int = place) -> str:
            return f"{s.tracking[place].target:g}"

        yield Dial(key, read, turned, values, text)


def _minimum(settings: Settings) -> Iterable[Dial]:
    """Only of a fleet without a schedule, which has its own minimum at each time."""
    if len(settings.bounds) > 1:
        return

    def values(s: Settings) -> tuple[float, ...]:
        now, most = s.bounds[0].min, s.bounds[0].max
        near = {now - 2, now - 1, now + 1, now + 2, round(now * 0.75), round(now * 1.5), (now + most) // 2, most}
        return tuple(float(n) for n in sorted(near - {now}) if min(1, now) <= n <= most)

    yield Dial(
        "scaling.min",
        lambda s: float(s.bounds[0].min),
        lambda s, value: with_min(s, round(value)),
        values,
        lambda s: str(s.bounds[0].min),
    )


def _steps(settings: Settings) -> Iterable[Dial]:
    """How long the latency is above its target before step scaling acts, and how much it adds."""
    if settings.stepping is None:
        return
    yield Dial(
        "scaling.latency.evaluationPeriods",
        lambda s: float(_stepping(s).datapoints_to_alarm),
        lambda s, value: _with_stepping(s, evaluation_periods=round(value), datapoints_to_alarm=round(value)),
        lambda s: (1.0, 2.0, 3.0, 5.0),
        lambda s: str(_stepping(s).evaluation_periods),
    )
    yield Dial(
        "scaling.latency.steps",
        lambda s: float(_stepping(s).steps[0].percent),
        _with_first_step,
        lambda s: (10.0, 20.0, 50.0, 100.0),
        lambda s: ", ".join(f"{step.percent} from {step.lower_bound_seconds:g}s" for step in _stepping(s).steps),
    )


def _stepping(settings: Settings) -> Stepping:
    assert settings.stepping, "a dial of a policy that is there"
    return settings.stepping


def _with_stepping(settings: Settings, **values: Any) -> Settings:
    return settings._replace(stepping=_stepping(settings)._replace(**values))


def _with_first_step(settings: Settings, percent: float) -> Settings:
    """The first step adds so much; the others grow in proportion."""
    steps = _stepping(settings).steps
    factor = percent / steps[0].percent
    return _with_stepping(settings, steps=tuple(s._replace(percent=round(s.percent * factor)) for s in steps))


def _with_warm_up(settings: Settings, seconds: float) -> Settings:
    return settings._replace(warmup_seconds=seconds)


WARM_UP = Dial(
    "timing.instanceWarmup",
    lambda s: s.warmup_seconds,
    _with_warm_up,
    lambda s: tuple(v for v in (0.0, 60.0, 120.0, 300.0, 600.0) if v != s.warmup_seconds),
    lambda s: f"{s.warmup_seconds:g}s",
)


def _scaled(target: float, key: str) -> tuple[float, ...]:
    return tuple(sorted({_rounded(target * factor, key) for factor in FACTORS} - {target}))


def _rounded(value: float, key: str) -> float:
    """As people write it: whole from 10 on, at least a tenth."""
    value = round(value) if value >= 10 else max(0.1, round(value, 1))
    return min(value, MOST_PERCENT) if key.rpartition(".")[2] in PERCENT_SIGNALS else float(value)
