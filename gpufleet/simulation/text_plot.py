"""A replay as panels of text: load, capacity, latency and alarms over time.

Owns the characters. Blocks of Unicode where the terminal shows them, else ASCII.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gpufleet.simulation.model import Moment, Outcome
from gpufleet.simulation.yardsticks import Yardstick

WIDTH = 72
HEIGHT = 5


class Characters(NamedTuple):
    """What is drawn with: levels of one cell from empty to full, and marks."""

    levels: str
    alarm: str
    quiet: str


UNICODE = Characters(" ▁▂▃▄▅▆▇█", "█", "·")
ASCII = Characters(" .:|#", "#", "-")


def text_plot(outcome: Outcome, clairvoyant: Yardstick | None, target_seconds: float, characters: Characters) -> str:
    """Panels as wide as a terminal: each column is a stretch of time, with its highest value."""
    moments = outcome.moments
    bin_seconds = outcome.trace.bin_seconds
    panels = [
        _panel("arrivals, requests/s", _columns([m.arrivals / bin_seconds for m in moments]), characters),
        _panel("instances in service", _columns([float(m.in_service) for m in moments]), characters),
        _panel("instances starting", _columns([float(m.starting) for m in moments]), characters, height=2),
    ]
    if clairvoyant:
        needed = _columns([float(n) for n in clairvoyant.capacity])
        panels.append(_panel("instances of the clairvoyant", needed, characters))
    panels.append(_panel("requests waiting", _columns([m.waiting_requests for m in moments]), characters, height=2))
    latency = _columns([m.latency_seconds.get("p95") or 0.0 for m in moments])
    panels.append(_panel(f"p95 latency, s (target {target_seconds:g})", latency, characters))
    panels += [_alarm(name, moments, characters) for name in sorted({a for m in moments for a in m.alarms})]
    return "\n".join([*panels, _axis(len(moments) * bin_seconds)])


def _columns(values: Sequence[float], pick: Callable[[Sequence[float]], float] = max) -> list[float]:
    """One value for each column; a short trace has fewer columns."""
    width = min(WIDTH, len(values))
    edges = [round(i * len(values) / width) for i in range(width + 1)] if width else []
    return [pick(values[low:high]) for low, high in itertools.pairwise(edges)]


def _panel(title: str, values: Sequence[float], characters: Characters, height: int = HEIGHT) -> str:
    top = max(values, default=0.0)
    steps = len(characters.levels) - 1
    # Anything above nothing shows at least as the lowest level.
    heights = [max(1, round(v / top * height * steps)) if top and v > 0 else 0 for v in values]
    lines = [f"{title}, at most {top:,.4g}"]
    for row in reversed(range(height)):
        lines.append("  |" + "".join(characters.levels[min(max(h - row * steps, 0), steps)] for h in heights).rstrip())
    return "\n".join(lines)


def _alarm(name: str, moments: Sequence[Moment], characters: Characters) -> str:
    on = _columns([float(name in m.alarms) for m in moments])
    return f"alarm {name}\n  |" + "".join(characters.alarm if value else characters.quiet for value in on)


def _axis(seconds: float) -> str:
    start, middle, end = (f"{seconds * part / 3600:.2f} h" for part in (0, 0.5, 1))
    return f"   {start}{middle:^{WIDTH - len(start) - len(end)}}{end}"
