"""When a change must not pass unseen: which limits the user set, and which of them a comparison breaks.

Owns the gates and their messages. Leaves the exit status to the command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gpufleet.review.comparison import Comparison, StackComparison
from gpufleet.review.costs import Amounts
from gpufleet.review.facts import usd
from gpufleet.review.risks import Risk


def with_gates(
    comparison: Comparison, *, fail_on: frozenset[str], max_monthly_increase_usd: float | None
) -> Comparison:
    """The comparison with the gates that it fails, and with the risk of each stack that made the cost one of them."""
    limit = max_monthly_increase_usd
    if limit is not None and _over(comparison.increase, limit):
        comparison = replace(comparison, stacks=tuple(_with_cost_risk(stack, limit) for stack in comparison.stacks))
    return replace(comparison, failed_gates=tuple(_failed(comparison, fail_on, limit)))


def _failed(comparison: Comparison, fail_on: frozenset[str], limit: float | None) -> Iterator[str]:
    if limit is not None and _over(comparison.increase, limit):
        by = usd(comparison.increase.highest)
        yield f"--max-monthly-increase {limit:g}: all stacks together may cost {by} USD per month more"
    for stack in comparison.stacks:
        for risk in stack.risks:
            if risk.kind in fail_on:
                yield f"--fail-on {risk.kind}: {stack.stack}: {risk.message}"


def _over(increase: Amounts, limit: float) -> bool:
    """Whether any size of the fleet costs too much more. What is unknown is not under the limit."""
    return increase.highest is None or increase.highest > limit


def _with_cost_risk(stack: StackComparison, limit: float) -> StackComparison:
    if stack.cost is None or not _over(stack.cost.difference, 0):
        return stack
    by = usd(stack.cost.difference.highest)
    risk = Risk("cost", f"up to {by} USD per month more, where {limit:,.0f} are the limit for all stacks together")
    return replace(stack, risks=(*stack.risks, risk))
