"""What `gpufleet check` found, and how it reads: errors, then warnings, then what is right.

Owns the shape of a report, as text and as JSON. Leaves finding anything to `check_stack` and `check_project`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gpufleet.planner.errors import PlanningError, Problem

_T = TypeVar("_T")


@dataclass(slots=True)
class Report:
    """What was found in one place: a stack's file, or the checkout."""

    source: str
    errors: list[Problem] = field(default_factory=list)
    """What `up` would refuse, or fail at."""
    warnings: list[Problem] = field(default_factory=list)
    """What it would do, and somebody may be sorry for."""
    passed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What nobody can tell here, and what is good to know."""

    def ask(self, question: Callable[[], _T]) -> _T | None:
        """The answer; None where there are problems instead, which are kept."""
        try:
            return question()
        except PlanningError as error:
            self.errors += error.problems
            return None

    def describe(self) -> str:
        """Everything, under a heading that counts it."""
        return "\n".join(
            [f"{self.source}: {counted(self.errors, 'error')}, {counted(self.warnings, 'warning')}", *self._lines()]
        )

    def _lines(self) -> Iterator[str]:
        for label, problems in (("error", self.errors), ("warning", self.warnings)):
            for problem in problems:
                first, *more = problem.describe().splitlines()
                yield f"  {label:7}  {first}"
                yield from (f"         {line}" for line in more)
        for label, texts in (("ok", self.passed), ("note", self.notes)):
            yield from (f"  {label:7}  {text}" for text in texts)

    def to_json(self) -> dict[str, Any]:
        """The same for other programs."""
        return {
            "source": self.source,
            "errors": [problem.to_json() for problem in self.errors],
            "warnings": [problem.to_json() for problem in self.warnings],
            "passed": self.passed,
            "notes": self.notes,
        }


def counted(things: list[Any], name: str) -> str:
    """`no errors`, `1 error`, `2 errors`."""
    return f"{len(things) or 'no'} {name}{'' if len(things) == 1 else 's'}"
