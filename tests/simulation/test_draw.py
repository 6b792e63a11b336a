"""Pictures and panels of a replay."""

from __future__ import annotations

import builtins

import pytest

from gpufleet.planner.errors import RequirementError
from gpufleet.simulation.draw import draw
from gpufleet.simulation.simulate import simulate
from gpufleet.simulation.text_plot import ASCII, UNICODE, WIDTH, text_plot
from gpufleet.simulation.yardsticks import Yardstick
from tests.simulation.outcomes import SPEED, settings, stepping, trace

RATES = [4.0] * 100 + [30.0] * 200
OUTCOME = simulate(settings(stepping=stepping()), trace(RATES), SPEED)
CLAIRVOYANT = Yardstick((1,) * 90 + (4,) * 210, 9300.0, 1.0)


def panels(text):
    """The lines of each panel, by its title."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines()[:-1]:
        if line.startswith("  |"):
            found[title].append(line[3:])  # noqa: F821 - a title comes first
        else:
            title = line.partition(",")[0]
            found[title] = []
    return found


def test_the_panels_show_load_capacity_latency_and_alarms():
    text = text_plot(OUTCOME, CLAIRVOYANT, 4.0, UNICODE)
    found = panels(text)
    assert {"arrivals", "instances in service", "instances of the clairvoyant", "p95 latency"} <= set(found)
    assert {name.removeprefix("alarm ") for name in found if name.startswith("alarm ")} == {
        alarm for moment in OUTCOME.moments for alarm in moment.alarms
    }
    assert all(len(line) <= WIDTH for lines in found.values() for line in lines)
    top, bottom = found["arrivals"][0], found["arrivals"][-1]
    assert top.strip()
    assert top.index(top.strip()[0]) == pytest.approx(WIDTH / 3, abs=1)
    assert " " not in bottom
    assert f"arrivals, requests/s, at most {max(RATES):g}" in text
    assert text.splitlines()[-1].endswith(f"{len(RATES) * 10 / 3600:.2f} h")


def test_plain_terminals_get_plain_characters():
    assert text_plot(OUTCOME, CLAIRVOYANT, 4.0, ASCII).isascii()


def test_a_short_trace_has_a_column_for_each_bin():
    short = simulate(settings(), trace([4.0] * 7), SPEED)
    assert [len(line) for line in panels(text_plot(short, None, 4.0, UNICODE))["instances in service"]] == [7] * 5


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_same_outcome_gives_the_same_picture(tmp_path, suffix, begins):
    for name in ("a", "b"):
        draw(OUTCOME, CLAIRVOYANT, 4.0, tmp_path / f"{name}{suffix}")
    first = (tmp_path / f"a{suffix}").read_bytes()
    assert first.startswith(begins)
    assert first == (tmp_path / f"b{suffix}").read_bytes()


def test_an_outcome_without_latencies_and_alarms_is_drawn_too(tmp_path):
    draw(simulate(settings(), trace([0.0] * 6), SPEED), None, 4.0, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000


@pytest.mark.parametrize(("name", "says"), [("a.pdf", ".png or .svg"), ("none/a.png", "there is no such folder")])
def test_a_picture_that_cannot_be_written_says_why(tmp_path, name, says):
    with pytest.raises(RequirementError, match=says):
        draw(OUTCOME, None, 4.0, tmp_path / name)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(RequirementError, match=r"gpufleet\[plot\]"):
        draw(OUTCOME, None, 4.0, tmp_path / "a.png")
