"""The planner's memory against what servers logged: the bounds that are asked of it, and the page that tells its score."""

from __future__ import annotations

import pytest

from benchmarks import scores
from benchmarks.accuracy import PAGE, PLOT, REASONS, UNDERESTIMATED, page_with_tables, parts
from benchmarks.measured import FURTHER, SHARED, Start, starts
from benchmarks.scores import Summary

PARTS = parts()
EVERY = [*starts(SHARED), *starts(FURTHER)]


@pytest.fixture(params=PARTS, ids=["all", "fitted", "held-out", "further"])
def rows(request: pytest.FixtureRequest) -> list[Start]:
    """All rows of the shared file, those of models that a constant was set on, all others, and the further logs."""
    return PARTS[request.param]


def test_the_parts_are_those_of_the_files() -> None:
    whole, fitted, held_out, further = PARTS.values()
    assert len(whole) == len(fitted) + len(held_out) >= 75
    assert {s.model for s in fitted}.isdisjoint(s.model for s in held_out)
    assert {s.id for s in further}.isdisjoint(s.id for s in whole)
    assert len(further) >= 12


def test_weights(rows: list[Start]) -> None:
    errors = scores.weight_errors(rows)
    assert len(errors) >= 10
    assert Summary.of(errors).median <= 0.01
    assert scores.share_within(errors, 0.03) >= 0.95


def test_tokens_of_the_logged_cache(rows: list[Start]) -> None:
    errors = scores.token_errors(rows)
    assert len(errors) >= 5
    assert Summary.of(errors).median <= 0.02
    assert scores.share_within(errors, 0.06) >= 0.9


def test_recent_text_models(rows: list[Start]) -> None:
    """Weights + activations + non-torch memory of vLLM 0.17 and later."""
    errors = scores.total_errors(scores.recent_text(rows))
    assert len(errors) >= 4
    assert Summary.of(errors).median <= 0.25
    assert scores.share_within(errors, 0.8) >= 0.9
    assert Summary.of(errors).lowest > -1.0


def test_all_other_rows(rows: list[Start]) -> None:
    """Older versions and models with images; what is under-estimated by more has its reason on the page."""
    errors = scores.total_errors(scores.others(rows))
    assert len(errors) >= 7
    assert Summary.of(errors, by_model=False).median <= 1.0
    assert {e.start.id for e in errors if e.value < UNDERESTIMATED} <= set(REASONS)


def test_starts_that_worked_are_accepted(rows: list[Start]) -> None:
    worked, _ = scores.judged(rows)
    assert len(worked) >= 9
    assert len(scores.accepted(worked)) >= 0.95 * len(worked)


def test_no_start_that_failed_is_accepted() -> None:
    _, failed = scores.judged(EVERY)
    assert len(failed) >= 14
    # A virtual GPU, whose host keeps 4 GiB that the driver reports; nothing but the card's name tells.
    assert [s.id for s in scores.accepted(failed)] == ["M113"]


def test_a_pipeline_s_stages_are_those_that_were_logged() -> None:
    """Llama-3.1-8B in four stages on 0.19: weights 4.26, 3.28, 3.28, 4.26 and activations 1.1, 1.05, 1.05, 2.01 GiB."""
    (start,) = (s for s in EVERY if s.id == "M026")
    stages = scores.estimate_stages(start.architecture, scores.VLLM, start.shape, usable_memory_mib=81_000)
    assert [round(m.weights_gib, 2) for m in stages] == [4.26, 3.28, 4.26]
    assert [m.activations_gib for m in stages] == pytest.approx([1.1, 1.05, 2.01], abs=0.05)


def test_every_reason_is_of_a_row() -> None:
    assert set(REASONS) <= {s.id for s in EVERY}


def test_the_page_tells_the_score_of_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with_tables(page) == page, "run: make accuracy"
    assert "not known |" not in page, "an exception has no reason in benchmarks/accuracy.py"


def test_the_picture_is_of_these_rows() -> None:
    compared = [s for s in EVERY if s.total_gib is not None]
    assert f"{len(compared)} starts of vLLM" in PLOT.read_text(encoding="utf-8")
