"""Models with an encoder beside the decoder (T5, BART, Whisper…), counted from their configs.

Owns one formula for T5's kind and one for BART's, of which Whisper is one. Imported only for models of these types. An
encoder's layers have no numbers of their own in a pipeline: they lie on every stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpufleet.planner.models.fields import check_kinds, fail, first, positive, required, text_config
from gpufleet.planner.models.parts import CacheGroup, Part, TextModel

_T5 = frozenset({"t5", "mt5", "umt5"})
_POSITIONS = {
    "bart": 2, "mbart": 2, "plbart": 2, "blenderbot": 0, "blenderbot-small": 0, "marian": 0, "pegasus": 0,
}  # fmt: skip
"""Types with a table of positions in encoder and decoder, and the rows it has beyond max_position_embeddings."""
_EMBEDDING_NORMS = frozenset({"bart", "mbart", "plbart", "blenderbot-small"})
_FINAL_NORMS = frozenset({"mbart", "blenderbot", "pegasus", "m2m_100", "whisper"})


def count_encoder_decoder(config: Mapping[str, Any]) -> TextModel:
    """The model; a RequirementError at `model.architecture.<field>` for what is missing or contradicts."""
    text = text_config(config)
    check_kinds(text)
    return _t5(text) if text["model_type"] in _T5 else _bart(text)


def _needed(text: Mapping[str, Any], name: str) -> int:
    value = positive(text, name)
    if value is None:
        fail(name, "is 0" if text.get(name) == 0 else "is missing", allowed="a whole number")
    return value


def _t5(text: Mapping[str, Any]) -> TextModel:
    """Relative positions, RMS norms, no biases; the heads' width is independent of the model's (arXiv 1910.10683)."""
    model_type = str(text["model_type"])
    h, head, heads, width, encoders = (_needed(text, n) for n in ("d_model", "d_kv", "num_heads", "d_ff", "num_layers"))
    decoders = positive(text, "num_decoder_layers") or encoders
    gated = str(text.get("feed_forward_proj") or "relu").startswith("gated")
    rows, inner = required(text, "vocab_size"), heads * head
    tied = text.get("tie_word_embeddings", True) is not False
    buckets = positive(text, "relative_attention_num_buckets") or 32
    biased_layers = encoders + decoders if model_type == "umt5" else 2
    at, mlp = tuple(range(decoders)), (3 if gated else 2) * h * width
    parts = [
        Part(name="embedding", role="embedding", split=rows * h, place="ends" if tied else "first"),
        Part(name="encoder", role="linear", split=encoders * (4 * h * inner + mlp), place="every"),
        Part(name="attention", role="linear", layers=at, split=8 * h * inner),
        Part(name="mlp", role="linear", layers=at, split=mlp),
        Part(name="norms", role="kept", layers=at, whole=3 * h),
        Part(name="norms", role="kept", whole=(2 * encoders + 2) * h + buckets * heads * biased_layers, place="every"),
    ]
    if not tied:
        parts.append(Part(name="head", role="head", split=rows * h, place="last"))
    longest = first(text, "n_positions", "max_position_embeddings") or None
    return _model(text, parts, h, heads, head, width, rows, tied, decoders, longest, source=longest or 512)


def _bart(text: Mapping[str, Any]) -> TextModel:
    """Biases and norms with bias, learned or computed positions; Whisper hears through two convolutions and has no bias
    on keys (transformers' modeling_bart, modeling_whisper)."""
    model_type = str(text["model_type"])
    is_whisper = model_type == "whisper"
    h, heads, encoders, decoders = (
        _needed(text, n) for n in ("d_model", "decoder_attention_heads", "encoder_layers", "decoder_layers")
    )
    if h % heads:
        fail(
            "decoder_attention_heads",
            f"{heads} heads do not divide d_model {h}",
            given=heads,
            allowed=f"a divisor of {h}",
        )
    encoder_width, width = _needed(text, "encoder_ffn_dim"), _needed(text, "decoder_ffn_dim")
    rows = required(text, "vocab_size")
    attention, norm = 4 * h * h + (3 if is_whisper else 4) * h, 2 * h
    at = tuple(range(decoders))

    def mlp(inner: int) -> int:
        return 2 * h * inner + inner + h

    parts = [
        Part(name="embedding", role="embedding", split=rows * h, place="ends"),
        Part(name="encoder", role="linear", split=encoders * (attention + mlp(encoder_width)), place="every"),
        Part(name="attention", role="linear", layers=at, split=2 * attention),
        Part(name="mlp", role="linear", layers=at, split=mlp(width)),
        Part(name="norms", role="kept", layers=at, whole=3 * norm),
        Part(name="norms", role="kept", whole=2 * encoders * norm + sum(_outside(text, model_type, h)), place="every"),
    ]
    longest = first(text, "max_target_positions", "max_position_embeddings") or None
    source = first(text, "max_source_positions", "max_position_embeddings") or 1500
    return _model(text, parts, h, heads, h // heads, width, rows, True, decoders, longest, source=source)


def _outside(text: Mapping[str, Any], model_type: str, h: int) -> Iterator[int]:
    """Positions, norms beside the layers and Whisper's convolutions."""
    if model_type == "whisper":
        mels = positive(text, "num_mel_bins") or 80
        yield 3 * h * (mels + h) + 2 * h
        yield h * (first(text, "max_source_positions") or 1500) + h * (first(text, "max_target_positions") or 448)
    elif model_type in _POSITIONS:
        yield 2 * h * (_needed(text, "max_position_embeddings") + _POSITIONS[model_type])
    if model_type in _EMBEDDING_NORMS:
        yield 4 * h
    if model_type in _FINAL_NORMS:
        yield 4 * h


def _model(
    text: Mapping[str, Any], parts: list[Part], h: int, heads: int, head: int, width: int, rows: int, tied: bool,
    decoders: int, longest: int | None, *, source: int,
) -> TextModel:  # fmt: skip
    at = tuple(range(decoders))
    cache = (
        CacheGroup(kind="full", layers=decoders, kv_heads=heads, width=2 * head, at=at),
        CacheGroup(kind="cross", layers=decoders, kv_heads=heads, width=2 * head, window=source, at=at),
    )
    return TextModel(
        kind="encoder-decoder", model_type=str(text["model_type"]), hidden_size=h, num_hidden_layers=decoders,
        num_attention_heads=heads, num_key_value_heads=heads, head_dim=head, intermediate_size=width,
        vocab_size=rows, tie_word_embeddings=tied, max_position_embeddings=longest, parts=tuple(parts), cache=cache,
    )  # fmt: skip
