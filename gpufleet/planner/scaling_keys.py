"""The keys of one of `gpufleet:scaling`'s `schedules`: when, and which bounds hold from then on.

Owns their names and the rules between them. Parsed only for documents that have schedules, so that no other plan pays for
it. Times are as AWS takes them: five fields of cron in an IANA time zone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from gpufleet.planner import cron, values
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.plan import ScheduledCapacity
from gpufleet.planner.requirements import Requirements, Scaling, Section, parse_section

PATH = "scaling.schedules"


def _cron(value: str) -> str:
    cron.parse(value)
    return " ".join(value.split()).upper()


def _time_zone(value: str) -> str:
    """A name of the IANA database. The system's copy is asked, so that a name that AWS would refuse fails here."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        from gpufleet.planner.errors import nearest

        near = nearest(value, available_timezones(), 1)
        raise ValueError(
            "an IANA time zone such as Europe/Dublin" + (f"; did you mean {near[0]}?" if near else "")
        ) from None
    return value


def _weekdays(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


Cron = Annotated[str, AfterValidator(_cron), values.Written("five fields of cron", pattern=r"\s*\S+(\s+\S+){4}\s*")]
TimeZone = Annotated[
    str, AfterValidator(_time_zone), values.Written("IANA time zone", pattern=r"[A-Za-z][\w+\-]*(/[\w+\-]+){0,2}")
]
TimeOfDay = Annotated[
    str,
    values.matching(r"([01]?\d|2[0-3]):[0-5]\d", "a time of day such as 07:30, in quotation marks"),
    values.Written("time of day"),
]
Weekday = Annotated[
    str,
    BeforeValidator(_weekdays),
    values.matching(
        r"(?:sun|mon|tue|wed|thu|fri|sat)(?:-(?:sun|mon|tue|wed|thu|fri|sat))?", "a weekday such as mon, or mon-fri"
    ),
    values.Written("weekday", pattern=r"\s*[A-Za-z]{3}(-[A-Za-z]{3})?\s*"),
]
ScheduleName = Annotated[
    str,
    values.matching(r"[A-Za-z0-9][A-Za-z0-9\-]{0,62}", "a name of letters, digits and '-', such as business-hours"),
    values.Written("name"),
]
Instances = Annotated[values.Count, values.within(0, 10_000, "instances")]


class Schedule(Section):
    """Bounds of the fleet from a time on."""

    name: ScheduleName = Field(description="Name, of one schedule only.", examples=["day"])
    cron: Cron | None = Field(
        None, description="When, as five fields of cron. Defaults to time, on days.", examples=["30 7 * * 1-5"]
    )
    days: tuple[Weekday, ...] = Field(
        (), strict=False, description="Weekdays, with time. Defaults to every day.", examples=[["mon-fri"]]
    )
    time: TimeOfDay | None = Field(None, description="Time of day. Defaults to cron.", examples=["07:30"])
    time_zone: TimeZone = Field(
        "UTC", description="Time zone, whose summer time it follows.", examples=["Europe/Dublin"]
    )
    min: Instances | None = Field(
        None, description="Fewest instances from then on. Defaults to scaling.min.", examples=[3]
    )
    max: Instances | None = Field(
        None, description="Most instances from then on. Defaults to scaling.max.", examples=[8]
    )
    desired: Instances | None = Field(
        None,
        description="Instances to go to at that time. Defaults to as many as there are, within the bounds.",
        examples=[4],
    )


def scheduled_capacity(requirements: Requirements) -> tuple[ScheduledCapacity, ...]:
    """The schedules; a RequirementError with every problem in them."""
    schedules: list[Schedule] = []
    problems: list[Problem] = []
    for place, given in enumerate(requirements.scaling.schedules):
        try:
            schedules.append(parse_section(Schedule, given))
        except RequirementError as error:
            problems += error.under(f"{PATH}.{place}").problems
    if problems:
        raise RequirementError(problems)
    problems = [*_repeated(schedules), *_clashing(schedules)]
    for place, schedule in enumerate(schedules):
        problems += _problems(schedule, f"{PATH}.{place}", requirements.scaling)
    if problems:
        raise RequirementError(problems)
    return tuple(_planned(schedule, requirements.scaling) for schedule in schedules)


def _planned(schedule: Schedule, scaling: Scaling) -> ScheduledCapacity:
    low, high = _bounds(schedule, scaling)
    return ScheduledCapacity(
        name=schedule.name,
        recurrence=recurrence(schedule),
        time_zone=schedule.time_zone,
        min=low,
        max=high,
        desired=schedule.desired,
    )


def recurrence(schedule: Schedule) -> str:
    """When, as cron."""
    if schedule.cron:
        return schedule.cron
    assert schedule.time, "one of the two was required"
    hour, minute = schedule.time.split(":")
    days = sorted({day for span in schedule.days for day in _days(span)})
    return f"{int(minute)} {int(hour)} * * {','.join(map(str, days)) or '*'}"


def _days(span: str) -> Iterator[int]:
    """Sunday is 0. A range may go over the end of the week."""
    first, _, last = span.partition("-")
    start, end = cron.WEEKDAYS.index(first), cron.WEEKDAYS.index(last or first)
    yield from ((start + i) % 7 for i in range((end - start) % 7 + 1))


def _bounds(schedule: Schedule, scaling: Scaling) -> tuple[int, int]:
    return (
        scaling.min if schedule.min is None else schedule.min,
        scaling.max if schedule.max is None else schedule.max,
    )


def _problems(schedule: Schedule, path: str, scaling: Scaling) -> Iterator[Problem]:
    if (schedule.cron is None) == (schedule.time is None) or (schedule.cron and schedule.days):
        yield Problem(
            path=path,
            message="a schedule has either cron, or a time with or without days",
            allowed='cron: 30 7 * * 1-5, or days: [mon-fri] with time: "07:30"',
            next_step="keep one of the two",
        )
    low, high = _bounds(schedule, scaling)
    if low > high:
        yield Problem(
            path=f"{path}.min", message=f"more than its max of {high}", given=low, next_step="lower min or raise max"
        )
    elif low < scaling.min or high > scaling.max:
        key, given = ("min", low) if low < scaling.min else ("max", high)
        yield Problem(
            path=f"{path}.{key}",
            message="outside of scaling.min and scaling.max, which quotas, costs and alarms are planned for",
            given=given,
            allowed=f"{scaling.min} to {scaling.max}",
            next_step=f"change it, or scaling.{key}",
        )
    elif schedule.desired is not None and not low <= schedule.desired <= high:
        yield Problem(
            path=f"{path}.desired",
            message="outside of its min and max",
            given=schedule.desired,
            allowed=f"{low} to {high}",
            next_step="leave desired out to let the policies decide",
        )


def _repeated(schedules: Iterable[Schedule]) -> Iterator[Problem]:
    counts = Counter(schedule.name.lower() for schedule in schedules)
    for name, count in counts.items():
        if count > 1:
            yield Problem(
                path=PATH, message=f"{count} schedules of one name", given=name, next_step="rename all but one"
            )


def _clashing(schedules: Iterable[Schedule]) -> Iterator[Problem]:
    """AWS refuses two actions of one group at one time; only those that are written alike are told here."""
    times = Counter((recurrence(s), s.time_zone) for s in schedules if s.cron or s.time)
    for (when, zone), count in times.items():
        if count > 1:
            yield Problem(
                path=PATH,
                message=f"{count} schedules at one time",
                given=f"{when} {zone}",
                next_step="keep one of them",
            )
