"""A replay as a picture: load, capacity, latency and alarms over time, in panels one above the other.

Owns the drawing; the same outcome gives the same bytes. matplotlib is an extra of the package, imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.simulation.model import Outcome
from gpufleet.simulation.yardsticks import Yardstick

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg")
WIDTH_INCHES = 10.0
PANEL_INCHES = 1.9
ALARM_INCHES = 0.28
"""For each alarm that was on."""
BLUE, ORANGE, GREY, RED = "#0b5cad", "#d9730d", "#8a929c", "#c0392b"


def require_drawing(path: Path) -> None:
    """Before anything is simulated: that the picture can be made.

    Raises:
        RequirementError: another suffix, no such folder, or no matplotlib.
    """
    if path.suffix not in SUFFIXES:
        raise RequirementError(
            Problem("--plot", "the picture's format is told by the file's name", str(path), " or ".join(SUFFIXES))
        )
    if not path.absolute().parent.is_dir():
        raise RequirementError(Problem("--plot", "there is no such folder", str(path.parent)))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise RequirementError(
            Problem("--plot", "pictures need matplotlib, which the extra `plot` brings", str(path),
                    next_step="pip install 'gpufleet[plot]', or leave --plot: the text shows the same panels")
        ) from None  # fmt: skip


def draw(outcome: Outcome, clairvoyant: Yardstick | None, target_seconds: float, path: Path) -> None:
    """Writes the picture; a RequirementError as of `require_drawing`."""
    require_drawing(path)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    alarms = sorted({alarm for moment in outcome.moments for alarm in moment.alarms})
    heights = [PANEL_INCHES] * 4 + [0.25 + ALARM_INCHES * max(1, len(alarms))]
    with matplotlib.rc_context({"svg.hashsalt": "gpufleet", "font.family": "sans-serif", "font.size": 9}):
        figure, axes = pyplot.subplots(
            len(heights), 1, sharex=True, figsize=(WIDTH_INCHES, sum(heights) + 0.9), height_ratios=heights
        )
        hours = [moment.second / 3600 for moment in outcome.moments]
        _load(axes[0], hours, outcome)
        _capacity(axes[1], hours, outcome, clairvoyant)
        _queue(axes[2], hours, outcome)
        _latency(axes[3], hours, outcome, target_seconds)
        _alarms(axes[4], hours, outcome, alarms)
        for panel in axes:
            _tidy(panel)
        axes[-1].set_xlabel("hours from the start of the trace")
        figure.suptitle(f"{outcome.settings.name} on {outcome.trace.name}", x=0.01, ha="left", fontsize=11)
        figure.tight_layout()
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, metadata=metadata, dpi=110)
        pyplot.close(figure)


def _load(panel: Axes, hours: Sequence[float], outcome: Outcome) -> None:
    rates = [moment.arrivals / outcome.trace.bin_seconds for moment in outcome.moments]
    panel.plot(hours, rates, color=GREY, linewidth=0.7)
    panel.set_ylabel("requests/s")
    panel.set_title("Arrivals", loc="left", fontsize=9)


def _capacity(panel: Axes, hours: Sequence[float], outcome: Outcome, clairvoyant: Yardstick | None) -> None:
    from matplotlib.ticker import MaxNLocator

    serving = [moment.in_service for moment in outcome.moments]
    total = [moment.in_service + moment.starting for moment in outcome.moments]
    panel.fill_between(hours, serving, total, step="pre", color=ORANGE, alpha=0.35, linewidth=0, label="starting")
    panel.step(hours, serving, where="pre", color=BLUE, linewidth=1.2, label="in service")
    if clairvoyant:
        needed = clairvoyant.capacity[: len(hours)]
        panel.step(
            hours[: len(needed)], needed, where="pre", color=GREY, linewidth=1, linestyle="--", label="clairvoyant"
        )
    panel.set_ylim(bottom=0)
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_ylabel("instances")
    panel.set_title("Capacity", loc="left", fontsize=9)
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0)


def _queue(panel: Axes, hours: Sequence[float], outcome: Outcome) -> None:
    running = [moment.running_requests for moment in outcome.moments]
    waiting = [moment.waiting_requests for moment in outcome.moments]
    panel.stackplot(hours, running, waiting, colors=[BLUE, RED], alpha=0.6, labels=["running", "waiting"], linewidth=0)
    panel.set_ylabel("requests")
    panel.set_title("In the servers", loc="left", fontsize=9)
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0)


def _latency(panel: Axes, hours: Sequence[float], outcome: Outcome, target_seconds: float) -> None:
    for percentile, colour in (("p99", ORANGE), ("p50", BLUE)):
        known = list(_known(hours, outcome, percentile))
        if known:
            panel.plot(*zip(*known, strict=True), color=colour, linewidth=0.8, label=percentile)
    panel.axhline(target_seconds, color=RED, linewidth=1, linestyle="--", label=f"target {target_seconds:g} s")
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_ylabel("seconds")
    panel.set_title("Latency of the requests that ended", loc="left", fontsize=9)
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, borderaxespad=0)


def _known(hours: Sequence[float], outcome: Outcome, percentile: str) -> Iterator[tuple[float, float]]:
    for hour, moment in zip(hours, outcome.moments, strict=True):
        seconds = moment.latency_seconds.get(percentile)
        if seconds:
            yield hour, seconds


def _alarms(panel: Axes, hours: Sequence[float], outcome: Outcome, names: Sequence[str]) -> None:
    width = outcome.trace.bin_seconds / 3600
    for place, name in enumerate(names):
        on = [
            (hour - width, width) for hour, moment in zip(hours, outcome.moments, strict=True) if name in moment.alarms
        ]
        # Scaling in is everyday; what asks for capacity stands out.
        panel.broken_barh(on, (place - 0.3, 0.6), color=GREY if name.endswith(" low") else RED, linewidth=0)
    panel.set_ylim(-0.6, max(1, len(names)) - 0.4)
    panel.set_yticks(range(len(names)), list(names))
    panel.set_title("Alarms" if names else "Alarms: none", loc="left", fontsize=9)


def _tidy(panel: Any) -> None:
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.grid(axis="x", color="#e6e8eb", linewidth=0.8)
    panel.margins(x=0)
    panel.set_axisbelow(True)
