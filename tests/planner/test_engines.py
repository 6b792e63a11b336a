"""Engines: laws by version, defaults by card, and how a checkpoint comes to a precision."""

from __future__ import annotations

from typing import Any

import pytest

from gpufleet.planner.activations import sampler_of
from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.engines import ENGINES, VLLM, load_arguments, version_of_image
from gpufleet.planner.laws import CardTraits, parse_version


def known(model_id: str) -> Architecture:
    return resolve_architecture(model_id=model_id, parameters=None, config=None)


CONFIG = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "intermediate_size": 11008, "vocab_size": 32000, "torch_dtype": "bfloat16",
}  # fmt: skip


CARDS = {
    "H100": (CardTraits("H100", (9, 0), has_nvlink=True), 79.2),
    "H200": (CardTraits("H200", (9, 0), has_nvlink=True), 139.8),
    "B200": (CardTraits("B200", (10, 0), has_nvlink=True), 178.4),
    "A100-80GB": (CardTraits("A100-80GB", (8, 0), has_nvlink=True), 79.15),
    "L4": (CardTraits("L4", (8, 9), has_nvlink=False), 22.05),
    "T4": (CardTraits("T4", (7, 5), has_nvlink=False), 14.56),
}


@pytest.mark.parametrize(
    ("version", "card", "since"),
    [
        ("0.6.3", "H100", (0,)),
        ("0.6.4.post1", "H100", (0, 6, 4)),
        ("0.7.3", "H100", (0, 6, 5)),
        ("0.8.5", "H100", (0, 8)),
        ("0.8.5", "T4", (0, 6, 5)),  # the first engine served Volta and Turing for longer
        ("0.10.1", "T4", (0, 6, 5)),
        ("0.11.0", "T4", (0, 11)),
        ("0.16.0", "H100", (0, 14)),
        ("0.17.0", "L4", (0, 17)),
        ("0.19.1", "H100", (0, 18)),
        ("0.32.0", "H100", (0, 29)),
        ("0.99.0", "H100", (0, 33)),
    ],
)
def test_the_law_is_the_newest_that_is_not_younger_and_holds_for_the_card(
    version: str, card: str, since: tuple[int, ...]
) -> None:
    assert VLLM.law(version, CARDS[card][0]).since == since


def test_what_goes_by_version_is_newest_first_and_reaches_back_to_the_start() -> None:
    for engine in ENGINES.values():
        for dated in (engine.laws, engine.batch_rules):
            found = [entry.since for entry in dated]
            assert found == sorted(found, reverse=True)
            assert found[-1] == (0,)
            assert dated[-1].minimum_capability == (0, 0)


@pytest.mark.parametrize(
    ("version", "card", "length", "expected"),
    [
        ("0.19.0", "H100", 8192, (1024, 8192)),
        ("0.19.0", "A100-80GB", 8192, (256, 2048)),
        ("0.8.5", "A100-80GB", 8192, (1024, 8192)),  # for a few weeks
        ("0.8.1", "L4", 8192, (1024, 2048)),
        ("0.8.4", "L4", 8192, (256, 2048)),
        ("0.19.0", "L4", 8192, (256, 2048)),
        ("0.19.0", "H200", 8192, (1024, 8192)),
        ("0.19.0", "B200", 8192, (1024, 8192)),
        ("0.28.0", "B200", 8192, (1024, 16384)),
        ("0.28.0", "H200", 8192, (1024, 8192)),
        ("0.7.3", "H100", 16384, (256, 16384)),  # one step took the whole prompt
        ("0.7.3", "H100", 1024, (256, 2048)),
        ("0.7.3", "H100", 65536, (256, 2048)),  # longer ones were chunked
        ("0.6.3", "H100", 65536, (256, 512)),
        ("0.9.0", "T4", 16384, (256, 16384)),
        ("0.19.0", "H100", 4, (1024, 4096)),  # no more tokens than all sequences have
    ],
)
def test_batch_sizes_by_version_and_card(version: str, card: str, length: int, expected: tuple[int, int]) -> None:
    traits, usable_gib = CARDS[card]
    found = VLLM.batch_defaults(
        known("Qwen/Qwen3-8B"), version, traits, usable_memory_mib=usable_gib * 1024, max_model_len=length
    )
    assert tuple(found) == expected


@pytest.mark.parametrize(
    ("version", "model_id", "tokens"),
    [
        ("0.7.3", "Qwen/Qwen2.5-VL-7B-Instruct", 65536),  # prompts with images are never chunked
        ("0.7.3", "google/gemma-3-4b-it", 65536),
        ("0.7.3", "Qwen/Qwen2.5-7B-Instruct", 2048),
        ("0.19.0", "Qwen/Qwen2.5-VL-7B-Instruct", 2048),
        ("0.19.0", "BAAI/bge-m3", 65536),  # an encoder attends to a whole text at once
    ],
)
def test_batch_sizes_by_model(version: str, model_id: str, tokens: int) -> None:
    found = VLLM.batch_defaults(known(model_id), version, CARDS["L4"][0], usable_memory_mib=22_579, max_model_len=65536)
    assert found.max_num_batched_tokens == tokens


@pytest.mark.parametrize(("version", "share"), [("0.19.1", 0.9), ("0.20.0", 0.92), ("0.33.0", 0.92)])
def test_the_share_that_the_engine_takes_by_itself(version: str, share: float) -> None:
    assert VLLM.default_gpu_memory_utilization(version) == share


@pytest.mark.parametrize(
    ("version", "model_id", "bytes_per_logit"),
    [
        ("0.16.0", "Qwen/Qwen3-8B", 36),
        ("0.19.0", "Qwen/Qwen3-8B", 12),
        ("0.22.0", "Qwen/Qwen3-8B", 4),  # the second model runner came model by model
        ("0.22.0", "Qwen/Qwen3-8B-FP8", 12),
        ("0.22.0", "meta-llama/Llama-3.1-8B", 12),
        ("0.23.0", "meta-llama/Llama-3.1-8B", 4),
        ("0.24.0", "google/gemma-2-9b-it", 12),
        ("0.25.0", "google/gemma-2-9b-it", 4),
        ("0.25.0", "Qwen/Qwen3-30B-A3B", 12),
        ("0.29.0", "Qwen/Qwen3-30B-A3B", 4),
        ("0.33.0", "Qwen/Qwen3-8B", 12),
    ],
)
def test_the_sampler_by_version_and_model(version: str, model_id: str, bytes_per_logit: int) -> None:
    assert sampler_of(known(model_id), VLLM.law(version, CARDS["H100"][0])).logit_bytes == bytes_per_logit


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
