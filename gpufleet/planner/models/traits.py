"""What a config.json leaves unsaid: how each model type builds its layers.

Owns the table from `model_type` to biases, norms, gates and default patterns, as in the modelling code of Hugging Face
transformers and vLLM. Leaves to `shape` the fields that the config does say. A type that is not listed is built like a
Llama, with a note.
"""

from __future__ import annotations

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
    bias_covers_output: bool = True
    """Whether `attention_bias` is also one of the output projection."""
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
    window_period: int = 0
    """Every how many layers one has no window, where the config does not say; 0: all have it."""
    attention_gate: Literal["", "query", "heads"] = ""
    """A gate on the attention's output: as wide as the queries, or one value per head."""
    state: Literal["", "mamba", "mamba2", "delta", "kda", "lightning", "recurrent"] = ""
    """What `linear_attention` layers are, where the config's fields do not tell."""
    sinks: bool = False
    router_bias: bool = False
    """Whether the router has a bias per expert."""
    shared_gate: bool = False
    """Whether a gate of one vector weighs the shared expert."""
    takes_head_dim: bool = True
    """Whether the code reads `head_dim`; where it does not, another one than hidden_size / heads contradicts."""


_LLAMA = Traits()
_QWEN2 = Traits(qkv_bias=True, window_unless_off=False)
_QWEN3 = Traits(qk_norm="head", window_unless_off=False)
_QWEN_NEXT = _QWEN3._replace(attention_gate="query", state="delta", shared_gate=True)
_GEMMA3 = Traits(tied=True, norms_per_layer=4, qk_norm="head", window_period=6)
_DEEPSEEK = Traits(router_bias=True)
_BIASED = Traits(gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2, takes_head_dim=False)
_BIASED_TIED = _BIASED._replace(tied=True)
_GPT2 = _BIASED_TIED._replace(positions=1)
_OLMO = Traits(qk_norm="full")
_GRANITE = Traits(state="mamba2")
_PHI = _BIASED._replace(norms_per_layer=1, head_bias=True)

