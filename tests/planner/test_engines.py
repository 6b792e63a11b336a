"""Engines: laws by version, defaults by card, and how a checkpoint comes to a precision."""

from __future__ import annotations

from typing import Any

import pytest

from gpufleet.planner.architecture import resolve_architecture
from gpufleet.planner.engines import ENGINES, VLLM, batch_defaults, load_arguments, parse_version, version_of_image

CONFIG = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "intermediate_size": 11008, "vocab_size": 32000, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize(
    ("version", "since"),
    [
        ("0.6.4", (0,)),
        ("0.8.5", (0, 8)),
        ("0.16.0", (0, 10)),
        ("0.17.0", (0, 17)),
        ("0.19.0", (0, 19)),
        ("0.32.0", (0, 19)),
    ],
)
def test_the_law_is_the_newest_that_is_not_younger(version: str, since: tuple[int, ...]) -> None:
    assert VLLM.law(version).since == since


def test_laws_are_newest_first_and_reach_back_to_the_start() -> None:
    for engine in ENGINES.values():
        found = [law.since for law in engine.laws]
        assert found == sorted(found, reverse=True)
        assert found[-1] == (0,)


@pytest.mark.parametrize(
    ("gpu", "usable_gib", "expected"),
    [
        ("H100", 79.2, (1024, 8192)),
        ("A100", 79.2, (256, 2048)),
        ("L4", 22.05, (256, 2048)),
        ("H200", 139.8, (1024, 8192)),
    ],
)
def test_defaults_by_card(gpu: str, usable_gib: float, expected: tuple[int, int]) -> None:
    found = batch_defaults(gpu_name=gpu, usable_memory_mib=int(usable_gib * 1024))
    assert (found.max_num_seqs, found.max_num_batched_tokens) == expected


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.19.0", "0.19.0"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/vllm:0.18.1-cu128", "0.18.1"),
        ("localhost:5000/vllm", None),
        ("localhost:5000/vllm:v0.17.0@sha256:abc", "0.17.0"),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai:nightly-0.19.0", None),
        ("vllm/vllm-openai", None),
    ],
)
def test_the_version_in_a_tag(image: str, version: str | None) -> None:
    assert version_of_image(image) == version


def test_versions_are_numbers() -> None:
    assert parse_version("0.8.5.dev169") == (0, 8, 5)
    assert parse_version("0.10.0") > parse_version("0.9.2")


def arguments(precision: str, **config: Any) -> tuple[str, str] | None:
    return load_arguments(
        VLLM, precision, resolve_architecture(model_id="acme/own", parameters=None, config=CONFIG | config)
    )


def test_sixteen_bit_weights_can_be_made_into_what_the_engine_makes() -> None:
    found = {p: arguments(p) for p in ("fp32", "fp16", "bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4")}
    assert found == {
        "fp32": ("--dtype", "float32"),
        "fp16": ("--dtype", "float16"),
        "bf16": ("--dtype", "bfloat16"),
        "fp8": ("--quantization", "fp8"),
        "int8": None,
        "int4": ("--quantization", "bitsandbytes"),
        "mxfp4": None,
        "nvfp4": None,
    }


def test_a_quantised_checkpoint_is_loaded_as_it_is() -> None:
    quantized = {"quant_method": "compressed-tensors", "format": "int-quantized"}
    assert arguments("int8", quantization_config=quantized) == ("--dtype", "auto")
    assert arguments("fp16", quantization_config=quantized) is None
    assert arguments("int4", quantization_config=quantized) is None
