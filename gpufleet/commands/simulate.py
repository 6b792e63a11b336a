"""`gpufleet simulate`: what a stack's policies do with a trace of requests, before `up`. Never imports Pulumi.

Owns the options and their errors. Leaves the replay to `gpufleet.simulation`, and the layout to `simulate_table`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import click

from gpufleet.commands.inputs import (
    catalog_option,
    complete_stacks,
    errors_for_people,
    opened_catalog,
    print_error,
    required_stack_option,
    stack_document,
    stack_source,
)
from gpufleet.commands.simulate_table import describe_report, describe_reports, describe_search, written
from gpufleet.planner.errors import PlanningError, Problem, RequirementError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from gpufleet.simulation.advice import advise
from gpufleet.simulation.draw import draw, require_drawing
from gpufleet.simulation.model import Bin, Outcome, Settings, Speed, Trace
from gpufleet.simulation.policies import within
from gpufleet.simulation.report import Report, make_report
from gpufleet.simulation.schedules import Window
from gpufleet.simulation.search import Found, search
from gpufleet.simulation.settings import left_out, settings_of
from gpufleet.simulation.settling import settled
from gpufleet.simulation.simulate import replay, simulate
from gpufleet.simulation.trace import TokensPerRequest, read_trace
from gpufleet.simulation.yardsticks import Yardsticks, find_yardsticks

MEASURE = "measure it with the engine's own benchmark: README, Simulating a stack"
"""What to do about a speed that is not given."""

GOAL_PERCENT = 99.0


class Measured(NamedTuple):
    """An option whose number must be measured, and what it is."""

    option: str
    parameter: str
    what: str


SPEEDS = (
    Measured("--prefill-tokens-per-second", "prefill_tokens_per_second", "prompt tokens that one replica reads in a second"),
    Measured("--decode-tokens-per-second", "decode_tokens_per_second",
             "output tokens that one replica makes in a second with its batch full"),
    Measured("--max-concurrency", "max_concurrency", "requests that one replica works on at once"),
)  # fmt: skip


class Judged(NamedTuple):
    """A stack on the trace, with everything to tell of it."""

    report: Report
    outcome: Outcome
    yardsticks: Yardsticks


class Case(NamedTuple):
    """What all stacks of one call are judged by."""

    trace: Trace
    speed: Speed
    goal: float
    initial_instances: int | None
    """At second 0; None: as many as the policies hold under the load that the trace begins with."""

    def run(self, settings: Settings) -> Outcome:
        if self.initial_instances is None:
            return simulate(settled(settings, self.trace, self.speed), self.trace, self.speed)
        desired = within(settings.bounds[0], self.initial_instances)
        return simulate(settings._replace(desired=desired), self.trace, self.speed)

    def judged(self, settings: Settings, target_seconds: float, *, sensitivity: bool) -> Judged:
        outcome = self.run(settings)
        replayed = partial(replay, settings=settings, trace=self.trace, speed=self.speed)
        yardsticks = find_yardsticks(settings, self.trace, self.speed, replayed, target_seconds, self.goal)
        report = make_report(outcome, yardsticks, target_seconds, self.goal, self.run if sensitivity else None)
        return Judged(report, outcome, yardsticks)


_positive = click.FloatRange(min=0, min_open=True)


@click.command("simulate")
@required_stack_option
@click.option("--trace", "trace_file", metavar="FILE", required=True, type=click.Path(path_type=Path),
              help="Arrivals as CSV: in bins (t_s,requests,input_tokens_sum,output_tokens_sum), or a line per request "
              "(t_s,input_tokens,output_tokens).")  # fmt: skip
@click.option("--prefill-tokens-per-second", metavar="X", type=_positive,
              help="Prompt tokens that one replica reads in a second, as measured.")  # fmt: skip
@click.option("--decode-tokens-per-second", metavar="Y", type=_positive,
              help="Output tokens that one replica makes in a second with its batch full, as measured.")  # fmt: skip
@click.option("--max-concurrency", metavar="N", type=click.IntRange(min=1),
              help="Requests that one replica works on at once, as measured.")  # fmt: skip
@click.option("--decode-tokens-per-second-alone", metavar="Z", type=_positive,
              help="Output tokens in a second of a request that has the replica to itself. Defaults to its part of a "
              "full batch.")  # fmt: skip
@click.option("--target-seconds", metavar="S", type=_positive,
              help="Latency that requests should keep. Defaults to the stack's scaling.latency.target.")  # fmt: skip
@click.option("--share", "share_percent", metavar="PERCENT", type=click.FloatRange(0, 100, min_open=True),
              default=GOAL_PERCENT, show_default=True, help="Requests that should keep it, per cent.")  # fmt: skip
@click.option("--streaming", is_flag=True, help="Latency is that of the first token: the server streams its answers.")
@click.option("--rate", metavar="FACTOR", type=_positive, default=1.0, show_default=True,
              help="Multiplies the requests of each bin. Such a load is burstier than that of so many more users.")  # fmt: skip
@click.option("--input-tokens-per-request", metavar="N", type=_positive, help="For bins that do not know theirs.")
@click.option("--output-tokens-per-request", metavar="N", type=_positive, help="The same.")
@click.option("--initial-instances", metavar="N", type=click.IntRange(min=0),
              help="In service when the trace begins. Defaults to what the policies hold under the load of its first ten "
              "minutes.")  # fmt: skip
@click.option("--start", metavar="DATETIME",
              help="When the trace begins, as 2026-01-31T08:00+01:00: scaling.schedules follow from it.")  # fmt: skip
@click.option("--compare", "others", metavar="STACK", multiple=True, shell_complete=complete_stacks,
              help="Another stack on the same trace, in one table; repeatable.")  # fmt: skip
@click.option("--search", "searching", is_flag=True,
              help="Try targets, minima, periods and warm-ups; print the cheapest that keep the share.")  # fmt: skip
@click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw the replay as .png or .svg too.")
@catalog_option
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def simulate_command(
    stack: str,
    trace_file: Path,
    prefill_tokens_per_second: float | None,
    decode_tokens_per_second: float | None,
    max_concurrency: int | None,
    decode_tokens_per_second_alone: float | None,
    target_seconds: float | None,
    share_percent: float,
    streaming: bool,
    rate: float,
    input_tokens_per_request: float | None,
    output_tokens_per_request: float | None,
    initial_instances: int | None,
    start: str | None,
    others: tuple[str, ...],
    searching: bool,
    plot: Path | None,
    catalog_directory: Path | None,
    output: str,
) -> None:
    """What a stack's scaling policies make of a trace of requests: latency, cost, and what to change.

    Replays the arrivals against the planned policies, their alarms and the time that an instance takes to start. Speeds
    are those of one replica; they are measured, there is no default.

    \b
    Examples:
      gpufleet simulate -s prod-us-east-1 --trace day.csv --prefill-tokens-per-second 9000 --decode-tokens-per-second 1900 --max-concurrency 64
      gpufleet simulate -s prod-us-east-1 --trace day.csv --prefill-tokens-per-second 9000 --decode-tokens-per-second 1900 --max-concurrency 64 --streaming --target-seconds 2 --search
    """  # noqa: E501
    if others and (searching or plot):
        raise click.UsageError("--compare takes neither --search nor --plot")
    on_error = print_error if output == "json" else None
    with errors_for_people(on_error=on_error):
        speed = _speed(
            {
                "prefill_tokens_per_second": prefill_tokens_per_second,
                "decode_tokens_per_second": decode_tokens_per_second,
                "max_concurrency": max_concurrency,
            },
            decode_tokens_per_second_alone,
        )
        if plot:
            require_drawing(plot)
        catalog = opened_catalog(catalog_directory)
        unknown = TokensPerRequest(input_tokens_per_request, output_tokens_per_request)
        case = Case(_multiplied(read_trace(trace_file, unknown), rate), speed, share_percent / 100, initial_instances)
        window = _window(start, case.trace) if start else None
    plans = [
        _planned(name, lambda d: plan_deployment(parse_requirements(d), catalog), on_error) for name in (stack, *others)
    ]
    fleets = [
        settings_of(plan, name, "firstToken" if streaming else "response", window)
        for name, plan in zip((stack, *others), plans, strict=True)
    ]
    with errors_for_people(stack_source(stack), on_error):
        targets = [_target(target_seconds, plan) for plan in plans]
    if others:
        _answer_comparison(case, fleets, targets, output)
    elif searching:
        _answer_search(case, fleets[0], targets[0], output, plot)
    else:
        _answer(case, fleets[0], targets[0], left_out(plans[0], window), output, plot)


def _speed(given: dict[str, float | int | None], alone: float | None) -> Speed:
    """The speeds of a replica; a RequirementError that says of each missing one how it is measured."""
    missing = [
        Problem(speed.option, f"is missing: {speed.what}", allowed="a number; there is no default", next_step=MEASURE)
        for speed in SPEEDS
        if given[speed.parameter] is None
    ]
    if missing:
        raise RequirementError(missing)
    prefill, decode, most = (given[speed.parameter] or 0 for speed in SPEEDS)
    return Speed(float(prefill), float(decode), int(most), alone)


def _multiplied(trace: Trace, rate: float) -> Trace:
    return trace._replace(bins=tuple(Bin(*(rate * value for value in arrivals)) for arrivals in trace.bins))


def _window(start: str, trace: Trace) -> Window:
    """The time of the trace; a RequirementError where its start is none, or has no time zone."""
    try:
        begins = datetime.fromisoformat(start)
    except ValueError:
        begins = None
    if begins is None or begins.tzinfo is None:
        raise RequirementError(
            Problem("--start", "is no time with a time zone", start, "a date, a time and an offset from UTC",
                    "write it as 2026-01-31T08:00+01:00")
        )  # fmt: skip
    return Window(begins, len(trace.bins) * trace.bin_seconds)


def _planned(
    stack: str,
    plan: Callable[[dict[str, object]], DeploymentPlan],
    on_error: Callable[[PlanningError], NoReturn] | None,
) -> DeploymentPlan:
    with errors_for_people(stack_source(stack), on_error):
        return plan(stack_document(stack))


def _target(given: float | None, plan: DeploymentPlan) -> float:
    latency = plan.scaling.latency
    if given is None and latency is None:
        raise RequirementError(
            Problem(
                "scaling.latency",
                "is not set, so that no target is known that requests should keep",
                allowed="--target-seconds, or scaling.latency.target in the stack file",
                next_step="give --target-seconds, such as --target-seconds 2",
            )
        )
    return given if given is not None else latency.target_seconds if latency else 0.0


def _answer(
    case: Case, settings: Settings, target_seconds: float, notes: tuple[str, ...], output: str, plot: Path | None
) -> None:
    judged = case.judged(settings, target_seconds, sensitivity=True)
    advice = advise(judged.outcome, judged.yardsticks, case.run, target_seconds, case.goal)
    if plot:
        draw(judged.outcome, judged.yardsticks.clairvoyant, target_seconds, plot)
    if output == "json":
        _print_json({**judged.report.to_json_object(), "advice": advice, "notes": list(notes)})
        return
    from gpufleet.simulation.text_plot import ASCII, UNICODE, text_plot

    characters = UNICODE if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8" else ASCII
    panels = text_plot(judged.outcome, judged.yardsticks.clairvoyant, target_seconds, characters)
    click.echo(describe_report(judged.report, advice, notes, panels))


def _answer_comparison(case: Case, fleets: list[Settings], targets: list[float], output: str) -> None:
    pairs = zip(fleets, targets, strict=True)
    reports = [case.judged(settings, target, sensitivity=False).report for settings, target in pairs]
    if output == "json":
        _print_json({"stacks": [report.to_json_object() for report in reports]})
        return
    click.echo(describe_reports(reports))


def _answer_search(case: Case, settings: Settings, target_seconds: float, output: str, plot: Path | None) -> None:
    replayed = partial(replay, settings=settings, trace=case.trace, speed=case.speed)
    static = find_yardsticks(settings, case.trace, case.speed, replayed, target_seconds, case.goal).static
    found = _searched(case, settings, target_seconds, static.capacity[0] if static else None)
    judged = case.judged(found.best.settings, target_seconds, sensitivity=False)
    if plot:
        draw(judged.outcome, judged.yardsticks.clairvoyant, target_seconds, plot)
    if output == "json":
        changes = [{"key": c.key, "before": c.before, "written": written(c)} for c in found.changes]
        _print_json({"keepsTheShare": found.keeps, "changes": changes, "tried": found.tried,
                     "shareWithinBefore": round(found.before.share_within, 6), "report": judged.report.to_json_object()})  # fmt: skip
        return
    click.echo(describe_search(found, judged.report))


def _searched(case: Case, settings: Settings, target_seconds: float, enough: int | None) -> Found:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("Searching")
        return search(
            settings, case.run, target_seconds, case.goal,
            lambda tried: bars.update(task, description=f"Searching: {tried} settings tried"), enough,
        )  # fmt: skip


def _print_json(document: dict[str, object]) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
