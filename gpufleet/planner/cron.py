"""Five fields of cron, as Recurrence of PutScheduledUpdateGroupAction takes them (EC2 Auto Scaling API): Unix cron syntax.

Owns the syntax. Leaves the calendar and time zones to its callers.
"""

from __future__ import annotations

from typing import NamedTuple

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class CronField(NamedTuple):
    """What one of the five may say: numbers from `least` to `most`, or names that begin at `least`."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int | None:
        """The number that a text stands for; None when it is none of the field's."""
        if text in self.names:
            return self.names.index(text) + self.least
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 2 else self.most + 1
        return number if self.least <= number <= self.most else None

    def numbers(self, text: str) -> range | None:
        """Of *, a number or a range, each perhaps with a step; a number with a step goes on to the end."""
        span, slash, step = text.partition("/")
        if slash and not (step.isascii() and step.isdigit() and 1 <= int(step) <= self.most):
            return None
        first, dash, last = span.partition("-")
        if span == "*":
            start: int | None = self.least
            end: int | None = self.most
        else:
            start = self.number(first)
            end = self.number(last) if dash else self.most if slash else start
        if start is None or end is None or start > end:
            return None
        return range(start, end + 1, int(step or 1))


FIELDS = (
    CronField("minute", 0, 59),
    CronField("hour", 0, 23),
    CronField("day of the month", 1, 31),
    CronField("month", 1, 12, MONTHS),
    CronField("day of the week", 0, 7, WEEKDAYS),
)

FORMS = "five fields of cron (minute, hour, day of the month, month, day of the week), such as 30 7 * * 1-5"


class Recurrence(NamedTuple):
    """When something falls due."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""
    either_day: bool
    """Whether both kinds of days are given: cron then takes those of either."""


def parse(text: str) -> Recurrence:
    """What five fields say; raises ValueError with the field that says nothing."""
    fields = text.lower().split()
    if len(fields) != len(FIELDS):
        raise ValueError(f"{FORMS}; this has {len(fields)}")
    minutes, hours, days, months, weekdays = map(_allowed, FIELDS, fields)
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    return Recurrence(minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either)


def _allowed(field: CronField, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        numbers = field.numbers(part)
        if numbers is None:
            raise ValueError(f"{FORMS}; {text} is no {field.name} from {field.least} to {field.most}")
        found.update(numbers)
    return frozenset(found)
