"""Both sides of every stack put side by side: what was asked differently, what follows, what it costs, what it risks.

Owns which sides of a stack can be compared at all, and why a value moved. Leaves the parts to `changes`, `costs`,
`operations` and `risks`. Decides nothing about a stack: both plans were made by the code of their own side.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from gpufleet.review import facts
from gpufleet.review.changes import Change, changes
from gpufleet.review.comparison import Comparison, FileChange, StackComparison, VerdictChange
from gpufleet.review.costs import UNKNOWN_COST, cost_change
from gpufleet.review.operations import operations
from gpufleet.review.risks import Context, find_risks, left_standing
from gpufleet.review.sides import Side
from gpufleet.review.snapshot import Snapshot

Plan = Mapping[str, Any]

TOLD_APART = frozenset(
    {"candidates", "cost", "quotas", "warnings", "notices", "refusals", "types", "limitsByType", "schemaVersion"}
)
"""Parts of a plan that are compared in their own way, or repeat another."""


def compare(base: Side, head: Side, *, min_headroom_percent: float) -> Comparison:
    """Every stack of either side."""
    stacks = (_stack(name, base, head, min_headroom_percent) for name in sorted({*base.stacks, *head.stacks}))
    return Comparison(base=base.label, head=head.label, stacks=tuple(stacks), notes=tuple(_notes(base, head)))


def _stack(name: str, base: Side, head: Side, min_headroom_percent: float) -> StackComparison:
    before, after = base.stacks.get(name), head.stacks.get(name)
    if after is None:
        assert before is not None, name
        return _removed(name, before)
    if before is not None and (before.unreadable or after.unreadable):
        before, after = replace(before, plan=None), replace(after, plan=None)
    if after.error:
        compared = _requirements_and_plans(name, before, after)
        result = replace(compared, status="broken", cost=None, touched=True)
    elif before is not None and before.error:
        compared = _requirements_and_plans(name, before, after)
        risks = find_risks(Context(None, after, (), min_headroom_percent))
        result = replace(compared, status="mended", cost=None, risks=risks, touched=True)
    else:
        result = _whole(name, before, after, min_headroom_percent)
    return replace(result, notes=tuple(_missing((base, before), (head, after))))


def _removed(name: str, before: Snapshot) -> StackComparison:
    cost = cost_change(before.plan, None)
    return StackComparison(
        stack=name, status="removed", plan_before=before.plan, cost=cost, risks=(left_standing(before),)
    )


def _whole(name: str, before: Snapshot | None, after: Snapshot, min_headroom_percent: float) -> StackComparison:
    """A stack of which nothing is missing; a new one where there is no `before`."""
    compared, old = _requirements_and_plans(name, before, after), before or Snapshot()
    comparable = after.resources is not None and (before is None or old.resources is not None)
    found = operations(old.resources or (), after.resources or ()) if comparable else None
    files = tuple(_files(old.files, after.files)) if old.files is not None and after.files is not None else ()
    costs_differ = compared.cost is not None and bool(compared.cost.parts)
    unreadable = after.unreadable or old.unreadable
    differs = bool(
        compared.requirements or compared.plan or compared.warnings or costs_differ or found or files or unreadable
    )
    return replace(
        compared,
        status="added" if before is None else "changed" if differs else "unchanged",
        operations=found,
        files=files,
        risks=find_risks(Context(before, after, found or (), min_headroom_percent)),
        touched=bool(found) or (comparable and old.outputs != after.outputs),
    )


def _requirements_and_plans(name: str, before: Snapshot | None, after: Snapshot) -> StackComparison:
    old = before or Snapshot()
    known = set((old.plan or {}).get("warnings", ()))
    asked_of_both = after.requirements is not None and (before is None or old.requirements is not None)
    result = StackComparison(
        stack=name,
        status="changed",
        plan_before=old.plan,
        plan_after=after.plan,
        requirements=changes(_asked(old, after), _asked(after, old)) if asked_of_both else (),
        plan=changes(_compared_part(old.plan), _compared_part(after.plan)) if after.plan else (),
        cost=cost_change(old.plan, after.plan) if after.plan else UNKNOWN_COST,
        warnings=tuple(w for w in (after.plan or {}).get("warnings", ()) if w not in known),
    )
    if old.plan is None or after.plan is None:
        return result
    reasons = dict(_reasons(result.plan, old.plan, after.plan))
    return replace(result, reasons=reasons, verdicts=tuple(_verdicts(old.plan, after.plan)))


def _asked(snapshot: Snapshot, other: Snapshot) -> Mapping[str, Any] | None:
    """The requirements, an architecture that only one side has as a whole: its fields say nothing one by one."""
    model, others = ((side.requirements or {}).get("model") for side in (snapshot, other))
    if not isinstance(model, Mapping) or not isinstance(others, Mapping):
        return snapshot.requirements
    if not isinstance(model.get("architecture"), Mapping) or others.get("architecture"):
        return snapshot.requirements
    fields = f"a config.json of {len(model['architecture'])} fields"
    return {**(snapshot.requirements or {}), "model": {**model, "architecture": fields}}


def _compared_part(plan: Plan | None) -> Plan:
    return {key: value for key, value in (plan or {}).items() if key not in TOLD_APART}


def _missing(*sides: tuple[Side, Snapshot | None]) -> Iterator[str]:
    for side, snapshot in sides:
        if snapshot is not None:
            yield from (f"{side.label}: {text}" for text in (snapshot.error, snapshot.unreadable) if text)


def _notes(base: Side, head: Side) -> Iterator[str]:
    locks = base.requirements_lock, head.requirements_lock
    if None not in locks and locks[0] != locks[1]:
        yield "requirements.txt differs: both sides ran with the packages that are installed here"


# Why --------------------------------------------------------------------------------------------------------------


def _reasons(found: Iterable[Change], before: Plan, after: Plan) -> Iterator[tuple[str, str]]:
    for change in found:
        if change.path == "instance.type":
            yield change.path, _why_moved(before, after)
        elif detail := facts.of_list(change):
            yield change.path, detail


def _why_moved(before: Plan, after: Plan) -> str:
    """What became of the old type, in HEAD's own words, and why the new one was taken."""
    old, new = before["instance"]["type"], after["instance"]["type"]
    was, is_ = _candidate(after, old), _candidate(after, new)
    if was is None:
        fate = f"{old} is not offered any more"
    elif was["verdict"] == "rejected":
        fate = f"{old} is rejected now: {was['reason']}"
    else:
        fate = f"{old} would do, but ranks lower"
    return f"{fate}; {new}: {is_['reason']}" if is_ else fate


def _verdicts(before: Plan, after: Plan) -> Iterator[VerdictChange]:
    for name in sorted({c["type"] for plan in (before, after) for c in plan["candidates"]}):
        old, new = _candidate(before, name), _candidate(after, name)
        was, is_ = old["verdict"] if old else None, new["verdict"] if new else None
        if was != is_:
            reason = new["reason"] if new else "not offered any more"
            yield VerdictChange(type=name, before=was, after=is_, reason=reason)


def _candidate(plan: Plan, name: str) -> Plan | None:
    return next((c for c in plan["candidates"] if c["type"] == name), None)


# Rendered files ---------------------------------------------------------------------------------------------------


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[FileChange]:
    for name in sorted({*before, *after}):
        old, new = (side.get(name, "").splitlines() for side in (before, after))
        lines = list(difflib.unified_diff(old, new, f"base/{name}", f"head/{name}", lineterm=""))
        if lines:
            signs = [line[:1] for line in lines[2:]]
            yield FileChange(name=name, added=signs.count("+"), removed=signs.count("-"), diff="\n".join(lines))
