"""What a config.json leaves unsaid: how each model type builds its layers.

Owns the table from `model_type` to biases, norms and gates, as in the modelling code of Hugging Face transformers.
Leaves to `shape` the fields that the config does say. A type that is not listed is built like a Llama, with a note.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple


class Traits(NamedTuple):
    """The layer plan of a model type."""

    gated: bool = True
    """Whether the MLP has three matrices (gate, up, down) or two."""
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    norm_parts: int = 1
    """Vectors per norm: 1 RMS or LayerNorm without bias, 2 with bias, 0 without parameters."""
    norms_per_layer: int = 2
    qk_norm: Literal["", "head", "full"] = ""
    """Norm of queries and keys: one vector of head_dim each, or one over all heads."""
    tied: bool = False
    """Whether the head is the embedding where the config does not say."""
    head_bias: bool = False
    positions: int = 0
    """Learned positions: 1 where a table of max_position_embeddings exists."""
    embedding_norm: bool = False
    window_unless_off: bool = True
    """Whether `sliding_window` counts without `use_sliding_window: true`."""
    attention_gate: bool = False
    """Whether the query projection is doubled by an output gate."""


_LLAMA = Traits()
_QWEN2 = Traits(qkv_bias=True, window_unless_off=False)
_QWEN3 = Traits(qk_norm="head", window_unless_off=False)
_QWEN_NEXT = Traits(qk_norm="head", window_unless_off=False, attention_gate=True)
_GEMMA = Traits(tied=True)
_GEMMA3 = Traits(tied=True, norms_per_layer=4, qk_norm="head")
_BIASED = Traits(gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2)
_BIASED_TIED = Traits(gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2, tied=True)

TRAITS: Mapping[str, Traits] = MappingProxyType(
    dict.fromkeys(
        [
            "llama",
            "mistral",
            "mixtral",
            "baichuan",
            "internlm2",
            "granite",
            "granitemoehybrid",
            "smollm3",
            "phi3",
            "deepseek",
            "deepseek_v2",
            "deepseek_v3",
            "deepseek_v32",
            "kimi_k2",
            "glm_moe_dsa",
            "llama4_text",
            "mllama_text_model",
            "minimax_text_01",
            "nemotron-nas",
            "nemotron_h",
            "ministral3",
            "exaone",
            "hunyuan",
        ],
        _LLAMA,
    )
    | dict.fromkeys(["qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen2_vl_text", "qwen2_5_vl_text"], _QWEN2)
    | dict.fromkeys(["qwen3", "qwen3_moe", "qwen3_vl_text", "qwen3_vl_moe_text"], _QWEN3)
    | dict.fromkeys(["qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"], _QWEN_NEXT)
    | {
        "gemma": _GEMMA,
        "gemma2": Traits(tied=True, norms_per_layer=4),
        "gemma3_text": _GEMMA3,
        "gemma4_text": _GEMMA3,
        "glm": Traits(qkv_bias=True),
        "glm4": Traits(qkv_bias=True, norms_per_layer=4),
        "chatglm": Traits(qkv_bias=True),
        "glm4_moe": Traits(qkv_bias=True),
        "gpt_oss": Traits(qkv_bias=True, output_bias=True, mlp_bias=True),
        "minimax_m2": Traits(qk_norm="full"),
        "olmo": Traits(norm_parts=0),
        "olmo2": Traits(qk_norm="full"),
        "olmoe": Traits(qk_norm="full"),
        "cohere": Traits(tied=True, norms_per_layer=1),
        "cohere2": Traits(tied=True, norms_per_layer=1),
        "dbrx": Traits(),
        "phi": Traits(
            gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2, norms_per_layer=1, head_bias=True
        ),
        "phi3small": Traits(qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2, tied=True),
        "phimoe": Traits(qkv_bias=True, output_bias=True, norm_parts=2, head_bias=True),
        "falcon": Traits(gated=False, norm_parts=2, tied=True),
        "starcoder2": _BIASED_TIED,
        "stablelm": Traits(norm_parts=2),
        "nemotron": Traits(gated=False, norm_parts=2),
        "bloom": Traits(
            gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2, tied=True, embedding_norm=True
        ),
        "opt": Traits(
            gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2, tied=True, positions=1
        ),
        "gpt2": Traits(
            gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2, tied=True, positions=1
        ),
        "gptj": Traits(gated=False, mlp_bias=True, norm_parts=2, norms_per_layer=1, head_bias=True),
        "gpt_neox": _BIASED,
        "mpt": Traits(gated=False, tied=True),
        "bert": _BIASED_TIED,
        "roberta": _BIASED_TIED,
        "xlm-roberta": _BIASED_TIED,
        "whisper": _BIASED_TIED,
        # DeepSeek-V4: one compressed KV head of 512; its attention is not in transformers' released modelling code.
        "deepseek_v4": Traits(),
    }
)

ENCODERS = frozenset({"bert", "roberta", "xlm-roberta"})
"""Types that embed text and keep no cache."""


def traits_of(model_type: str) -> Traits | None:
    """The layer plan of a type; None where the type is not known."""
    return TRAITS.get(model_type)