_FAMILIES: tuple[tuple[str, Traits], ...] = (
    # Built like a Llama; what else they have (experts, windows, low ranks) their configs say.
    ("llama mistral mixtral baichuan internlm internlm2 internlm3 granite granitemoe granitemoeshared smollm3 phi3 aquila "
     "xverse orion seed_oss solar mimo minicpm minicpm3 exaone telechat telechat2 teleflm decilm nemotron-nas ministral "
     "ministral3 mistral3 mllama_text_model deepseek deepseek_v2 arctic grok-1 grok-2 step1 ouro pangu_embedded cwm helium "
     "youtu csm ernie4_5 iquestcoder vaultgemma_text olmo_1124 yi", _LLAMA),
    ("deepseek_v3 deepseek_v32 kimi_k2 glm4_moe_lite glm_moe_dsa minimax_m2 mistral_large3 mistral4 openpangu_ultra_moe "
     "pangu_ultra_moe axk1 solar_open ernie4_5_moe bailing_moe_v2 bailing_moe_linear", _DEEPSEEK),
    ("qwen", _QWEN2),
    ("qwen2 qwen2_vl qwen2_5_vl qwen2_vl_text qwen2_5_vl_text qwen2_audio", _QWEN2),
    ("qwen2_moe", _QWEN2._replace(shared_gate=True)),
    ("qwen3 qwen3_moe qwen3_vl_text qwen3_vl_moe_text qwen3_omni_moe_text qwen3_asr_text", _QWEN3),
    ("qwen3_next qwen3_5_text qwen3_5_moe_text", _QWEN_NEXT),
    ("gemma", Traits(tied=True)),
    ("gemma2", Traits(tied=True, norms_per_layer=4, window_period=2)),
    ("vaultgemma", Traits(tied=True, window_period=2)),
    ("gemma3_text gemma3", _GEMMA3),
    ("gemma3n_text", _GEMMA3._replace(window_period=5)),
    ("gemma4_text gemma4_unified_text", _GEMMA3),
    ("glm", Traits(qkv_bias=True, bias_covers_output=False)),
    ("glm4 glm4v_text glm_ocr_text", Traits(qkv_bias=True, bias_covers_output=False, norms_per_layer=4)),
    ("chatglm", Traits(qkv_bias=True)),
    ("glm4_moe glm4v_moe_text", Traits(qkv_bias=True, bias_covers_output=False, router_bias=True)),
    ("gpt_oss", Traits(qkv_bias=True, output_bias=True, mlp_bias=True, sinks=True, router_bias=True, window_period=2)),
    ("llama4_text", Traits()),
    ("minimax_text_01 minimax minimax_m1", Traits(state="lightning")),
    ("olmo", Traits(norm_parts=0)),
    ("olmo2 olmoe flex_olmo", _OLMO),
    ("olmo3", _OLMO._replace(window_period=4)),
    ("olmo_hybrid", _OLMO._replace(state="delta")),
    ("cohere", Traits(tied=True, norms_per_layer=1)),
    ("cohere2 cohere2_moe", Traits(tied=True, norms_per_layer=1, window_period=4)),
    ("exaone4", Traits(qk_norm="head", window_period=4)),
    ("exaone_moe", Traits(qk_norm="head", window_period=4, router_bias=True)),
    ("dots1", Traits(qk_norm="head", router_bias=True)),
    ("hunyuan hunyuan_v1_dense hunyuan_v1_moe hy_v3", Traits(qk_norm="head")),
    ("apertus", Traits(gated=False, qk_norm="head")),
    ("arcee", Traits(gated=False)),
    ("afmoe", Traits(norms_per_layer=4, qk_norm="head", attention_gate="query", window_period=4, router_bias=True)),
    ("laguna step3p5 step3p5_text", Traits(qk_norm="head", attention_gate="heads", router_bias=True)),
    ("mimo_v2_flash", Traits(sinks=True, router_bias=True)),
    ("hyperclovax", Traits(norms_per_layer=4)),
    ("bitnet", Traits(norms_per_layer=3)),
    ("nanochat", Traits(gated=False, norm_parts=0)),
    ("bailing_moe", Traits()),
    ("lfm2 lfm2_moe", Traits(qk_norm="head", tied=True, router_bias=True)),
    ("dbrx", Traits()),
    ("longcat_flash", Traits(router_bias=True)),
    ("granitemoehybrid bamba", _GRANITE),
    ("falcon_h1", _GRANITE),
    ("mamba2", Traits(state="mamba2", norms_per_layer=1)),
    ("nemotron_h", Traits(state="mamba2", norms_per_layer=1, gated=False, router_bias=True)),
    ("mamba falcon_mamba", Traits(state="mamba", norms_per_layer=1, tied=True)),
    ("jamba", Traits(state="mamba")),
    ("kimi_linear bailing_hybrid", Traits(state="kda", router_bias=True)),
    ("recurrent_gemma", Traits(state="recurrent", output_bias=True, mlp_bias=True, tied=True)),
    ("jais2", _BIASED._replace(takes_head_dim=True)),
    ("jais", _GPT2._replace(gated=True)),
    ("persimmon fuyu", _BIASED._replace(qk_norm="head")),
    ("phi", _PHI),
    ("phi3small", Traits(qkv_bias=True, output_bias=True, mlp_bias=True, norm_parts=2, tied=True)),
    ("phimoe", Traits(qkv_bias=True, output_bias=True, norm_parts=2, head_bias=True)),
    ("falcon", Traits(gated=False, norm_parts=2, tied=True)),
    ("starcoder2", _BIASED_TIED),
    ("stablelm", Traits(norm_parts=2)),
    ("nemotron", Traits(gated=False, norm_parts=2)),
    ("bloom", _BIASED_TIED._replace(embedding_norm=True)),
    ("opt gpt2 gpt_bigcode", _GPT2),
    ("gpt_neo", _GPT2._replace(qkv_bias=False)),
    ("gptj codegen", Traits(gated=False, mlp_bias=True, norm_parts=2, norms_per_layer=1, head_bias=True)),
    ("gpt_neox", _BIASED),
    ("mpt", Traits(gated=False, tied=True)),
    # DeepSeek-V4: one compressed KV head of 512, indexers and hyper-connections (transformers' modeling_deepseek_v4).
    ("deepseek_v4", Traits()),
)  # fmt: skip

TRAITS: Mapping[str, Traits] = MappingProxyType(
    {name: traits for names, traits in _FAMILIES for name in names.split()},
)

TEXT_ENCODERS = frozenset({
    "bert", "roberta", "xlm-roberta", "camembert", "ernie", "electra", "mpnet", "distilbert", "albert",
    "modernbert", "nomic_bert", "new", "gte", "eurobert", "jina_embeddings_v3", "xlm-roberta-xl", "deberta",
    "deberta-v2", "megatron-bert",
})  # fmt: skip
"""Types that embed text and keep no cache."""

ENCODER_DECODERS = frozenset({
    "whisper", "t5", "mt5", "umt5", "bart", "mbart", "plbart", "blenderbot", "blenderbot-small", "marian",
    "pegasus", "m2m_100",
})  # fmt: skip
"""Types with an encoder beside the decoder, whose fields have names of their own."""

NOT_COUNTED: Mapping[str, str] = MappingProxyType(
    {
        "rwkv": "its layers have no attention; their sizes follow from rules that its config does not hold",
        "xlstm": "its layers have no attention; their sizes follow from rules that its config does not hold",
        "zamba": "one attention block is shared by many layers, with adapters of its own for each",
        "zamba2": "one attention block is shared by many layers, with adapters of its own for each",
        "blt": "it is four models of bytes and patches in one",
        "doge": "its experts are retrieved from tables that its config does not size",
        "xlnet": "its attention has relative projections of its own",
        "reformer": "its layers are reversible and of several kinds",
    }
)
"""Types whose sizes would be a guess, and why."""


def traits_of(model_type: str) -> Traits | None:
    """The layer plan of a type; None where the type is not known."""
    return TRAITS.get(model_type)
