"""What the metadata of a GGUF file says, in the field names of a config.json.

Owns the names of both sides and the sizes of GGUF's types. Leaves the tensors to `files`. Imported only for GGUF files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufleet.planner.models.fields import fail, whole

_K = 256
TYPES: dict[int, tuple[str, int, float]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 28: ("F64", 1, 8), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", _K, 84), 11: ("Q3_K", _K, 110),
    12: ("Q4_K", _K, 144), 13: ("Q5_K", _K, 176), 14: ("Q6_K", _K, 210), 15: ("Q8_K", _K, 292), 16: ("IQ2_XXS", _K, 66),
    17: ("IQ2_XS", _K, 74), 18: ("IQ3_XXS", _K, 98), 19: ("IQ1_S", _K, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", _K, 110),
    22: ("IQ2_S", _K, 82), 23: ("IQ4_XS", _K, 136), 29: ("IQ1_M", _K, 56), 34: ("TQ1_0", _K, 54), 35: ("TQ2_0", _K, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
}  # fmt: skip
"""Name, values of a block, bytes of a block (ggml's type traits)."""

_MODEL_TYPES = {
    "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "qwen3next": "qwen3_next", "qwen2vl": "qwen2_vl", "qwen3vl": "qwen3",
    "qwen3vlmoe": "qwen3_moe", "gemma3": "gemma3_text", "gemma3n": "gemma3n_text", "gemma4": "gemma4_text",
    "phi2": "phi", "deepseek2": "deepseek_v3", "command-r": "cohere", "gptneox": "gpt_neox", "gpt-oss": "gpt_oss",
    "glm4moe": "glm4_moe", "hunyuan-dense": "hunyuan_v1_dense", "hunyuan-moe": "hunyuan_v1_moe", "olmo3": "olmo3",
    "lfm2moe": "lfm2_moe", "falcon-h1": "falcon_h1", "granitehybrid": "granitemoehybrid", "ernie4_5-moe": "ernie4_5_moe",
    "minimax-m2": "minimax_m2", "seed_oss": "seed_oss", "nemotron_h": "nemotron_h", "starcoder": "gpt_bigcode",
    "bert": "bert", "nomic-bert": "nomic_bert", "mistral3": "mistral", "exaone-moe": "exaone_moe",
    "kimi-linear": "kimi_linear", "bailingmoe": "bailing_moe", "bailingmoe2": "bailing_moe_v2",
}  # fmt: skip
"""Architectures of GGUF whose model_type is not their own name."""

_FIELDS = {
    "block_count": "num_hidden_layers", "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim", "context_length": "max_position_embeddings", "vocab_size": "vocab_size",
    "expert_count": "num_experts", "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size", "expert_shared_count": "n_shared_experts",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "leading_dense_block_count": "first_k_dense_replace", "attention.sliding_window": "sliding_window",
    "attention.kv_lora_rank": "kv_lora_rank", "attention.q_lora_rank": "q_lora_rank",
    "rope.dimension_count": "rope_dimensions", "ssm.conv_kernel": "conv_kernel", "ssm.state_size": "ssm_state_size",
    "ssm.group_count": "n_groups", "ssm.inner_size": "d_inner", "ssm.time_step_rank": "time_step_rank",
    "full_attention_interval": "full_attention_interval", "nextn_predict_layers": "num_nextn_predict_layers",
}  # fmt: skip


def config_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config.json; a RequirementError where the metadata has no architecture."""
    kind = metadata.get("general.architecture")
    if not isinstance(kind, str) or not kind:
        fail(
            "", "the GGUF file names no architecture (general.architecture)", given=kind, allowed="a model's GGUF file"
        )
    config: dict[str, Any] = {"model_type": _MODEL_TYPES.get(kind, kind.replace("-", "_"))}
    for name, field in _FIELDS.items():
        value = metadata.get(f"{kind}.{name}")
        if value is not None:
            config[field] = value
    tokens = metadata.get("tokenizer.ggml.tokens")
    if "vocab_size" not in config and isinstance(tokens, Mapping | list):
        config["vocab_size"] = tokens["count"] if isinstance(tokens, Mapping) else len(tokens)
    _spread(config)
    if rotated := config.pop("rope_dimensions", None):
        if "kv_lora_rank" in config:  # MLA: the compressed vector and its rotated part are the cached key
            config["qk_rope_head_dim"] = rotated
            heads = {"key_length_mla": "head_dim", "value_length_mla": "v_head_dim"}
            config |= {
                f: metadata[f"{kind}.attention.{n}"] for n, f in heads.items() if f"{kind}.attention.{n}" in metadata
            }
            config["qk_nope_head_dim"] = max(whole(config["head_dim"], "head_dim") - whole(rotated, "rope"), 1)
        elif isinstance(config.get("head_dim"), int) and rotated < config["head_dim"]:
            config["partial_rotary_factor"] = rotated / config["head_dim"]
    return config


def _spread(config: dict[str, Any]) -> None:
    """Sizes that are given by layer: a list where transformers has one, else the largest for all; 0 KV heads are layers
    without a cache per token."""
    heads = config.get("num_key_value_heads")
    if isinstance(heads, list):
        if 0 in heads:
            config["layer_types"] = ["full_attention" if n else "linear_attention" for n in heads]
        config["num_key_value_heads_per_layer"] = [n or max(heads, default=1) for n in heads]
        config["num_key_value_heads"] = max(heads, default=1)
    for field in ("num_attention_heads", "sliding_window"):
        if isinstance(config.get(field), list):
            config[field] = max(config[field], default=0)
