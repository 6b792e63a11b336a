"""Published memory of diffusion pipelines against the planner's: the scores of docs/diffusion.md, and their bounds."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.accuracy_diffusion import PAGE, with_tables
from benchmarks.measured_diffusion import FLUX, OUTSIDE, rows
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.size import parse_size_requirements, size_replica

ROWS = rows()
INSIDE = [row for row in ROWS if row.role == "held out" and not row.outside]


def share(row):
    return abs(row.error_gib) / row.published_gib


def test_the_page_has_the_scores_of_these_rows():
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page


def test_every_published_figure_is_scored_and_few_are_set_apart():
    assert len(ROWS) == 44
    assert sum(row.role == "fitted" for row in ROWS) == 2
    assert len(INSIDE) == 32
    assert {row.outside for row in ROWS if row.outside} == set(OUTSIDE.values())


def test_held_out_rows_are_met():
    assert statistics.median(map(share, INSIDE)) < 0.02
    assert sorted(map(share, INSIDE))[int(0.9 * len(INSIDE))] < 0.05
    assert max(map(share, INSIDE)) < 0.17
    assert min(row.error_gib for row in INSIDE) > -1.1


@pytest.mark.parametrize("pipeline", sorted({row.pipeline for row in INSIDE}))
def test_no_pipeline_is_far_off(pipeline):
    found = [share(row) for row in INSIDE if row.pipeline == pipeline]
    # The two rows of SD 1.4 are of a V100, where convolutions in fp16 seem to need less room: planned above what they took.
    assert statistics.median(found) < (0.11 if pipeline == "stable-diffusion-v1-4" else 0.03)


def test_weights_after_loading_follow_from_the_format():
    found = [row for row in ROWS if row.loaded_gib and not row.outside]
    errors = [abs(row.planned_loaded_gib - row.loaded_gib) / row.loaded_gib for row in found]
    assert len(found) == 11
    assert statistics.median(errors) < 0.025
    assert max(errors) < 0.08


def test_a_run_that_was_out_of_memory_does_not_fit():
    """FLUX.1 in 16 bits on cards of 24 GB: a worker with 23.54 GiB, and an RTX 4090."""
    for memory_mib in (23.54 * 1024, 24_564):
        document = {"model": {"id": FLUX}, "gpu": {"memoryMiB": memory_mib}, "serving": {"gpuMemoryUtilization": 0.99}}
        found = size_replica(parse_size_requirements(document), load_catalog())
        assert not found.fits
        assert "over the budget" in found.reasons[0]


def test_a_run_that_worked_fits():
    """SDXL with 4 images on an A100 of 40 GB, and FLUX.1 in every format on an H100: every row of these cards."""
    worked = [
        ({"id": "stabilityai/stable-diffusion-xl-base-1.0", "precision": p}, "A100-40GB") for p in ("fp16", "fp32")
    ]
    worked += [({"id": FLUX, "precision": p}, "H100") for p in ("bf16", "fp8", "int8", "int4")]
    for model, card in worked:
        document = {"model": model, "gpu": {"name": card}, "serving": {"diffusion": {"imagesPerPrompt": 4}}}
        assert size_replica(parse_size_requirements(document), load_catalog()).fits
