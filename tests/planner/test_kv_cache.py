"""The cache's blocks: tokens as servers log them, sequences, and the longest one that fits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.engines import VLLM
from gpufleet.planner.kv_cache import Cache, cache_of
from gpufleet.planner.models import known_ids
from gpufleet.planner.replica import ReplicaShape
from gpufleet.planner.units import GIB

SHAPE = ReplicaShape(
    precision="bf16",
    tensor_parallelism=1,
    max_model_len=8192,
    max_num_seqs=256,
    max_num_batched_tokens=8192,
    full_contexts=1,
    kv_cache_dtype="auto",
    gpu_memory_utilization=0.9,
    engine_version="0.19.0",
)


def model(model_id: str) -> Architecture:
    return resolve_architecture(model_id=model_id, parameters=None, config=None)


def cache(model_id: str, **changes: object) -> Cache:
    return cache_of(model(model_id), VLLM, SHAPE._replace(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model_id", "kv_cache_dtype", "tokens"),
    [
        ("Qwen/Qwen3.5-27B", "auto", 784),
        ("Qwen/Qwen3.5-27B", "fp8", 1568),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "auto", 544),
        ("meta-llama/Llama-3.1-8B", "auto", 16),
    ],
)
def test_blocks_hold_a_state_where_there_are_states(model_id: str, kv_cache_dtype: str, tokens: int) -> None:
    """`Setting attention block size to 1568 tokens` is logged for Qwen3.5-27B with an fp8 cache."""
    assert cache(model_id, kv_cache_dtype=kv_cache_dtype).block_tokens == tokens


def test_states_count_as_blocks_in_what_is_logged() -> None:
    """Qwen3-Next: 12 layers with a cache, 36 with a state, four groups of twelve: each takes a quarter of the blocks."""
    found = cache("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert found.gpu_token_bytes == 48 * 2 * 2 * 256 * 2
    assert found.tokens(40.0) % found.block_tokens == 0


def test_newer_versions_log_the_contexts_times_their_length() -> None:
    """A window saves cache that the older figure did not show."""
    older, newer = (
        cache("google/gemma-3-27b-it", engine_version=v, max_model_len=65_536) for v in ("0.19.0", "0.20.0")
    )
    assert newer.tokens(40.0) > 2 * older.tokens(40.0)
    assert newer.tokens(40.0) // 65_536 == newer.sequences(40.0, 65_536) == older.sequences(40.0, 65_536)
    assert (
        cache("Qwen/Qwen3-8B").tokens(40.0) == cache("Qwen/Qwen3-8B", engine_version="0.20.0").tokens(40.0) // 16 * 16
    )


@pytest.mark.parametrize(("version", "layers"), [("0.9.2", 25), ("0.11.0", 36), ("0.16.0", 26), ("0.19.0", 26)])
def test_nearly_equal_kinds_share_groups_of_the_larger_since_0_12(version: str, layers: int) -> None:
    """12 full layers and 13 with a window, as a draft layer makes of gpt-oss-20b."""
    architecture = model("openai/gpt-oss-20b")
    full, sliding = architecture.cache
    odd = architecture._replace(cache=(full._replace(layers=12), sliding._replace(layers=13)))
    found = cache_of(odd, VLLM, SHAPE._replace(engine_version=version))
    assert found.gpu_token_bytes == layers * full.token_bytes(2.0)


def test_a_sparse_latent_vector_has_its_own_layout_in_8_bits() -> None:
    found = cache("deepseek-ai/DeepSeek-V3.2", kv_cache_dtype="fp8", precision="fp8", tensor_parallelism=8)
    assert found.gpu_token_bytes == 61 * (656 + 132)


def test_an_encoder_has_no_cache() -> None:
    found = cache("BAAI/bge-m3")
    assert found.tokens(10.0) == 0
    assert found.sequences(10.0, 512) is None
    assert found.longest_context(10.0) is None


@settings(max_examples=300)
@given(
    st.sampled_from(known_ids()),
    st.sampled_from(("0.6.3", "0.9.0", "0.11.0", "0.19.0", "0.21.0")),
    st.sampled_from((1, 2, 4, 8)),
    st.floats(0.0, 120.0),
)
def test_the_longest_context_is_the_longest_that_fits(
    model_id: str, version: str, degree: int, free_gib: float
) -> None:
    found = cache(model_id, engine_version=version, tensor_parallelism=degree)
    longest = found.longest_context(free_gib)
    if longest is None:
        return
    if longest:
        assert found.sequence_bytes(longest) <= free_gib * GIB
        assert found.sequences(free_gib, longest) >= 1
    assert found.sequence_bytes(longest + found.block_tokens) > free_gib * GIB


@settings(max_examples=200)
@given(st.sampled_from(known_ids()), st.floats(0.5, 120.0), st.integers(16, 100_000))
def test_longer_sequences_are_no_more(model_id: str, free_gib: float, tokens: int) -> None:
    found = cache(model_id)
    short, long = (found.sequences(free_gib, n) for n in (tokens, 2 * tokens))
    assert (short is None and long is None) or long <= short
