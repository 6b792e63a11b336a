"""Published memory of diffusion pipelines as the planner's documents: tests/data/measured_diffusion_memory.csv, which came
with the project, and measured_diffusion_more.csv, read from the same posts and their benchmark tables."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.size import parse_size_requirements, size_replica

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"

TINY_VAE: dict[str, Any] = {
    "parameters": 2445063,
    "config": {"block_out_channels": [64, 64, 64, 64], "force_upcast": False},
}
"""madebyollin/taesd, an AutoencoderTiny."""

FLUX, SDXL = "black-forest-labs/FLUX.1-dev", "stabilityai/stable-diffusion-xl-base-1.0"

FLUX_FORMATS = {
    "BnB NF4": ("int4", "bitsandbytes"), "BnB 8-bit": ("int8", "bitsandbytes"), "torchao int4": ("int4", "torchao"),
    "quanto INT4": ("int4", "quanto"), "FP8 e4m3 layerwise": ("fp8", "layerwiseCasting"),
}  # fmt: skip

SAME_NOTEBOOK = (
    "the post's notebook runs its cases in one process; offloading, slicing and the tiny autoencoder follow a case whose UNet "
    "was compiled with CUDA graphs, and lie above what its earlier cases show by that UNet (4.8 GiB) or more, as if it were "
    "still on the GPU"
)
SECOND_ENCODER = "quantising SD3's second text encoder freed nothing there: the post's rows with and without it are equal to 0.01 GiB"
OUTSIDE = {
    "SDPA + model CPU offload": SAME_NOTEBOOK,
    "SDPA + sequential CPU offload": SAME_NOTEBOOK,
    "default + VAE slicing + sequential": SAME_NOTEBOOK,
    "default + VAE slicing": SAME_NOTEBOOK,
    "Tiny Autoencoder": SAME_NOTEBOOK,
    "+TE2": SECOND_ENCODER,
    "and TE2": SECOND_ENCODER,
    "quanto INT4": "the post's 12.25 GiB after loading are 5.7 bits for each of FLUX's weights, where Quanto's int4 has 4.25; "
    "its int4 rows of PixArt agree",
}
"""Rows that say something else than a law can, with the reason; they are scored apart."""


class Row(NamedTuple):
    """A published figure, and the planner's for the same."""

    pipeline: str
    what: str
    measure: str
    """allocated, reserved (PyTorch's two peaks), or resident: allocated after the run, so the weights."""
    published_gib: float
    planned_gib: float
    loaded_gib: float | None
    """What the post reports after loading; planned as `planned_loaded_gib`."""
    planned_loaded_gib: float
    role: str
    """fitted or held out."""
    outside: str = ""

    @property
    def error_gib(self) -> float:
        return self.planned_gib - self.published_gib


def rows() -> list[Row]:
    """Every row that reports a figure."""
    with (DATA / "measured_diffusion_memory.csv").open(encoding="utf-8", newline="") as file:
        found = [_of_file(row) for row in csv.DictReader(file) if row["peak_vram_gib"]]
    with (DATA / "measured_diffusion_more.csv").open(encoding="utf-8", newline="") as file:
        found += [_of_more(row) for row in csv.DictReader(file)]
    return found


def _of_file(row: dict[str, str]) -> Row:
    """The row as a document; what was measured by which call is told by the posts' own scripts."""
    model, dtype, notes = row["model"], row["dtype"], row["notes"]
    document: dict[str, Any] = {"model": {}, "serving": {"diffusion": {"imagesPerPrompt": int(row["batch"])}}}
    what = dtype
    if model == FLUX:
        name, (precision, method) = next((n, f) for n, f in FLUX_FORMATS.items() if dtype.startswith(n))
        document["model"] = {"precision": precision, "pipeline": {"quantization": method}}
        measure, what = "reserved", name
    elif model == SDXL:
        document["model"], measure, what = {"precision": "fp16"}, "allocated", notes.partition(";")[0]
        document["serving"]["diffusion"] |= _sdxl_options(notes)
        if "Tiny Autoencoder" in notes:
            document["model"]["pipeline"] = {"components": {"vae": TINY_VAE}}
    elif "sd3.md" in row["source_url"]:
        document["model"], measure, what = {"precision": "fp16"}, "allocated", notes.partition(";")[0]
        if "offload" in notes.lower():
            document["serving"]["diffusion"]["offload"] = "model"
        if "text_encoder_3=None" in notes:
            document["model"]["pipeline"] = {"components": {"text_encoder_3": None}}
    else:
        document["model"], measure = _quanto(dtype), "resident"
    return _row(model, document, measure, float(row["peak_vram_gib"]), what, notes, "held out")


def _sdxl_options(notes: str) -> dict[str, Any]:
    if "model CPU offload" in notes:
        return {"offload": "model"}
    if "sequential CPU offload" in notes:
        return {"offload": "sequential"}
    # With precomputed embeddings the notebook's list of text encoders still holds them.
    return {"attention": "full"} if "default attention processor" in notes else {}


def _quanto(dtype: str) -> dict[str, Any]:
    """SD3 and PixArt-Sigma, quantised by Quanto itself."""
    names = {"transformer": "transformer", "TE1": "text_encoder", "TE2": "text_encoder_2", "TE3": "text_encoder_3",
             "TE": "text_encoder"}  # fmt: skip
    precision = "int4" if dtype.startswith("INT4") else "fp8" if dtype.startswith("FP8") else None
    taken = re.findall(r"\b(transformer|TE\d?)\b", dtype) if precision else []
    quantized = {names[n]: {"precision": precision, "quantization": "quanto"} for n in taken}
    return {"precision": "bf16" if "BF16" in dtype else "fp16", "pipeline": {"components": quantized}}


def _of_more(row: dict[str, str]) -> Row:
    document = {"model": {}, **json.loads(row["document"])}
    return _row(row["model"], document, row["measure"], float(row["gib"]), row["notes"], row["notes"], row["role"])


def _row(model: str, document: dict[str, Any], measure: str, published: float, what: str, notes: str, role: str) -> Row:
    document["model"]["id"] = model
    size = size_replica(parse_size_requirements({**document, "gpu": {"name": "H200"}}), load_catalog())
    assert size.memory is not None
    pipeline = size.memory.pipeline
    assert pipeline is not None
    weights = sum(component.weights_gib for component in pipeline.components)
    planned = {"allocated": pipeline.peak_allocated_gib, "reserved": pipeline.peak_reserved_gib, "resident": weights}
    loaded = re.search(r"(?:after loading:|loaded) (\d+\.\d+)", notes)
    return Row(
        pipeline=model.rpartition("/")[2], what=what, measure=measure, published_gib=published,
        planned_gib=planned[measure], loaded_gib=float(loaded[1]) if loaded else None, planned_loaded_gib=weights, role=role,
        outside=next((why for part, why in OUTSIDE.items() if part in what), ""),
    )  # fmt: skip
