"""What a user sees when a requirement cannot be met: one problem, or all of them at once.

Owns the shape of a problem (path, given, allowed, next step) and the two ways of printing it. Leaves to others
what is wrong and what is allowed: whoever enforces a table also names it here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

LONGEST_GIVEN, LONGEST_TEXT = 400, 4000
"""Characters of a value, and of any other part of a problem, that are shown; the rest tells nobody more."""


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
        path, message, next_step = self._texts()
        lines = [f"{printable(path)}: {message}" if path else message]
        if self.given is not None:
            lines.append(f"  given:   {printable(shortened(str(self.given)))}")
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if next_step:
            lines.append(f"  next:    {next_step}")
        return printable("\n".join(lines), keep="\n")

    def to_json(self) -> dict[str, Any]:
        """The problem under the names that other programs read; `candidates` only where nothing fits."""
        path, message, next_step = self._texts()
        document: dict[str, Any] = {
            "path": path,
            "given": _for_json(self.given),
            "allowed": self.allowed,
            "message": message,
            "nextStep": next_step,
        }
        if self.candidates:
            document["candidates"] = list(self.candidates)
        return document

    def _texts(self) -> tuple[str, str, str]:
        """Path, message and next step, none of them endless, and each with a form in UTF-8."""
        return (
            _encodable(shortened(self.path)),
            _encodable(shortened(self.message, LONGEST_TEXT)),
            _encodable(shortened(self.next_step, LONGEST_TEXT)),
        )


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
        """The first problem, with the file that it is in; further ones under `others`."""
        first, *others = self.problems
        document = first.to_json()
        if self.source:
            document["source"] = self.source
        if others:
            document["others"] = [p.to_json() for p in others]
        return document


class RequirementError(PlanningError):
    """A requirement is malformed, unknown or contradicts another."""


class NothingFitsError(PlanningError):
    """No offered type can do it; the problem carries the candidates and what would make each work."""


class CatalogError(PlanningError):
    """The catalogue does not know a name (region, type, family, GPU)."""


def printable(text: str, *, keep: str = "") -> str:
    """The text with what would steer a terminal, or has no form in UTF-8, as its escape."""
    if text.isprintable():
        return text
    return "".join(c if c in keep or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = LONGEST_GIVEN) -> str:
    """The text, or its beginning where it is very long."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _for_json(given: Any) -> Any:
    """What was given as JSON has it: no NaN, and no text without an end."""
    if given is None or isinstance(given, bool | int) or (isinstance(given, float) and math.isfinite(given)):
        return given
    return _encodable(shortened(str(given)))


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
