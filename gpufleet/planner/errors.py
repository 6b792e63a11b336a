"""What a user sees when a requirement cannot be met: one problem, or all of them at once.

Owns the shape of a problem (path, given, allowed, next step) and the two ways of printing it. Leaves to others
what is wrong and what is allowed: whoever enforces a table also names it here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self


class Problem(NamedTuple):
    """One mistake. `path` is the dotted key (`serving.port`), empty for the document as a whole."""

    path: str
    message: str
    given: Any = None
    allowed: str = ""
    next_step: str = ""
    candidates: tuple[dict[str, Any], ...] = ()

    def describe(self) -> str:
        """The problem as lines for a terminal: `path: message`, then what was given, allowed, and to do."""
        lines = [f"{self.path}: {self.message}" if self.path else self.message]
        if self.given is not None:
            lines.append(f"  given:   {self.given}")
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.next_step:
            lines.append(f"  next:    {self.next_step}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The problem under the names that other programs read; `candidates` only where nothing fits."""
        document: dict[str, Any] = {
            "path": self.path,
            "given": self.given,
            "allowed": self.allowed,
            "message": self.message,
            "nextStep": self.next_step,
        }
        if self.candidates:
            document["candidates"] = list(self.candidates)
        return document


class PlanningError(Exception):
    """The input cannot be planned. Carries every problem that was found, the first one first."""

    def __init__(self, problems: Problem | Iterable[Problem], *, source: str = "") -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        self.source = source
        super().__init__(self.describe())

    def in_source(self, source: str) -> Self:
        """The same problems, with the file that they are in."""
        return type(self)(self.problems, source=source)

    def under(self, prefix: str) -> Self:
        """The same problems, with their paths below `prefix`."""
        return type(self)(
            [p._replace(path=f"{prefix}.{p.path}" if p.path else prefix) for p in self.problems], source=self.source
        )

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same problems, with other names for these paths."""
        return type(self)([p._replace(path=names.get(p.path, p.path)) for p in self.problems], source=self.source)

    def describe(self) -> str:
        """All problems for a terminal, headed by the file."""
        return "\n".join(([f"{self.source}:"] if self.source else []) + [p.describe() for p in self.problems])

    def to_json(self) -> dict[str, Any]:
        """The first problem; further ones under `others`."""
        first, *others = self.problems
        document = first.to_json()
        if others:
            document["others"] = [p.to_json() for p in others]
        return document


class RequirementError(PlanningError):
    """A requirement is malformed, unknown or contradicts another."""


class NothingFitsError(PlanningError):
    """No offered type can do it; the problem carries the candidates and what would make each work."""


class CatalogError(PlanningError):
    """The catalogue does not know a name (region, type, family, GPU)."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names most like `name`, best first; compared without regard to case."""
    import difflib

    by_folded = {k.casefold(): k for k in sorted(known)}
    return [by_folded[m] for m in difflib.get_close_matches(name.casefold(), list(by_folded), n=count, cutoff=0.5)]


def list_names(names: Iterable[str], *, most: int = 40) -> str:
    """Names for a message, in order, shortened when there are very many."""
    known: Sequence[str] = sorted(names)
    shown = ", ".join(known[:most])
    return shown if len(known) <= most else f"{shown}, … ({len(known)} in all)"
