"""A plan's schedules in the seconds of a trace.

Owns when a recurrence falls due. Leaves what its bounds do to the replay. The day on which a trace starts is the user's to say:
nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gpufleet.planner.plan import ScheduledCapacity
from gpufleet.planner.scaling_keys import CRON_FIELDS
from gpufleet.simulation.model import Bounds

LOOK_BACK_DAYS = 366
"""For the schedule that holds when a trace starts: the rarest recurs once a year."""


class Window(NamedTuple):
    """The time of a trace; `start` has a time zone."""

    start: datetime
    seconds: float

    @property
    def begin(self) -> datetime:
        """Its start in UTC, where a day across a change of the clocks is as long as it is."""
        return self.start.astimezone(UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it, in UTC."""
        return self.begin + timedelta(seconds=self.seconds)


class _Recurrence(NamedTuple):
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""
    either_day: bool
    """Whether both kinds of days are given: cron then takes those of either."""

    def falls_on(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_month or by_week if self.either_day else by_month and by_week


def scheduled_bounds(schedules: Sequence[ScheduledCapacity], otherwise: Bounds, window: Window) -> tuple[Bounds, ...]:
    """The bounds over the window. At its start those of the schedule that was due last, or `otherwise`."""
    before = [(due, place) for place, schedule in enumerate(schedules) for due in _last_due(schedule, window.begin)]
    first = schedules[max(before)[1]] if before else None
    bounds = [Bounds(0.0, first.min, first.max) if first else otherwise]
    changes = sorted((due, place) for place, schedule in enumerate(schedules) for due in due_in(schedule, window))
    for due, place in changes:
        now = schedules[place]
        bounds.append(Bounds((due - window.begin).total_seconds(), now.min, now.max, now.desired))
    return tuple(bounds)


def due_in(schedule: ScheduledCapacity, window: Window) -> Iterator[datetime]:
    """When it falls due in the window, in UTC and in order, but not at its very start."""
    recurrence, zone = _parsed(schedule.recurrence), ZoneInfo(schedule.time_zone)
    day = window.begin.astimezone(zone)
    while day.date() <= window.end.astimezone(zone).date():
        yield from (due for due in _on(recurrence, day, zone) if window.begin < due < window.end)
        day += timedelta(days=1)


def _last_due(schedule: ScheduledCapacity, start: datetime) -> list[datetime]:
    """When it was due last, at the start at the latest; empty where that is too long ago."""
    recurrence, zone = _parsed(schedule.recurrence), ZoneInfo(schedule.time_zone)
    for days in range(LOOK_BACK_DAYS + 1):
        due = [at for at in _on(recurrence, start.astimezone(zone) - timedelta(days=days), zone) if at <= start]
        if due:
            return due[-1:]
    return []


def _on(recurrence: _Recurrence, day: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    if recurrence.falls_on(day):
        for hour in sorted(recurrence.hours):
            for minute in sorted(recurrence.minutes):
                yield datetime.combine(day.date(), time(hour, minute), zone).astimezone(UTC)


def _parsed(recurrence: str) -> _Recurrence:
    """Of five fields that the planner has checked."""
    fields = recurrence.lower().split()
    minutes, hours, days, months, weekdays = (
        frozenset(number for part in text.split(",") for number in _numbers(part, low, high, names))
        for text, (_, low, high, names) in zip(fields, CRON_FIELDS, strict=True)
    )
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    return _Recurrence(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)


def _numbers(text: str, low: int, high: int, names: tuple[str, ...]) -> range:
    """Of *, a number or a range, each perhaps with a step; a number with a step goes on to the end."""
    span, slash, step = text.partition("/")
    first, _, last = span.partition("-")
    start = low if first == "*" else _number(first, low, names)
    end = high if first == "*" or (slash and not last) else _number(last or first, low, names)
    return range(start, end + 1, int(step or 1))


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    return names.index(text) + low if text in names else int(text)
