"""Models with an encoder beside the decoder, and models that embed: cache, weights, and what an engine serves."""

from __future__ import annotations

from typing import Any

import pytest
from documents import plan

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.size import Size, parse_size_requirements, size_replica

BART: dict[str, Any] = {
    "model_type": "bart", "d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096, "vocab_size": 50_265, "max_position_embeddings": 1024,
}  # fmt: skip
T5: dict[str, Any] = {
    "model_type": "t5", "d_model": 1024, "d_kv": 64, "num_heads": 16, "d_ff": 4096, "num_layers": 24,
    "vocab_size": 32_128, "n_positions": 512,
}  # fmt: skip


def sized(model: dict[str, Any], **serving: Any) -> Size:
    sections = {"model": model, "serving": serving, "gpu": {"name": "H100"}}
    return size_replica(parse_size_requirements(sections), load_catalog())


def whisper(**serving: Any) -> Size:
    return sized({"id": "openai/whisper-large-v3"}, **serving)


class TestWhisper:
    def test_a_token_costs_the_decoders_own_attention(self) -> None:
        found = whisper().memory
        assert found is not None
        assert found.kv_bytes_per_token == 2 * 32 * 20 * 64 * 2

    def test_a_sequence_holds_the_encoders_output_in_blocks(self) -> None:
        """1,500 places of sound are 94 blocks of 16 in each of 32 layers, whatever is said; 448 words are 28 more."""
        block = 16 * 2 * 20 * 64 * 2
        needed = whisper(maxModelLen=448).memory
        shorter = whisper(maxModelLen=16).memory
        assert needed is not None
        assert shorter is not None
        assert needed.per_gpu.kv_needed_gib * 1024**3 == pytest.approx(32 * (94 + 28) * block, rel=1e-3)
        assert shorter.per_gpu.kv_needed_gib * 1024**3 == pytest.approx(32 * (94 + 1) * block, rel=1e-3)

    def test_tensor_parallelism_divides_both(self) -> None:
        whole, half = whisper().memory, sized({"id": "openai/whisper-large-v3", "tensorParallelism": 2}).memory
        assert whole is not None
        assert half is not None
        assert half.per_gpu.kv_needed_gib == pytest.approx(whole.per_gpu.kv_needed_gib / 2, rel=1e-3)

    def test_its_encoder_in_the_profiling_run_is_told_to_be_left_out(self) -> None:
        assert [w for w in whisper().warnings if "does not serve" in w] == []
        assert any("the encoder beside this decoder" in w for w in whisper().warnings)


class TestServed:
    @pytest.mark.parametrize(
        ("config", "version", "said"),
        [
            (BART, "0.10.2", ""),
            (BART, "0.11.0", "vllm 0.11.0 does not serve bart"),
            (T5, "0.10.2", "vllm 0.10.2 does not serve t5"),
            (T5, "0.19.0", "it has whisper, bart before 0.11, mbart before 0.11"),
        ],
    )
    def test_a_model_that_the_version_does_not_have_is_sized_and_told(
        self, config: dict[str, Any], version: str, said: str
    ) -> None:
        found = sized({"id": "acme/seq2seq", "architecture": config}, engineVersion=version)
        assert found.memory is not None
        told = [w for w in found.warnings if "does not serve" in w]
        assert bool(told) == bool(said)
        assert said in "".join(told)

    def test_a_fleet_of_it_is_refused_unless_the_image_is_the_users_own(self) -> None:
        keys = {"id": "acme/bart", "architecture": BART}
        assert "does not serve bart" in plan(model=keys).refusals[0]
        own = plan(model=keys, serving={"image": "registry.example/vllm-with-bart:1"})
        assert own.refusals == ()
        assert any("does not serve bart" in warning for warning in own.warnings)


@pytest.mark.parametrize(("config", "parameters"), [(BART, 406e6), (T5, 738e6)])
def test_weights_are_those_of_both(config: dict[str, Any], parameters: float) -> None:
    """BART-large and T5-large, by their papers' tables and the files."""
    assert sized({"id": "acme/seq2seq", "architecture": config}).model.parameters == pytest.approx(parameters, rel=0.01)


def test_an_embedding_model_keeps_no_cache_and_is_bounded_by_the_server_alone() -> None:
    found = sized({"id": "BAAI/bge-m3"})
    assert found.memory is not None
    assert (found.memory.kv_bytes_per_token, found.memory.kv_cache_tokens) == (0, 0)
    assert found.memory.longest_context is None
    assert found.server is not None
    assert found.memory.full_contexts == found.server.max_num_seqs
    assert found.sequences == ()


def test_a_plan_of_an_embedding_model_can_be_made() -> None:
    found = plan(model={"id": "BAAI/bge-m3", "architecture": None})
    assert (found.kv_bytes_per_token, found.full_contexts) == (0, found.server.max_num_seqs)
