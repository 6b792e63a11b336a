"""A replay's report as text: one stack in full, several side by side, and what a search found as keys to write.

Owns the layout. Leaves every number to `gpufleet.simulation`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpufleet.commands.layout import bullets, columns, indented, usd
from gpufleet.simulation.dials import Change
from gpufleet.simulation.report import AfterStep, Bill, Report
from gpufleet.simulation.search import Found


def describe_report(report: Report, advice: str, notes: Sequence[str], panels: str) -> str:
    """Everything of one stack; the advice last, where it is seen."""
    sections = [columns(_heading(report)), _fleets(report), columns(_steadiness(report))]
    if report.delays:
        sections.append("Were an instance to start in another time\n" + indented(_delays(report)))
    sections.append("Over time\n" + indented(panels))
    if notes:
        sections.append("Not simulated\n" + indented(bullets(notes)))
    sections.append(f"Advice: {advice}")
    return "\n\n".join(sections)


def describe_reports(reports: Sequence[Report]) -> str:
    """One line for each stack, on the same trace."""
    first = reports[0]
    rows: list[tuple[str, ...]] = [
        (
            "STACK",
            "TARGET",
            "WITHIN",
            "P50",
            "P95",
            "P99",
            "GPU-HOURS",
            "x CLAIRVOYANT",
            "STATIC",
            "USD",
            "ACTIONS",
            "REVERSALS",
        )
    ]
    rows += [
        (
            report.stack,
            f"{report.target_seconds:g} s",
            f"{report.fleet.share_within:.2%}",
            *(_seconds(report.percentiles_seconds[name]) for name in ("p50", "p95", "p99")),
            f"{report.fleet.gpu_hours:,.1f}",
            _ratio(report.over_clairvoyant),
            "-" if report.static is None else f"{report.static.gpu_hours:,.1f}",
            usd(report.fleet.price_usd),
            str(report.scale_outs + report.scale_ins),
            str(report.reversals),
        )
        for report in reports
    ]
    return f"{first.trace}: {first.requests:,.0f} requests\n{indented(columns(rows, right=range(1, 12)))}"


def describe_search(found: Found, report: Report) -> str:
    """What to write into the stack file, and what comes of it."""
    before = found.before
    end = (
        f"the cheapest of {found.tried} settings that keeps {report.goal:.1%}"
        if found.keeps
        else f"none of {found.tried} settings keeps the share; this one comes nearest"
    )
    sections = [
        f"{end} within {report.target_seconds:g} s on {report.trace}",
        keys_to_write(found.changes) if found.changes else "The stack file as it is.",
        columns(
            [
                (
                    "Before:",
                    f"{before.share_within:.2%} within the target, {before.instance_seconds / 3600:,.1f} instance-hours",
                ),
                (
                    "After:",
                    f"{found.best.share_within:.2%} within the target, {found.best.instance_seconds / 3600:,.1f} instance-hours",
                ),
            ]
        ),
        _fleets(report),
    ]
    return "\n\n".join(sections)


def keys_to_write(changes: Sequence[Change]) -> str:
    """As they stand in a stack file."""
    tree: dict[str, dict[str, list[str]]] = {}
    for change in changes:
        section, *path, key = change.key.split(".")
        tree.setdefault(section, {}).setdefault(".".join(path), []).append(
            f"{key}: {written(change)}  # was {change.before}"
        )
    lines = []
    for section, groups in tree.items():
        lines.append(f"  gpufleet:{section}:")
        for group, entries in sorted(groups.items()):
            deeper = "  " if group else ""
            lines += [f"    {group}:"] if group else []
            lines += [f"    {deeper}{entry}" for entry in entries]
    return "\n".join(lines)


def written(change: Change) -> str:
    """The value in YAML; steps are a list."""
    if change.key != "scaling.latency.steps":
        return change.after
    steps = (step.split(" from ") for step in change.after.split(", "))
    return "[" + ", ".join(f"{{above: {above}, add: {percent}}}" for percent, above in steps) + "]"


def _heading(report: Report) -> list[tuple[str, ...]]:
    kept = "kept" if report.keeps else "missed"
    latency = ", ".join(f"{name} {_seconds(value)}" for name, value in report.percentiles_seconds.items())
    unanswered = f", {report.unanswered:,.0f} of them never answered" if report.unanswered >= 0.5 else ""
    return [
        ("Stack:", f"{report.stack} on {report.trace}, {report.requests:,.0f} requests{unanswered}"),
        ("Latency:", f"{latency} s"),
        (
            "Target:",
            f"{report.fleet.share_within:.2%} within {report.target_seconds:g} s; {report.goal:.1%} {kept}",
        ),
    ]


def _fleets(report: Report) -> str:
    rows: list[tuple[str, ...]] = [("FLEET", "GPU-HOURS", "USD", "WITHIN", "MOST INSTANCES", "")]
    rows.append(("this stack", *_cells(report.fleet), f"{_ratio(report.over_clairvoyant)} of the clairvoyant"))
    for name, bill, what in (
        ("static", report.static, "the fewest constant instances that keep the share"),
        ("clairvoyant", report.clairvoyant, "knows what comes, and waits for its instances to start too"),
    ):
        rows.append((name, *_cells(bill), what) if bill else (name, "-", "-", "-", "-", "no fleet keeps the share"))
    return columns(rows, right={1, 2, 3, 4})


def _cells(bill: Bill) -> tuple[str, ...]:
    return f"{bill.gpu_hours:,.1f}", usd(bill.price_usd), f"{bill.share_within:.2%}", str(bill.most_instances)


def _steadiness(report: Report) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("Actions:", f"{report.scale_outs} out, {report.scale_ins} in, {report.reversals} reversals"),
        ("At maximum:", f"{report.minutes_at_max:,.0f} minutes"),
    ]
    if report.over_provisioned_hours is not None and report.under_provisioned_hours is not None:
        rows.append(
            (
                "Provisioned:",
                f"{report.over_provisioned_hours:,.1f} instance-hours more than the clairvoyant has in service, "
                f"{report.under_provisioned_hours:,.1f} fewer",
            )
        )
    if report.after_step:
        rows.append(("Largest step:", _step(report.after_step)))
    return rows


def _step(step: AfterStep) -> str:
    return (
        f"from {step.requests_per_second_before:.3g} to {step.requests_per_second_after:.3g} requests/s at "
        f"{step.second / 3600:.2f} h; in the ten minutes after it p95 at most {_seconds(step.p95_seconds)} s, "
        f"p99 {_seconds(step.p99_seconds)} s"
    )


def _delays(report: Report) -> str:
    rows: list[tuple[str, ...]] = [("START", "WITHIN", "GPU-HOURS")]
    rows += [(f"{d.start_seconds:,.0f} s", f"{d.share_within:.2%}", f"{d.gpu_hours:,.1f}") for d in report.delays]
    return columns(rows, right={0, 1, 2})


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
