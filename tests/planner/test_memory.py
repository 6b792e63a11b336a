"""Memory of a replica: against published logs, and the laws that hold for every model and card."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.engines import VLLM
from gpufleet.planner.laws import CardTraits
from gpufleet.planner.memory import (
    GpuMemory,
    ReplicaShape,
    checkpoint_bytes,
    estimate_memory,
    valid_tensor_parallelism,
    weights_bytes_per_gpu,
)
from gpufleet.planner.models import known_ids
from gpufleet.planner.precision import PRECISIONS
from gpufleet.planner.replica import GivenMemory

GIB = 1024**3
SHAPE = ReplicaShape(
    precision="fp16",
    tensor_parallelism=1,
    max_model_len=8192,
    max_num_seqs=16,
    max_num_batched_tokens=2048,
    full_contexts=1,
    kv_cache_dtype="auto",
    gpu_memory_utilization=0.9,
    engine_version="0.19.0",
)

MODELS = st.sampled_from(known_ids())
DEGREES = st.sampled_from((1, 2, 4, 8))
SHAPES = st.builds(
    ReplicaShape,
    precision=st.sampled_from(sorted(PRECISIONS)),
    tensor_parallelism=DEGREES,
    max_model_len=st.integers(256, 131_072),
    max_num_seqs=st.integers(1, 1024),
    max_num_batched_tokens=st.sampled_from((2048, 8192, 16_384)),
    full_contexts=st.integers(1, 8),
    kv_cache_dtype=st.sampled_from(sorted(VLLM.cache_types)),
    gpu_memory_utilization=st.floats(0.5, 0.95),
    engine_version=st.sampled_from(("0.6.3", "0.8.5", "0.11.0", "0.17.0", "0.19.0", "0.23.0", "0.33.0")),
    pipeline_parallelism=st.just(1),
    card=st.sampled_from(
        (
            CardTraits("H100", (9, 0), has_nvlink=True),
            CardTraits("L4", (8, 9), has_nvlink=False),
            CardTraits("T4", (7, 5), has_nvlink=False),
        )
    ),
    given=st.just(GivenMemory()),
)
CARDS_MIB = st.integers(8_000, 200_000)


def model(model_id: str) -> Architecture:
    return resolve_architecture(model_id=model_id, parameters=None, config=None)


def on_card(model_id: str, usable_gib: float, **changes: object) -> GpuMemory:
    shape = SHAPE._replace(**changes)  # type: ignore[arg-type]
    return estimate_memory(model(model_id), VLLM, shape, usable_memory_mib=round(usable_gib * 1024))


class TestKnownCases:
    def test_weights_of_an_8b_under_tensor_parallelism(self) -> None:
        llama = model("meta-llama/Llama-3.1-8B")
        found = [round(weights_bytes_per_gpu(llama, "fp16", degree) / GIB, 2) for degree in (1, 2, 4)]
        assert found == [14.99, 7.51, 3.77]

    @pytest.mark.parametrize("length", [1024, 8192])
    def test_an_8b_in_fp16_does_not_fit_a_t4(self, length: int) -> None:
        memory = on_card("meta-llama/Llama-3.1-8B", 14.6, max_model_len=length)
        assert not memory.fits
        assert "weights alone" in memory.reason
        assert memory.kv_cache_gib == 0

    def test_an_8b_in_fp16_fits_an_l4(self) -> None:
        memory = on_card("meta-llama/Llama-3.1-8B", 22.05)
        assert memory.fits
        assert memory.full_contexts == 4
        assert memory.kv_needed_gib == pytest.approx(1.0)

    def test_the_reason_says_how_much_cache_is_missing(self) -> None:
        memory = on_card("meta-llama/Llama-3.1-8B", 22.05, full_contexts=6)
        assert not memory.fits
        assert memory.shortfall_gib == pytest.approx(memory.kv_needed_gib - memory.kv_cache_gib)
        assert f"{memory.shortfall_gib:.2f}" in memory.reason

    def test_a_utilisation_without_room_for_graphs_is_refused(self) -> None:
        memory = on_card("Qwen/Qwen3-0.6B", 22.05, gpu_memory_utilization=0.99)
        assert not memory.fits
        assert memory.needed_gib < memory.budget_gib
        assert "lower the utilisation" in memory.reason

    @pytest.mark.parametrize(
        ("model_id", "size"),
        [
            ("mistralai/Mistral-Small-24B-Instruct-2501", 163_840),
            ("meta-llama/Llama-3.1-8B", 131_072),
            ("deepseek-ai/DeepSeek-V3", 70_272),
            ("BAAI/bge-m3", 0),
        ],
    )
    def test_cache_bytes_per_token(self, model_id: str, size: int) -> None:
        assert on_card(model_id, 79.2).kv_bytes_per_token == size

    def test_mla_is_replicated_and_heads_are_not(self) -> None:
        for model_id, ratio in (("deepseek-ai/DeepSeek-V3", 1.0), ("meta-llama/Llama-3.1-8B", 0.25)):
            alone, split = (on_card(model_id, 79.2, tensor_parallelism=degree).kv_needed_gib for degree in (1, 4))
            assert split == pytest.approx(alone * ratio)

    def test_kv_heads_are_copied_beyond_their_number(self) -> None:
        needed = [on_card("Qwen/Qwen2.5-7B-Instruct", 79.2, tensor_parallelism=d).kv_needed_gib for d in (2, 4, 8)]
        assert needed[0] == pytest.approx(2 * needed[1])
        assert needed[2] == pytest.approx(needed[1])

    def test_windows_save_cache_only_beyond_window_and_step(self) -> None:
        """Gemma-3-27b: at 8,192 tokens nothing is saved (the log has the same number of blocks), at 131,072 most is."""
        short = on_card("google/gemma-3-27b-it", 79.2, max_num_batched_tokens=8192)
        long = on_card("google/gemma-3-27b-it", 79.2, max_num_batched_tokens=8192, max_model_len=131_072)
        padded_token_bytes = 70 * 2 * 16 * 128 * 2
        assert short.kv_needed_gib * GIB == pytest.approx(padded_token_bytes * 8192, rel=0.01)
        assert long.kv_needed_gib * GIB < 0.3 * padded_token_bytes * 131_072

    def test_states_do_not_grow_with_length(self) -> None:
        """Qwen3-Next keeps a cache in 12 of 48 layers only, and a state per sequence in the others. Both lie in blocks of
        one size, that of a state: 1,072 tokens."""
        memory = on_card("Qwen/Qwen3-Next-80B-A3B-Instruct", 200)
        block, token_bytes = memory.cache.block_tokens, 12 * 2 * 2 * 256 * 2
        assert block % 16 == 0
        one, many = (memory.cache.sequence_bytes(blocks * block) for blocks in (1, 60))
        assert many - one == pytest.approx(59 * block * token_bytes)
        assert one == pytest.approx(block * token_bytes * 4)  # three states beside each cache

    def test_the_files_of_a_model_are_larger_than_what_is_loaded(self) -> None:
        deepseek = model("deepseek-ai/DeepSeek-V3")
        assert checkpoint_bytes(deepseek) / 1e9 == pytest.approx(
            688.6, rel=0.01
        )  # the published files, with the MTP layer
        llama = model("meta-llama/Llama-3.1-8B")
        assert checkpoint_bytes(llama) == 2 * llama.parameters


class TestParallelism:
    @pytest.mark.parametrize(
        ("model_id", "degrees"),
        [
            ("meta-llama/Llama-3.1-8B", (1, 2, 4, 8)),
            ("Qwen/Qwen2.5-7B-Instruct", (1, 2, 4)),  # 28 heads, 4 KV heads
            ("Qwen/Qwen2.5-14B-Instruct", (1, 2, 4, 8)),  # 40 heads; 5 does not divide 8 KV heads
            ("Qwen/Qwen3-235B-A22B-FP8", (1, 2, 4)),  # experts of 1,536 in blocks of 128
            ("stabilityai/stable-diffusion-xl-base-1.0", (1,)),
        ],
    )
    def test_valid_degrees(self, model_id: str, degrees: tuple[int, ...]) -> None:
        assert valid_tensor_parallelism(model(model_id), 8) == degrees


@pytest.mark.parametrize("model_id", known_ids())
def test_every_known_model_has_an_estimate(model_id: str) -> None:
    architecture = model(model_id)
    memory = on_card(model_id, 79.2, precision=architecture.checkpoint_format or "bf16", max_num_seqs=256)
    loaded = checkpoint_bytes(architecture) * architecture.parameters / architecture.checkpoint_parameters
    assert memory.weights_gib * GIB == pytest.approx(loaded, rel=0.08)
    assert memory.activations_gib > 0
    assert memory.kv_bytes_per_token >= 0


@settings(max_examples=300)
@given(MODELS, SHAPES, CARDS_MIB)
def test_the_parts_add_up(model_id: str, shape: ReplicaShape, usable_mib: int) -> None:
    memory = estimate_memory(model(model_id), VLLM, shape, usable_memory_mib=usable_mib)
    parts = memory.weights_gib + memory.activations_gib + memory.non_torch_gib + memory.cuda_graphs_gib
    assert memory.total_gib == pytest.approx(parts)
    assert memory.usable_gib * 1024 == pytest.approx(usable_mib)
    assert memory.budget_gib == pytest.approx(shape.gpu_memory_utilization * memory.usable_gib)
    assert memory.kv_cache_gib == pytest.approx(max(0.0, memory.budget_gib - memory.total_gib))
    if memory.fits:
        assert memory.shortfall_gib == 0
        assert memory.full_contexts >= shape.full_contexts or not memory.kv_needed_gib
        assert memory.needed_gib <= memory.budget_gib
    else:
        assert memory.shortfall_gib > 0
        assert "short" in memory.reason or "over" in memory.reason


@settings(max_examples=300)
@given(MODELS, SHAPES, CARDS_MIB, st.integers(0, 50_000))
def test_a_larger_card_never_fits_less(model_id: str, shape: ReplicaShape, usable_mib: int, more_mib: int) -> None:
    small, large = (
        estimate_memory(model(model_id), VLLM, shape, usable_memory_mib=m) for m in (usable_mib, usable_mib + more_mib)
    )
    assert large.fits or not small.fits
    assert large.kv_cache_tokens >= small.kv_cache_tokens


@settings(max_examples=300)
@given(MODELS, st.sampled_from(sorted(PRECISIONS)), st.sampled_from((1, 2, 4)))
def test_more_gpus_never_hold_more_weights_each(model_id: str, precision: str, degree: int) -> None:
    alone, split = (weights_bytes_per_gpu(model(model_id), precision, d) for d in (degree, 2 * degree))
    # Rounding by the allocator and the padding of MXFP4 experts go by GPU: up to 1 MiB a tensor, and a third.
    assert split <= alone * 1.001 + 512 * 1024**2
    assert split >= alone / 2 * 0.9


@settings(max_examples=300)
@given(MODELS, SHAPES, CARDS_MIB)
def test_longer_contexts_need_more(model_id: str, shape: ReplicaShape, usable_mib: int) -> None:
    longer = shape._replace(max_model_len=2 * shape.max_model_len)
    short, long = (estimate_memory(model(model_id), VLLM, s, usable_memory_mib=usable_mib) for s in (shape, longer))
    assert long.kv_needed_gib >= short.kv_needed_gib
    # vLLM before 0.8 profiles a short context whole and a long one in chunks, which takes less.
    if long.activations_gib >= short.activations_gib:
        assert short.fits or not long.fits
