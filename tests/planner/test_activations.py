"""The profiling run's peak and the graphs: against single logs, and the laws that hold for every model and version."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.activations import activation_gib, graphs_gib, sampler_state_gib
from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.engines import VLLM
from gpufleet.planner.laws import CardTraits
from gpufleet.planner.models import known_ids
from gpufleet.planner.replica import HOPPER, ReplicaShape
from gpufleet.planner.stages import pipeline_stages

SHAPE = ReplicaShape(
    precision="bf16",
    tensor_parallelism=1,
    max_model_len=8192,
    max_num_seqs=1024,
    max_num_batched_tokens=8192,
    full_contexts=1,
    kv_cache_dtype="auto",
    gpu_memory_utilization=0.95,
    engine_version="0.19.0",
)
T4 = CardTraits("T4", (7, 5), has_nvlink=False)
LLAMA, GEMMA, MIXTRAL = "meta-llama/Llama-3.1-8B", "google/gemma-3-4b-it", "mistralai/Mixtral-8x7B-v0.1"
VERSIONS = ("0.6.3", "0.7.3", "0.8.5", "0.11.0", "0.16.0", "0.17.0", "0.19.0", "0.21.0", "0.25.0", "0.29.0", "0.33.0")
MODELS = st.sampled_from(known_ids())


def model(model_id: str) -> Architecture:
    return resolve_architecture(model_id=model_id, parameters=None, config=None)


def peak(model_id: str, **changes: object) -> float:
    shape = SHAPE._replace(**changes)  # type: ignore[arg-type]
    return activation_gib(model(model_id), VLLM.law(shape.engine_version, shape.card), shape)


@pytest.mark.parametrize(
    ("logged", "model_id", "changes"),
    [
        # 0.19 on an H100, 1,024 sequences: the sampler's moment.
        (1.89, LLAMA, {}),
        (1.89, LLAMA, {"tensor_parallelism": 4}),
        (2.21, LLAMA, {"precision": "fp32"}),
        (2.29, "Qwen/Qwen2.5-72B-Instruct", {"tensor_parallelism": 2}),
        (3.66, "google/gemma-2-27b-it", {}),
        # Buffers of fused experts beside it, from 0.14 on.
        (1.21, MIXTRAL, {"tensor_parallelism": 2}),
        (2.68, "Qwen/Qwen3-30B-A3B", {}),
        (2.47, "Qwen/Qwen1.5-MoE-A2.7B", {}),
        # Experts in one kernel keep none.
        (2.87, "openai/gpt-oss-20b", {"precision": "mxfp4"}),
        # Images and what becomes of them.
        (3.99, "google/gemma-3-27b-it", {}),
        (3.89, GEMMA, {}),
        (3.19, "meta-llama/Llama-4-Scout-17B-16E-Instruct", {"tensor_parallelism": 4}),
        # The language model's pass is the larger moment.
        (0.79, "microsoft/phi-2", {"max_model_len": 2048}),
        (0.77, "codellama/CodeLlama-7b-hf", {}),
        (0.85, "ibm-granite/granite-3.3-8b-instruct", {}),
        (2.18, "mistralai/Mistral-Small-3.2-24B-Instruct-2506", {"precision": "int8"}),
        # Before 0.17 the sampler sorted.
        (4.76, LLAMA, {"engine_version": "0.11.0"}),
        (5.64, "Qwen/Qwen3-14B", {"engine_version": "0.16.0"}),
        (2.23, "Qwen/Qwen3-14B", {"engine_version": "0.17.0"}),
        # The first engine, 256 sequences, whole prompts.
        (1.44, "Qwen/Qwen2.5-0.5B-Instruct", {"engine_version": "0.6.6", "max_num_seqs": 256, "max_num_batched_tokens": 32768, "card": T4}),
        (2.02, "Qwen/Qwen2.5-1.5B-Instruct", {"engine_version": "0.7.0", "max_num_seqs": 256, "max_num_batched_tokens": 32768, "card": T4}),
        (4.35, "Qwen/Qwen2.5-7B-Instruct", {"engine_version": "0.7.3", "max_num_seqs": 256, "max_num_batched_tokens": 32768, "card": T4}),
    ],
)  # fmt: skip
def test_the_peak_is_what_a_log_says(logged: float, model_id: str, changes: dict[str, object]) -> None:
    assert peak(model_id, **changes) == pytest.approx(logged, abs=0.025)


def test_only_the_last_stage_of_a_pipeline_samples() -> None:
    shape = SHAPE._replace(pipeline_parallelism=4)
    law = VLLM.law("0.19.0", HOPPER)
    stages = [activation_gib(s, law, shape) for s in pipeline_stages(model(LLAMA), 4)]
    assert stages == pytest.approx([1.1, 1.05, 2.01], abs=0.05)


def test_images_take_the_place_of_sequences_in_the_first_engine_only() -> None:
    """Qwen2-VL-7B with prompts of 16,384 tokens, as many as its largest image: one sequence with one image."""
    changes = {"max_num_batched_tokens": 16384, "max_num_seqs": 256, "max_model_len": 16384}
    before = peak("Qwen/Qwen2-VL-7B-Instruct", engine_version="0.7.3", **changes)
    text = peak("Qwen/Qwen2.5-7B-Instruct", engine_version="0.7.3", **changes)
    assert before == pytest.approx(text, rel=0.01)  # the pass over 16,384 tokens, with or without a sampler beside it
    assert peak("Qwen/Qwen2-VL-7B-Instruct", engine_version="0.19.0", **changes) > before / 2


def test_a_long_context_lets_long_videos_in() -> None:
    """Qwen2.5-VL: the encoder is profiled with one video of up to 7 pairs of frames of 16,384 tokens each."""
    short, long, longer = (
        peak("Qwen/Qwen2.5-VL-3B-Instruct", max_model_len=n, max_num_seqs=8) for n in (8192, 65_536, 128_000)
    )
    assert long == pytest.approx(4 * short, rel=0.05)
    assert longer == pytest.approx(7 * short, rel=0.05)


def test_the_second_runner_profiles_less_and_keeps_more() -> None:
    older, newer = (VLLM.law(v, HOPPER) for v in ("0.21.0", "0.29.0"))
    llama = model(LLAMA)
    assert activation_gib(llama, newer, SHAPE) < activation_gib(llama, older, SHAPE)
    assert sampler_state_gib(llama, older, SHAPE) == 0
    assert sampler_state_gib(llama, newer, SHAPE) == pytest.approx(4.125 * 128_256 * 1024 / 1024**3)


def test_an_eager_server_captures_no_graphs() -> None:
    law = VLLM.law("0.19.0", HOPPER)
    assert graphs_gib(model(LLAMA), law, SHAPE) > 0.5
    assert graphs_gib(model(LLAMA), law, SHAPE._replace(captures_graphs=False)) == 0


@settings(max_examples=200)
@given(
    MODELS,
    st.sampled_from(VERSIONS),
    st.sampled_from((1, 2, 4)),
    st.integers(1, 1024),
    st.integers(256, 32_768),
    st.sampled_from((HOPPER, T4)),
)
def test_more_sequences_and_tokens_never_take_less(
    model_id: str, version: str, degree: int, sequences: int, tokens: int, card: CardTraits
) -> None:
    changes = {"engine_version": version, "tensor_parallelism": degree, "card": card}
    small = peak(model_id, max_num_seqs=sequences, max_num_batched_tokens=tokens, **changes)
    assert small > 0
    if model(model_id).vision is None:  # in the first engine, images of more tokens take the place of sequences
        assert small <= peak(model_id, max_num_seqs=2 * sequences, max_num_batched_tokens=tokens, **changes)
        assert small <= peak(model_id, max_num_seqs=sequences, max_num_batched_tokens=2 * tokens, **changes)
    assert peak(
        model_id, max_num_seqs=sequences, max_num_batched_tokens=tokens, **{**changes, "tensor_parallelism": 8}
    ) <= (small * 1.0001)
