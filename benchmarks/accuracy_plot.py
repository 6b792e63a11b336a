"""The picture of the accuracy report: errors of this planner and of others on the same starts.

Owns the drawing; the same rows give the same bytes. Leaves errors to `scores`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks import scores
from benchmarks.measured import FURTHER, SHARED, Start, starts
from benchmarks.other_planners import PLANNERS

WIDTH_INCHES, HEIGHT_INCHES = 9.0, 4.6
OURS = "gpufleet"
COLOURS = {OURS: "#0b5cad", "others": "#b9bec6"}
SHOWN_GIB = 20.0
"""Errors beyond this are drawn at the edge."""


def draw(path: Path) -> None:
    """Writes the picture, as SVG or PNG by the path's suffix."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {"svg.hashsalt": "gpufleet", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}
    with matplotlib.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(WIDTH_INCHES, HEIGHT_INCHES))
        rows = [s for s in (*starts(SHARED), *starts(FURTHER)) if s.total_gib is not None]
        planners: dict[str, Callable[[Start], float] | None] = {OURS: None, **PLANNERS}
        for place, (name, predicted) in enumerate(reversed(planners.items())):
            errors = [e.value for e in scores.total_errors(rows, predicted)]
            shown = [max(-SHOWN_GIB, min(SHOWN_GIB, e)) for e in errors]
            # A row's dot keeps its place above or below the line, so that equal errors do not hide each other.
            heights = [place + 0.3 * (index % 7 - 3) / 3 for index in range(len(shown))]
            colour = COLOURS.get(name, COLOURS["others"])
            axes.scatter(shown, heights, s=16, color=colour, alpha=0.75, linewidths=0)
            median = statistics.median(abs(e) for e in errors)
            axes.text(SHOWN_GIB + 0.6, place, f"{median:.2f} GiB", va="center", color="#333333")
        axes.axvline(0, color="#333333", linewidth=0.8)
        axes.set_yticks(range(len(planners)), list(reversed(planners)))
        axes.set_xlim(-SHOWN_GIB - 0.5, SHOWN_GIB + 0.5)
        axes.set_xlabel("predicted − logged weights + activations + non-torch memory, GiB per GPU (under ← → over)")
        axes.set_title(
            f"{len(rows)} starts of vLLM that others logged; right: median size of the error", loc="left", fontsize=10
        )
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#e6e8eb", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.tight_layout()
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, metadata=metadata, dpi=120)
        pyplot.close(figure)
