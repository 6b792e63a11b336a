"""What a comparison holds: frozen data, between those who compare and those who print.

Decides nothing. Leaves filling it to `compare` and `gates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gpufleet.review.changes import Change
from gpufleet.review.costs import Amounts, CostChange, total
from gpufleet.review.operations import Operation
from gpufleet.review.risks import Risk

Status = Literal["unchanged", "changed", "added", "removed", "broken", "mended"]
"""`broken`: HEAD cannot be applied. `mended`: BASE could not be, so nobody knows what stands now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A rendered file that differs: how many lines came and went, and the difference as text."""

    name: str
    added: int
    removed: int
    diff: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictChange:
    """A type that is judged otherwise; None where the side's region does not offer it."""

    type: str
    before: str | None
    after: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackComparison:
    """One stack. The plans are JSON, for values beside those that changed; None where a side has none."""

    stack: str
    status: Status
    notes: tuple[str, ...] = ()
    """Why something is missing here, with the side that lacks it."""
    plan_before: Mapping[str, Any] | None = None
    plan_after: Mapping[str, Any] | None = None
    requirements: tuple[Change, ...] = ()
    plan: tuple[Change, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a value of the plan moved, by its path."""
    verdicts: tuple[VerdictChange, ...] = ()
    cost: CostChange | None = None
    operations: tuple[Operation, ...] | None = None
    """None where a side has no resources to compare: a plan file, a program that fails."""
    files: tuple[FileChange, ...] = ()
    warnings: tuple[str, ...] = ()
    """Those that only HEAD's plan has."""
    risks: tuple[Risk, ...] = ()
    touched: bool = False
    """Whether `pulumi up` of HEAD would do something, or fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All stacks that were compared, in alphabetical order."""

    base: str
    head: str
    stacks: tuple[StackComparison, ...]
    notes: tuple[str, ...] = ()
    failed_gates: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[StackComparison, ...]:
        """Everything but what stays as it is."""
        return tuple(s for s in self.stacks if s.status != "unchanged")

    @property
    def unchanged(self) -> tuple[str, ...]:
        """The names of the rest."""
        return tuple(s.stack for s in self.stacks if s.status == "unchanged")

    @property
    def touched(self) -> tuple[str, ...]:
        """The names of those that `pulumi preview` and `pulumi up` have something to do for."""
        return tuple(s.stack for s in self.stacks if s.touched)

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of those that cannot be applied at HEAD."""
        return tuple(s.stack for s in self.stacks if s.status == "broken")

    @property
    def increase(self) -> Amounts:
        """What all stacks together cost more per month."""
        return total(s.cost.difference for s in self.stacks if s.cost)
