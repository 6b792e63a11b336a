"""Models counted from configs: against transformers' own counts, nested configs, and contradictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpufleet.planner.architecture import from_config
from gpufleet.planner.errors import Problem, RequirementError

COUNTS = json.loads((Path(__file__).parent.parent / "data" / "transformers_counts.json").read_text(encoding="utf-8"))
# What transformers builds and servers do not: one projection less in layers that share their cache (vLLM keeps it), the
# pooling head of SigLIP, a norm per head.
APPROXIMATE = {
    "gemma3n_text": 0.005,
    "gemma3": 0.003,
    "lfm2_vl": 0.003,
    "molmo2": 0.0015,
    "mimo_v2_flash": 0.001,
    "bailing_hybrid": 0.001,
    "cohere2_vision": 0.001,
}


def refusal(config: dict[str, Any]) -> Problem:
    with pytest.raises(RequirementError) as caught:
        from_config("acme/own", config)
    return caught.value.problems[0]


@pytest.mark.parametrize("known", COUNTS["models"], ids=[m["model_type"] for m in COUNTS["models"]])
def test_families_add_up_to_what_transformers_counts(known: dict[str, Any]) -> None:
    found = from_config("acme/own", known["config"])
    assert found.parameters == pytest.approx(known["parameters"], rel=APPROXIMATE.get(known["model_type"], 0.0002))
    assert sum(part.parameters for part in found.parts) == found.parameters


class TestPublishedConfigs:
    """Configs as they lie on Hugging Face, which leave out what their classes know; counts from the model pages."""

    def test_a_text_config_without_its_class_defaults(self) -> None:
        found = from_config("google/gemma-3-4b-it", {
            "model_type": "gemma3", "mm_tokens_per_image": 256,
            "text_config": {
                "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
            },
            "vision_config": {
                "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model",
                "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
            },
        })  # fmt: skip
        assert found.parameters == 4_300_079_472
        assert {(g.kind, g.layers) for g in found.cache} == {("sliding", 29), ("full", 5)}

    def test_a_text_config_of_five_fields(self) -> None:
        found = from_config("llava-hf/llava-1.5-7b-hf", {
            "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "vision_feature_layer": -2,
            "text_config": {
                "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "model_type": "llama",
                "torch_dtype": "float16", "vocab_size": 32064,
            },
            "vision_config": {
                "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096, "model_type": "clip_vision_model",
                "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
            },
        })  # fmt: skip
        assert found.parameters == 7_063_427_072
        assert found.checkpoint_format == "fp16"

    def test_a_text_model_under_another_name(self) -> None:
        found = from_config("OpenGVLab/InternVL2_5-8B", {
            "model_type": "internvl_chat", "downsample_ratio": 0.5,
            "llm_config": {
                "model_type": "internlm2", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
                "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 92553, "tie_word_embeddings": False,
            },
            "vision_config": {
                "model_type": "intern_vit_6b", "hidden_size": 1024, "image_size": 448, "intermediate_size": 4096,
                "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "qkv_bias": True,
                "norm_type": "layer_norm", "qk_normalization": False,
            },
        })  # fmt: skip
        assert found.parameters == 8_075_365_376

    def test_a_config_without_nesting_whose_encoder_is_nested(self) -> None:
        found = from_config("Qwen/Qwen2.5-VL-7B-Instruct", {
            "model_type": "qwen2_5_vl", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
            "num_hidden_layers": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
            "use_sliding_window": False, "sliding_window": 32768,
            "vision_config": {
                "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "in_chans": 3,
                "out_hidden_size": 3584, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
            },
        })  # fmt: skip
        assert found.parameters == 8_292_166_656
        assert found.vision is not None
        assert found.vision.tokens_per_image == 16_384

    def test_whisper_hears_for_a_text_model(self) -> None:
        found = from_config("acme/speech", {
            "model_type": "acme_speech",
            "text_config": {
                "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
                "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256000,
            },
            "speech_config": {
                "model_type": "whisper", "d_model": 1280, "encoder_layers": 32, "encoder_ffn_dim": 5120,
                "num_mel_bins": 128,
            },
        })  # fmt: skip
        assert found.is_multimodal
        assert found.parameters_of("audio") == pytest.approx(637e6 + 3584 * (1280 + 3584), rel=0.01)


LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
MOE = LLAMA | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}


class TestContradictions:
    @pytest.mark.parametrize(
        ("config", "field"),
        [
            (MOE | {"num_experts_per_tok": 9}, "num_experts_per_tok"),
            (LLAMA | {"num_experts": 8, "intermediate_size": None}, "intermediate_size"),
            (LLAMA | {"num_key_value_heads": 64}, "num_key_value_heads"),
            (LLAMA | {"model_type": "opt", "head_dim": 100}, "head_dim"),
            (LLAMA | {"layer_types": ["full_attention"] * 31}, "layer_types"),
            (LLAMA | {"layer_types": ["chunked_attention"] * 32}, "attention_chunk_size"),
            (LLAMA | {"layer_types": ["linear_attention"] * 32}, "layer_types"),
            (MOE | {"mlp_layer_types": ["sparse"] * 3}, "mlp_layer_types"),
            (MOE | {"moe_layer_freq": [1, 0]}, "moe_layer_freq"),
            (LLAMA | {"partial_rotary_factor": 1.5}, "partial_rotary_factor"),
            (LLAMA | {"model_type": "bamba", "attn_layer_indices": [40], "mamba_n_heads": 8}, "attn_layer_indices"),
            (LLAMA | {"model_type": "bamba", "attn_layer_indices": [1], "mamba_n_heads": 8}, "ssm_state_size"),
            (LLAMA | {"hidden_size": 10**9}, "hidden_size"),
            (LLAMA | {"num_hidden_layers": 1e400}, "num_hidden_layers"),
            (LLAMA | {"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
            (LLAMA | {"torch_dtype": "bfloat17"}, "torch_dtype"),
            (LLAMA | {"vision_config": {"hidden_size": -1, "num_hidden_layers": 2}}, "vision_config.hidden_size"),
            (LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": "4"}}, "quantization_config.bits"),
            (LLAMA | {"quantization_config": {"quant_method": "exl2", "bits": 4}}, "quantization_config"),
        ],
    )
    def test_it_is_named(self, config: dict[str, Any], field: str) -> None:
        problem = refusal(config)
        assert problem.path == f"model.architecture.{field}"
        assert problem.message

    def test_a_zero_is_not_called_missing(self) -> None:
        assert refusal(LLAMA | {"hidden_size": 0}).message == "is 0"

    def test_heads_that_are_not_given_are_said_to_be_assumed(self) -> None:
        found = from_config("acme/own", {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"})
        assert found.num_key_value_heads == 32
        assert "num_key_value_heads is not given" in found.assumptions[0]


class TestUnknownTypes:
    def test_dimensions_are_counted_with_a_note(self) -> None:
        found = from_config("acme/own", LLAMA | {"model_type": "brandnew"})
        assert found.parameters == from_config("acme/own", LLAMA).parameters
        assert "'brandnew' is not known" in found.assumptions[0]

    def test_an_activation_of_two_matrices_is_seen(self) -> None:
        ungated = from_config("acme/own", LLAMA | {"model_type": "brandnew", "hidden_act": "relu2"})
        assert ungated.parameters_of("mlp") == 32 * 2 * 4096 * 14336

    @pytest.mark.parametrize(
        "config",
        [
            LLAMA | {"model_type": "brandnew", "is_encoder_decoder": True},
            LLAMA | {"model_type": "zamba2"},
            {"model_type": "rwkv", "hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 50277},
        ],
    )
    def test_what_would_be_a_guess_is_refused_with_the_reason(self, config: dict[str, Any]) -> None:
        problem = refusal(config)
        assert problem.path == "model.architecture.model_type"
        assert problem.allowed

    def test_an_unknown_encoder_of_images_is_noted(self) -> None:
        vision = {"model_type": "acme_vit", "hidden_size": 1024, "num_hidden_layers": 24, "image_size": 336}
        found = from_config("acme/own", LLAMA | {"vision_config": vision})
        assert found.parameters_of("vision") > 0
        assert "acme_vit" in found.assumptions[0]


class TestHeads:
    @pytest.mark.parametrize("name", ["LlamaForSequenceClassification", "LlamaForRewardModel", "LlamaModel"])
    def test_a_reward_model_has_no_head(self, name: str) -> None:
        assert from_config("acme/own", LLAMA | {"architectures": [name]}).parameters_of("head") == 0

    def test_a_tied_embedding_lies_on_both_ends_of_a_pipeline(self) -> None:
        found = from_config("acme/own", LLAMA | {"tie_word_embeddings": True})
        assert {p.place for p in found.parts if p.name == "embedding"} == {"ends"}
