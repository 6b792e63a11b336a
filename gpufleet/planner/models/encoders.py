"""Encoders of text (embedding models and rerankers), counted from their configs.

Owns the table of how each type builds its layers. Leaves decoders that embed (Qwen3-Embedding, E5-Mistral) to `decoders`.
Imported only for models of these types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpufleet.planner.models.fields import check_kinds, fail, first, optional, positive, required, text_config
from gpufleet.planner.models.parts import Part, TextModel


class _Traits(NamedTuple):
    """The layer plan of an encoder type."""

    gated: bool = False
    attention_bias: bool = True
    mlp_bias: bool = True
    norm_parts: int = 2
    positions: bool = True
    """Whether there is a table of learned positions."""
    pooler: bool = False
    final_norm: bool = False
    embedding_norm: bool = True


_BERT = _Traits(pooler=True)
_ROTARY = _Traits(gated=True, positions=False)
_TRAITS: Mapping[str, _Traits] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "ernie", "mpnet", "albert"), _BERT),
    **dict.fromkeys(("distilbert", "electra", "deberta", "deberta-v2"), _Traits()),
    "megatron-bert": _BERT._replace(final_norm=True, embedding_norm=False),
    "xlm-roberta-xl": _BERT._replace(final_norm=True, embedding_norm=False),
    "jina_embeddings_v3": _BERT._replace(positions=False),
    "nomic_bert": _ROTARY._replace(attention_bias=False, mlp_bias=False),
    "new": _ROTARY,
    "gte": _ROTARY,
    "modernbert": _ROTARY._replace(attention_bias=False, mlp_bias=False, norm_parts=1, final_norm=True),
    "eurobert": _ROTARY._replace(
        attention_bias=False, mlp_bias=False, norm_parts=1, final_norm=True, embedding_norm=False
    ),
}


def count_encoder(config: Mapping[str, Any]) -> TextModel:
    """The encoder; a RequirementError at `model.architecture.<field>` for what is missing or contradicts."""
    text = text_config(config)
    check_kinds(text)
    model_type = str(text.get("model_type"))
    traits = _TRAITS[model_type]
    h, layers, heads = (required(text, name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    if h % heads:
        fail(
            "num_attention_heads",
            f"{heads} heads do not divide hidden_size {h}",
            given=heads,
            allowed=f"a divisor of {h}",
        )
    kv_heads = optional(text, "num_key_value_heads") or heads
    if heads % kv_heads:
        fail(
            "num_key_value_heads",
            f"{kv_heads} do not divide {heads} attention heads",
            given=kv_heads,
            allowed=f"a divisor of {heads}",
        )
    width, longest = _width(text, h), optional(text, "max_position_embeddings")
    parts = (*_layers(text, traits, h, h // heads * kv_heads, width, layers), *_outside(text, traits, h, longest or 0))
    return TextModel(
        kind="encoder", model_type=model_type, hidden_size=h, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=h // heads, intermediate_size=width,
        vocab_size=required(text, "vocab_size"), tie_word_embeddings=True, max_position_embeddings=longest,
        parts=tuple(part for part in parts if part.parameters), cache=(),
    )  # fmt: skip


def _width(text: Mapping[str, Any], h: int) -> int:
    return optional(text, "intermediate_size") or first(text, "hidden_dim") or 4 * h


def _layers(text: Mapping[str, Any], traits: _Traits, h: int, keys: int, width: int, count: int) -> tuple[Part, ...]:
    shared = positive(text, "num_hidden_groups")  # ALBERT's layers are all the same one
    at = tuple(range(shared or count))
    matrices = 3 if traits.gated else 2
    norms = 2 * traits.norm_parts * h
    biases = (2 * h + 2 * keys if traits.attention_bias else 0) + (width + h if traits.mlp_bias else 0)
    return (
        Part(name="attention", role="linear", layers=at, split=h * h + 2 * h * keys),
        Part(name="attention", role="linear", layers=at, split=h * h),
        Part(name="mlp", role="linear", layers=at, split=(matrices - 1) * h * width),
        Part(name="mlp", role="linear", layers=at, split=h * width),
        Part(name="norms", role="kept", layers=at, whole=norms + biases),
    )


def _outside(text: Mapping[str, Any], traits: _Traits, h: int, longest: int) -> tuple[Part, ...]:
    narrow = positive(text, "embedding_size") or h
    rows = required(text, "vocab_size")
    positions = longest * narrow if traits.positions else 0
    types = first(text, "type_vocab_size") * narrow
    projection = narrow * h + h if narrow != h else 0
    pooler = h * h + h if traits.pooler else 0
    norms = traits.norm_parts * (narrow * traits.embedding_norm + h * traits.final_norm)
    return (
        Part(name="embedding", role="embedding", split=rows * narrow),
        Part(name="norms", role="kept", whole=positions + types + norms),
        Part(name="pooler", role="kept", whole=projection + pooler, place="last"),
    )
