"""The scaling report: the shipped defaults on traces of requests, in docs/scaling.md.

Run `make scaling` (some minutes). Owns the assumed replica and the tables; the page's other words are written by hand. Leaves
the replay to `gpufleet.simulation`. The replica is assumed, not measured: the tables compare fleets, they promise nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gpufleet.commands.simulate_table import keys_to_write  # noqa: E402
from gpufleet.planner.catalog import load_catalog  # noqa: E402
from gpufleet.planner.planning import plan_deployment  # noqa: E402
from gpufleet.planner.requirements import parse_requirements  # noqa: E402
from gpufleet.simulation import judgement  # noqa: E402
from gpufleet.simulation.draw import draw  # noqa: E402
from gpufleet.simulation.model import Outcome, Settings, Speed, Trace  # noqa: E402
from gpufleet.simulation.report import Report, make_report  # noqa: E402
from gpufleet.simulation.search import search  # noqa: E402
from gpufleet.simulation.settings import settings_of  # noqa: E402
from gpufleet.simulation.settling import settled  # noqa: E402
from gpufleet.simulation.simulate import replay, simulate  # noqa: E402
from gpufleet.simulation.trace import read_trace  # noqa: E402
from gpufleet.simulation.yardsticks import Yardsticks, find_yardsticks  # noqa: E402
from stacks.config import read_stack_file, stack_file  # noqa: E402

PAGE = ROOT / "docs" / "scaling.md"
PLOT = ROOT / "docs" / "scaling.png"
TRACES = ROOT.parent / "shared" / "data" / "traces"
RECORDED = ("azure2023_conv_10s", "azure2023_code_10s", "mooncake_conversation_10s")
MADE = ("servegen_deepseek-r1_10s", "servegen_mm-image_10s")
BURSTY = "azure2023_code_10s"

STACK = "prod-us-east-1"
SPEED = Speed(prefill_tokens_per_second=8_000, decode_tokens_per_second=1_500, max_concurrency=64)
"""Assumed, of no measured replica."""
TARGET_SECONDS, GOAL = 5.0, 0.99
SCALING = {"min": 1, "max": 100, "latency": {"percentile": "p90", "target": f"{TARGET_SECONDS:g}s"}}
"""All that is not a default."""

OTHER_TARGETS = ((50, 50), (60, 35), (60, 50), (60, 75), (75, 50), (75, 75))
"""Per cent of the batch and of the KV cache."""


@cache
def defaults() -> Settings:
    """The stack with the shipped defaults of scaling."""
    document: dict[str, Any] = {**read_stack_file(stack_file(STACK)), "scaling": SCALING}
    return settings_of(plan_deployment(parse_requirements(document), load_catalog()), STACK, "firstToken")


def run(settings: Settings, trace: Trace) -> Outcome:
    """From a fleet that has settled."""
    return simulate(settled(settings, trace, SPEED), trace, SPEED)


def judged(settings: Settings, trace: Trace) -> tuple[Outcome, Yardsticks, Report]:
    """A fleet on a trace, with what it is measured against."""
    outcome, yardsticks = run(settings, trace), measured_against(trace)
    return outcome, yardsticks, make_report(outcome, yardsticks, TARGET_SECONDS, GOAL)


@cache
def measured_against(trace: Trace) -> Yardsticks:
    """The yardsticks of a trace: no policy changes them."""
    settings = defaults()
    replayed = partial(replay, settings=settings, trace=trace, speed=SPEED)
    return find_yardsticks(settings, trace, SPEED, replayed, TARGET_SECONDS, GOAL)


def row(name: str) -> str:
    """One trace under the defaults, as a line of the table."""
    report = judged(defaults(), read_trace(TRACES / f"{name}.csv"))[2]
    clairvoyant, static = report.clairvoyant, report.static
    cells = (
        f"`{name.removesuffix('_10s')}`",
        "recorded" if name in RECORDED else "drawn",
        f"{report.fleet.share_within:.2%}",
        f"{report.fleet.gpu_hours:,.1f}",
        f"{report.over_clairvoyant:.2f}" if clairvoyant else "-",
        f"{static.gpu_hours / clairvoyant.gpu_hours:.2f}" if clairvoyant and static else "-",
        f"{report.fleet.price_usd:,.0f}" if report.fleet.price_usd is not None else "unknown",
        f"{report.scale_outs + report.scale_ins}, {report.reversals}",
    )
    return f"| {' | '.join(cells)} |"


def defaults_table() -> str:
    """Every trace under the defaults."""
    head = (
        "trace",
        "arrivals",
        "within",
        "GPU-hours",
        "× clairvoyant",
        "static × clairvoyant",
        "USD",
        "actions, reversals",
    )
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(row(name) for name in (*RECORDED, *MADE))]
    return "\n".join(lines)


def targets_table() -> str:
    """Every trace under other targets: share within, and GPU-hours over the clairvoyant's."""
    traces = [read_trace(TRACES / f"{name}.csv") for name in (*RECORDED, *MADE)]
    head = ("requestsInFlight", "kvCacheUtilization", *(f"`{trace.name.removesuffix('_10s')}`" for trace in traces))
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for share_percent, use_percent in OTHER_TARGETS:
        targets = {"requestsInFlight": share_percent * SPEED.max_concurrency // 100, "kvCacheUtilization": use_percent}
        settings = defaults()
        settings = settings._replace(tracking=tuple(p._replace(target=targets[p.signal]) for p in settings.tracking))
        reports = [judged(settings, trace)[2] for trace in traces]
        cells = (f"{r.fleet.share_within:.2%} × {r.over_clairvoyant or math.nan:.2f}" for r in reports)
        lines.append(f"| {share_percent}% of the batch | {use_percent} | {' | '.join(cells)} |")
    return "\n".join(lines)


def search_table() -> str:
    """What the search finds for the bursty trace."""
    trace = read_trace(TRACES / f"{BURSTY}.csv")
    static = judged(defaults(), trace)[1].static
    enough = static.capacity[0] if static else None
    found = search(defaults(), partial(run, trace=trace), TARGET_SECONDS, GOAL, lambda _: None, enough)
    report = judged(found.best.settings, trace)[2]
    lines = ["| settings | within | GPU-hours | USD |", "| --- | --- | --- | --- |"]
    for name, tried in (("defaults", found.before), ("found", found.best)):
        hours = judgement.gpu_hours(tried.instance_seconds, tried.settings)
        usd = judgement.price_usd(tried.instance_seconds, tried.settings)
        lines.append(
            f"| {name} | {tried.share_within:.2%} | {hours:,.1f} | {'unknown' if usd is None else f'{usd:,.0f}'} |"
        )
    ratio = (
        "" if report.over_clairvoyant is None else f", {report.over_clairvoyant:.2f} times the clairvoyant's GPU-hours"
    )
    end = "keeps the share" if found.keeps else "none keeps the share, this comes nearest"
    return "\n".join(
        [*lines, "", f"{found.tried} settings tried; {end}{ratio}:", "", "```yaml", keys_to_write(found.changes), "```"]
    )


TABLES = {"defaults": defaults_table, "targets": targets_table, "search": search_table}


def page_with_tables(page: str) -> str:
    """The page with its tables as they are now."""
    for name, table in TABLES.items():
        before, begin, rest = page.partition(f"<!-- {name}: written by `make scaling` -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        page = f"{before}{begin}{table()}\n{end}{after}"
    return page


def rows_of(page: str) -> Iterator[str]:
    """The lines of the page's tables."""
    return (line for line in page.splitlines() if line.startswith("| "))


def main() -> None:
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    outcome, yardsticks, _ = judged(defaults(), read_trace(TRACES / f"{MADE[0]}.csv"))
    draw(outcome, yardsticks.clairvoyant, TARGET_SECONDS, PLOT)


if __name__ == "__main__":
    main()
