"""A plan's schedules in the seconds of a trace.

Owns when a schedule falls due. Leaves the syntax of a recurrence to `planner.cron`, and what its bounds do to the replay.
The day on which a trace starts is the user's to say: nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gpufleet.planner import cron
from gpufleet.planner.plan import ScheduledCapacity
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
    recurrence, zone = cron.parse(schedule.recurrence), ZoneInfo(schedule.time_zone)
    day = window.begin.astimezone(zone)
    while day.date() <= window.end.astimezone(zone).date():
        yield from (due for due in _on(recurrence, day, zone) if window.begin < due < window.end)
        day += timedelta(days=1)


def _last_due(schedule: ScheduledCapacity, start: datetime) -> list[datetime]:
    """When it was due last, at the start at the latest; empty where that is too long ago."""
    recurrence, zone = cron.parse(schedule.recurrence), ZoneInfo(schedule.time_zone)
    for days in range(LOOK_BACK_DAYS + 1):
        due = [at for at in _on(recurrence, start.astimezone(zone) - timedelta(days=days), zone) if at <= start]
        if due:
            return due[-1:]
    return []


def _on(recurrence: cron.Recurrence, day: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    if _falls_on(recurrence, day):
        for hour in sorted(recurrence.hours):
            for minute in sorted(recurrence.minutes):
                yield datetime.combine(day.date(), time(hour, minute), zone).astimezone(UTC)


def _falls_on(recurrence: cron.Recurrence, day: datetime) -> bool:
    if day.month not in recurrence.months:
        return False
    by_month, by_week = day.day in recurrence.days, day.isoweekday() % 7 in recurrence.weekdays
    return by_month or by_week if recurrence.either_day else by_month and by_week
