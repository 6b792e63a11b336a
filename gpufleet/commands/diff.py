"""`gpufleet diff`: what a change does to the stacks, for whoever reviews it. Thin: the work is `gpufleet.review`'s."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from gpufleet.commands.inputs import complete_stacks, fail
from gpufleet.planner.errors import list_names, nearest
from gpufleet.review.compare import compare
from gpufleet.review.comparison import Comparison
from gpufleet.review.document import as_json
from gpufleet.review.gates import with_gates
from gpufleet.review.markdown import as_markdown
from gpufleet.review.risks import KINDS, MIN_HEADROOM_PERCENT
from gpufleet.review.sides import Side, SideError, merge_base, resolve, take
from stacks.config import STACKS_DIRECTORY

GATE_STATUS = 3
"""Exit status when a gate is failed; 1 is an error, 2 a wrong call."""

WRITTEN: dict[str, Callable[[Comparison], str]] = {
    ".md": as_markdown,
    ".json": lambda comparison: json.dumps(as_json(comparison), indent=2, ensure_ascii=False),
}
"""What --write can write, by the file's ending."""


class RiskKinds(click.ParamType[frozenset[str]]):
    """Kinds of risk, separated by commas."""

    name = "risks"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[str]:
        kinds = frozenset(kind.strip() for kind in str(value).split(",") if kind.strip())
        if kinds == {"any"}:
            return frozenset(KINDS)
        if unknown := sorted(kinds - set(KINDS)):
            near = nearest(unknown[0], KINDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.fail(f"{unknown[0]} is no kind of risk{hint} Known: any, {list_names(KINDS)}.", param, ctx)
        return kinds


@click.command(epilog="\n".join(["\b", "Risks:", *(f"  {kind:12} {meaning}" for kind, meaning in KINDS.items())]))
@click.argument("base")
@click.argument("head", required=False)
@click.option(
    "-s", "--stack", "stacks", metavar="STACK", multiple=True, shell_complete=complete_stacks,
    help="Only this stack; may be repeated.",
)  # fmt: skip
@click.option("--merge-base", "from_merge_base", is_flag=True, help="Compare with the commit where HEAD left BASE.")
@click.option(
    "--format", "output", type=click.Choice(["table", "markdown", "json"]), default="table", help="Defaults to table."
)
@click.option("--files", "with_files", is_flag=True, help="Show the lines of rendered files in the table, too.")
@click.option(
    "--write", "written", metavar="FILE", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
    help="Write the comparison there too, as Markdown (.md) or JSON (.json); may be repeated.",
)  # fmt: skip
@click.option(
    "--min-headroom", metavar="PERCENT", type=click.FloatRange(0, 100), default=MIN_HEADROOM_PERCENT,
    help=f"Call it a risk when less of a GPU's memory budget is left. Defaults to {MIN_HEADROOM_PERCENT:g}.",
)  # fmt: skip
@click.option(
    "--max-monthly-increase", metavar="USD", type=click.FloatRange(0),
    help="Fail when all stacks together cost more than this per month on top, at any size of the fleets.",
)  # fmt: skip
@click.option(
    "--fail-on", metavar="RISKS", type=RiskKinds(), default="",
    help="Fail when one of these risks is called, separated by commas; any for all of them.",
)  # fmt: skip
def diff(
    base: str,
    head: str | None,
    stacks: tuple[str, ...],
    from_merge_base: bool,
    output: str,
    with_files: bool,
    written: tuple[Path, ...],
    min_headroom: float,
    max_monthly_increase: float | None,
    fail_on: frozenset[str],
) -> None:
    """What a change does to the stacks: the machine, the money and the risk.

    BASE and HEAD are git revisions, directories, or files that `gpufleet plan --format json` wrote. Without HEAD, this
    checkout as it is. Each side is planned and its program run with its own code; no account is asked.

    Exit status: 0; 1 where something could not be compared or a stack of HEAD is broken; 3 where a gate
    (--max-monthly-increase, --fail-on) fails.

    \b
    Examples:
      gpufleet diff main
      gpufleet diff main my-branch --merge-base -s prod-eu-west-1
      gpufleet diff HEAD~1 HEAD --format markdown > comment.md
      gpufleet diff main --max-monthly-increase 500 --fail-on replacement,public
      gpufleet diff before.json after.json
    """
    for file in written:
        if file.suffix not in WRITTEN:
            raise click.BadParameter(f"{file} must end with {' or '.join(WRITTEN)}", param_hint="--write")
    try:
        comparison = with_gates(
            _compared(base, head, stacks, from_merge_base, min_headroom),
            fail_on=fail_on,
            max_monthly_increase_usd=max_monthly_increase,
        )
    except SideError as error:
        fail(str(error))
    for file in written:
        _write(file, WRITTEN[file.suffix](comparison))
    _show(comparison, output, with_files)
    if comparison.failed_gates:
        click.echo("\n".join(f"failed: {gate}" for gate in comparison.failed_gates), err=True)
    if comparison.broken:
        click.echo(f"error: {', '.join(comparison.broken)} cannot be applied at {comparison.head}", err=True)
    raise SystemExit(1 if comparison.broken else GATE_STATUS if comparison.failed_gates else 0)


def _compared(
    base: str, head: str | None, stacks: tuple[str, ...], from_merge_base: bool, min_headroom_percent: float
) -> Comparison:
    project = STACKS_DIRECTORY.parent
    sources = (resolve(base, project), resolve(head if head is not None else str(project), project))
    if from_merge_base:
        sources = (merge_base(*sources), sources[1])
    click.echo(f"Comparing {sources[0].label} with {sources[1].label}", err=True)
    with SideProgress() as progress:
        old, new = take(sources, stacks, progress)
    _require_known(stacks, old, new)
    return compare(old, new, min_headroom_percent=min_headroom_percent)


class SideProgress:
    """Bars that fill while both sides plan their stacks; without a terminal, a line when a side is done."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(console=self._console, transient=True, disable=not self._console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Callable[[str, int, int], None]:
        self._bars.start()
        return self._step

    def __exit__(self, *details: object) -> None:
        self._bars.stop()

    def _step(self, label: str, done: int, count: int) -> None:
        """Another stack of a side is done."""
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=count)
        self._bars.update(self._tasks[label], completed=done)
        if done == count and not self._console.is_terminal:
            click.echo(f"  {label}: {count} {'stack' if count == 1 else 'stacks'} planned", err=True)


def _require_known(stacks: tuple[str, ...], *sides: Side) -> None:
    known = sorted({name for side in sides for name in side.known})
    for stack in stacks:
        if stack not in known:
            near = nearest(stack, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {list_names(known)}"
            raise SideError(f"neither side has a stack {stack}; {hint}")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _show(comparison: Comparison, output: str, with_files: bool) -> None:
    if output == "markdown":
        click.echo(as_markdown(comparison))
    elif output == "json":
        click.echo(WRITTEN[".json"](comparison))
    else:
        from gpufleet.review.terminal import print_comparison

        print_comparison(comparison, with_files=with_files)
