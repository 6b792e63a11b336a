"""Architectures: counted from configs, known by id, assumed from a count, refused where something is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.architecture import Architecture, is_gated, resolve_architecture
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.models import known_ids, known_model

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}

# Published counts that are rounded (the config gives another figure exactly), and what is counted otherwise.
ROUNDED = {
    "codellama/CodeLlama-70b-hf", "Qwen/Qwen1.5-72B", "microsoft/Phi-3.5-MoE-instruct", "MiniMaxAI/MiniMax-Text-01",
    "baichuan-inc/Baichuan2-7B-Chat", "baichuan-inc/Baichuan2-13B-Chat", "bigcode/starcoder2-15b",
    "CohereForAI/c4ai-command-r-v01", "CohereForAI/c4ai-command-r-plus", "databricks/dbrx-instruct",
    "nvidia/Nemotron-4-340B-Instruct", "facebook/opt-6.7b", "facebook/opt-13b", "facebook/opt-30b", "facebook/opt-66b",
    "EleutherAI/gpt-neox-20b", "mosaicml/mpt-7b",
}  # fmt: skip
OTHERWISE = {
    # The published figure is the stored count: it has the tied head (738,197,504) a second time.
    "google/gemma-4-26B-A4B": 0.03,
    # The published figure is the text model's: it has no image encoder (466 million).
    "moonshotai/Kimi-K2.5": 0.0005,
    # The published figure counts stored elements, and two 4-bit weights of an expert are stored as one.
    "deepseek-ai/DeepSeek-V4-Flash": 1.0,
}


def resolve(
    config: dict[str, Any] | None = None, *, model_id: str = "acme/own", parameters: int | None = None
) -> Architecture:
    return resolve_architecture(model_id=model_id, parameters=parameters, config=config)


def refusal(config: dict[str, Any] | None = None, **other: Any) -> Any:
    with pytest.raises(RequirementError) as caught:
        resolve(config, **other)
    return caught.value.problems[0]


@pytest.mark.parametrize("model_id", known_ids())
def test_known_models_add_up_to_their_published_count(model_id: str) -> None:
    known = known_model(model_id)
    assert known is not None
    found = resolve(model_id=model_id)
    allowed = 0.012 if model_id in ROUNDED else OTHERWISE.get(model_id, 0.0001)
    assert found.parameters == pytest.approx(known.parameters, rel=allowed)
    assert found.checkpoint_parameters >= found.parameters
    assert sum(part.parameters for part in found.parts) == found.parameters


def test_the_registry_is_large_and_says_where_it_is_from() -> None:
    assert len(known_ids()) >= 187
    assert all((known := known_model(i)) and known.source for i in known_ids())


def test_a_config_is_counted_by_part() -> None:
    found = resolve(LLAMA)
    assert found.parameters == 8_030_261_248
    assert found.parameters_of("embedding") == found.parameters_of("head") == 128_256 * 4096
    assert found.parameters_of("mlp") == 32 * 3 * 4096 * 14336
    assert found.checkpoint_format == "bf16"
    assert found.assumptions == ()


def test_a_tied_head_is_counted_once() -> None:
    tied = resolve(LLAMA | {"tie_word_embeddings": True})
    assert resolve(LLAMA).parameters - tied.parameters == 128_256 * 4096


def test_a_config_wins_over_the_registry() -> None:
    assert resolve(LLAMA | {"num_hidden_layers": 16}, model_id="Qwen/Qwen3-8B").num_hidden_layers == 16


def test_a_nested_config_is_read_like_a_flat_one() -> None:
    nested = {"model_type": "mistral3", "torch_dtype": "bfloat16", "text_config": LLAMA}
    assert resolve(nested).parameters == resolve(LLAMA).parameters


def test_a_class_without_a_head_has_none() -> None:
    embedding = resolve(LLAMA | {"architectures": ["LlamaModel"]})
    assert embedding.parameters_of("head") == 0


class TestLayers:
    def test_gemma_alternates(self) -> None:
        groups = {g.kind: (g.layers, g.window) for g in resolve(model_id="google/gemma-3-27b-it").cache}
        assert groups == {"sliding": (52, 1024), "full": (10, None)}

    def test_qwen_ignores_its_window(self) -> None:
        assert [g.kind for g in resolve(model_id="Qwen/Qwen2.5-7B-Instruct").cache] == ["full"]

    def test_mla_keeps_one_compressed_vector(self) -> None:
        (group,) = resolve(model_id="deepseek-ai/DeepSeek-V3").cache
        assert (group.kind, group.layers, group.kv_heads * group.width) == ("latent", 61, 576)

    def test_hybrids_keep_a_cache_in_attention_layers_only(self) -> None:
        for model_id, full, state in (
            ("Qwen/Qwen3-Next-80B-A3B-Instruct", 12, 36),
            ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", 4, 27),
            ("ibm-granite/granite-4.0-h-small", 4, 36),
            ("MiniMaxAI/MiniMax-Text-01", 10, 70),
        ):
            found = {g.kind: g.layers for g in resolve(model_id=model_id).cache}
            assert found == {"full": full, "state": state}, model_id

    def test_a_searched_model_has_no_cache_where_it_has_no_attention(self) -> None:
        (group,) = resolve(model_id="nvidia/Llama-3_3-Nemotron-Super-49B-v1").cache
        assert group.layers == 49

    def test_encoders_keep_none(self) -> None:
        assert resolve(model_id="BAAI/bge-m3").cache == ()


class TestStorage:
    @pytest.mark.parametrize(
        ("quantization", "expected"),
        [
            ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ("fp8", "fp8", 128)),
            ({"quant_method": "gptq", "bits": 4, "group_size": 128}, ("int4", "gptq", 128)),
            ({"quant_method": "gptq", "bits": 8, "group_size": 32}, ("int8", "gptq", 32)),
            ({"quant_method": "awq", "bits": 4, "group_size": 64}, ("int4", "awq", 64)),
            ({"quant_method": "bitsandbytes", "load_in_4bit": True}, ("int4", "bitsandbytes", 0)),
            ({"quant_method": "bitsandbytes", "load_in_8bit": True}, ("int8", "bitsandbytes", 0)),
            ({"quant_method": "mxfp4"}, ("mxfp4", "mxfp4", 0)),
            ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, ("nvfp4", "modelopt", 0)),
            (
                {
                    "quant_method": "compressed-tensors",
                    "format": "int-quantized",
                    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "int", "group_size": None}}},
                },
                ("int8", "compressed-tensors", 0),
            ),
            (
                {
                    "quant_method": "compressed-tensors",
                    "format": "pack-quantized",
                    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 32}}},
                },
                ("int4", "compressed-tensors", 32),
            ),
        ],
    )
    def test_formats(self, quantization: dict[str, Any], expected: tuple[str, str, int]) -> None:
        found = resolve(LLAMA | {"quantization_config": quantization})
        assert (found.checkpoint_format, found.quantization_method, found.quantization_group) == expected

    def test_plain_types(self) -> None:
        stored = {t: resolve(LLAMA | {"torch_dtype": t}).checkpoint_format for t in ("float16", "float32", "bfloat16")}
        assert stored == {"float16": "fp16", "float32": "fp32", "bfloat16": "bf16"}

    def test_unknown_quantization_is_refused(self) -> None:
        problem = refusal(LLAMA | {"quantization_config": {"quant_method": "mystery"}})
        assert problem.path == "model.architecture.quantization_config"
        assert problem.given == "mystery"

    def test_parts_that_a_checkpoint_leaves_alone(self) -> None:
        kept = {name for e in resolve(model_id="moonshotai/Kimi-K2.5").exceptions for name in e.parts}
        assert kept == {"head", "attention", "shared_experts", "mlp"}


class TestKnownIds:
    def test_a_derivative_has_its_own_storage(self) -> None:
        found = resolve(model_id="RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic")
        assert found.parameters == resolve(model_id="meta-llama/Llama-3.3-70B-Instruct").parameters
        assert (found.checkpoint_format, found.quantization_method) == ("fp8", "compressed-tensors")
        assert "meta-llama/Llama-3.3-70B-Instruct" in found.assumptions[0]

    def test_case_does_not_matter(self) -> None:
        assert resolve(model_id="qwen/qwen3-8b").parameters == 8_190_735_360

    def test_the_same_id_gives_the_same_object(self) -> None:
        assert resolve(model_id="Qwen/Qwen3-8B") is resolve(model_id="Qwen/Qwen3-8B")


class TestBareCount:
    @pytest.mark.parametrize(("count", "layers"), [(600_000_000, 28), (8_030_000_000, 32), (70_550_000_000, 80)])
    def test_it_resembles_published_models(self, count: int, layers: int) -> None:
        found = resolve(parameters=count)
        assert found.parameters == count
        assert found.num_hidden_layers == layers
        assert "architecture unknown" in found.assumptions[0]

    @settings(max_examples=200)
    @given(st.integers(10_000_000, 2_000_000_000_000))
    def test_any_count_is_met(self, count: int) -> None:
        found = resolve(parameters=count)
        assert found.parameters == count
        assert sum(part.parameters for part in found.parts) == pytest.approx(count, rel=0.02)
        assert found.num_attention_heads % found.num_key_value_heads == 0

    def test_a_similar_id_is_not_borrowed_from(self) -> None:
        found = resolve(model_id="Qwen/Qwen3-8B-own-finetune", parameters=8_190_000_000)
        assert "architecture unknown" in found.assumptions[0]
        assert found.vocab_size != resolve(model_id="Qwen/Qwen3-8B").vocab_size or found.num_hidden_layers != 36


class TestRefusals:
    def test_nothing_known(self) -> None:
        problem = refusal(model_id="Qwen/Qwen3-8")
        assert problem.path == "model.parameters"
        assert "Qwen/Qwen3-8B" in problem.allowed

    @pytest.mark.parametrize("model_id", ["Qwen/Qwen3-8B", "acme/own"])
    def test_a_count_that_contradicts(self, model_id: str) -> None:
        problem = refusal(None if model_id.startswith("Qwen") else LLAMA, model_id=model_id, parameters=13_000_000_000)
        assert problem.path == "model.parameters"
        assert problem.given == 13_000_000_000

    def test_a_rounded_count_agrees(self) -> None:
        assert resolve(model_id="Qwen/Qwen3-8B", parameters=8_000_000_000).parameters == 8_190_735_360

    @pytest.mark.parametrize(
        "field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"]
    )
    def test_a_missing_field_is_named(self, field: str) -> None:
        problem = refusal({k: v for k, v in LLAMA.items() if k != field})
        assert problem.path == f"model.architecture.{field}"
        assert "missing" in problem.message

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"hidden_size": "4096"}, "hidden_size"),
            ({"hidden_size": True}, "hidden_size"),
            ({"num_hidden_layers": -1}, "num_hidden_layers"),
            ({"num_key_value_heads": 7}, "num_key_value_heads"),
            ({"num_attention_heads": 31, "num_key_value_heads": 31}, "num_attention_heads"),
            ({"layer_types": ["full_attention"] * 3}, "layer_types"),
            ({"layer_types": ["other"] * 32}, "layer_types"),
            ({"layer_types": ["sliding_attention"] * 32}, "sliding_window"),
            ({"quantization_config": "fp8"}, "quantization_config"),
        ],
    )
    def test_a_wrong_field_is_named(self, change: dict[str, Any], field: str) -> None:
        assert refusal(LLAMA | change).path == f"model.architecture.{field}"

    def test_an_unknown_type_is_counted_with_a_note(self) -> None:
        found = resolve(LLAMA | {"model_type": "brandnew"})
        assert found.parameters == resolve(LLAMA).parameters
        assert "brandnew" in found.assumptions[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.text(max_size=5) | st.floats(allow_nan=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    *LLAMA, "head_dim", "layer_types", "sliding_window", "num_experts", "moe_intermediate_size", "kv_lora_rank",
    "text_config", "vision_config", "quantization_config", "rope_scaling", "block_configs", "hybrid_override_pattern",
    "attn_type_list", "mlp_only_layers", "moe_layer_freq", "first_k_dense_replace", "architectures",
    "mlp_layer_types", "indexer_types", "partial_rotary_factor", "components", "attention_chunk_size",
    "full_attention_interval",
]  # fmt: skip


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1, max_size=3))
def test_no_config_ends_in_a_traceback(change: dict[str, Any]) -> None:
    problem = None
    try:
        found = resolve(LLAMA | change)
    except RequirementError as error:
        problem = error.problems[0]
    assert problem.path.startswith("model.") if problem else found.parameters > 0


@pytest.mark.parametrize(
    ("model_id", "gated"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", True),
        ("google/gemma-3-27b-it", True),
        ("google/gemma-2-9b-it", True),
        ("CohereForAI/aya-23-8B", True),
        ("black-forest-labs/FLUX.1-dev", True),
        ("black-forest-labs/FLUX.1-schnell", False),
        ("Qwen/Qwen3-8B", False),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", False),
        ("google/flan-t5-xl", False),
    ],
)
def test_gated_models(model_id: str, gated: bool) -> None:
    assert is_gated(model_id) is gated
