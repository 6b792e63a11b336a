"""docs/scaling.md tells what the shipped defaults do now."""

from __future__ import annotations

import pytest

from benchmarks import scaling
from tests.simulation.fleets import TRACES

PAGE = scaling.PAGE.read_text(encoding="utf-8")
HERE = [name for name in scaling.RECORDED if (TRACES / f"{name}.csv").is_file()]


def test_there_are_recorded_traces_to_check_by():
    assert HERE


@pytest.mark.parametrize("name", HERE)
def test_the_page_has_the_row_of_now(name, monkeypatch):
    """Of the traces of an hour; a day takes too long here."""
    monkeypatch.setattr(scaling, "TRACES", TRACES)
    assert scaling.row(name) in PAGE.splitlines(), "run: make scaling"


def test_the_page_has_a_row_for_every_trace_and_its_picture():
    for name in (*scaling.RECORDED, *scaling.MADE):
        assert f"| `{name.removesuffix('_10s')}` |" in PAGE
    assert scaling.PLOT.is_file()
    assert scaling.PLOT.name in PAGE
