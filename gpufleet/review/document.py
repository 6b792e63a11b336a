"""A comparison as JSON, for other programs: the names in it are a contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpufleet.review.changes import Change
from gpufleet.review.comparison import Comparison, StackComparison
from gpufleet.review.costs import Amounts, CostChange

SCHEMA_VERSION = 1


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything that was found, under the names that other programs read."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "base": comparison.base,
        "head": comparison.head,
        "stacks": [_stack(stack) for stack in comparison.stacks],
        "touched": list(comparison.touched),
        "broken": list(comparison.broken),
        "monthlyIncreaseUsd": comparison.increase._asdict(),
        "notes": list(comparison.notes),
        "failedGates": list(comparison.failed_gates),
    }


def _stack(stack: StackComparison) -> dict[str, Any]:
    return {
        "stack": stack.stack,
        "status": stack.status,
        "touched": stack.touched,
        "notes": list(stack.notes),
        "requirements": _changes(stack.requirements),
        "plan": [change | {"reason": stack.reasons.get(change["path"], "")} for change in _changes(stack.plan)],
        "verdicts": [
            {"type": v.type, "before": v.before, "after": v.after, "reason": v.reason} for v in stack.verdicts
        ],
        "monthlyUsd": _cost(stack.cost),
        "operations": None
        if stack.operations is None
        else [
            {
                "operation": operation.kind,
                "type": operation.type,
                "name": operation.name,
                "changes": _changes(operation.changes),
                "replacedBecauseOf": list(operation.forced_by),
            }
            for operation in stack.operations
        ],
        "files": [
            {"name": file.name, "linesAdded": file.added, "linesRemoved": file.removed, "diff": file.diff}
            for file in stack.files
        ],
        "newWarnings": list(stack.warnings),
        "risks": [risk._asdict() for risk in stack.risks],
    }


def _changes(found: Iterable[Change]) -> list[dict[str, Any]]:
    return [change._asdict() for change in found]


def _cost(cost: CostChange | None) -> dict[str, Any] | None:
    if cost is None:
        return None
    return {
        "before": _amounts(cost.before),
        "after": _amounts(cost.after),
        "difference": cost.difference._asdict(),
        "parts": [{"cause": part.cause, "difference": part.difference._asdict()} for part in cost.parts],
    }


def _amounts(amounts: Amounts | None) -> dict[str, float | None] | None:
    return None if amounts is None else amounts._asdict()
