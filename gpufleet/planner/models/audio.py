"""Counts the parameters of audio encoders.

Owns Whisper's encoder, from which most others are made, the Conformer of Granite Speech, and the convolutions of
Qwen3-Omni. Leaves what brings sound into the text model to `projectors`. Imported only for models that hear.
"""

from __future__ import annotations

import math

from gpufleet.planner.models.nested import Nested

_WITHOUT_POSITIONS = frozenset({"qwen2_5_omni_audio_encoder", "qwen3_omni_moe_audio_encoder", "glmasr_encoder"})


def audio_width(audio: Nested) -> int:
    """The encoder's own width; 0 where it is not given."""
    return audio.size("d_model", "hidden_size", "hidden_dim")


def audio_parameters(audio: Nested, model_type: str) -> int:
    """Parameters of the encoder, without a projector of the family's own."""
    h, layers = audio_width(audio), audio.size("encoder_layers", "num_hidden_layers", "num_layers")
    if "granite_speech" in model_type:
        return _conformer(audio, h, layers)
    width = audio.size("encoder_ffn_dim", "intermediate_size", default=4 * h)
    total = layers * (4 * h * h + 2 * h * width + 3 * h + width + h + 4 * h) + 2 * h
    if audio.size("downsample_hidden_size"):
        return total + _convolutions(audio, h)
    total += 3 * h * (audio.size("num_mel_bins", default=80) + h) + 2 * h
    if model_type not in _WITHOUT_POSITIONS:
        total += audio.size("max_source_positions", default=1500) * h
    out = audio.size("output_dim")
    return total + (h * out + out if out else 0)


def _convolutions(audio: Nested, h: int) -> int:
    """Qwen3-Omni: three of stride 2 over time and frequency, then two layers to the text model."""
    inner, mels = audio.size("downsample_hidden_size"), audio.size("num_mel_bins", default=128)
    frequencies = math.ceil(mels / 8)
    out = audio.size("output_dim", default=h)
    return 9 * inner + 2 * 9 * inner * inner + 3 * inner + inner * frequencies * h + h * h + h + h * out + out


def _conformer(audio: Nested, h: int, layers: int) -> int:
    """Two half feed-forward layers, attention and a gated convolution (arXiv 2005.08100)."""
    heads = audio.size("num_heads", default=8)
    relative = audio.size("max_pos_emb", default=512) * 2 * h // heads
    mels, out = audio.size("input_dim", default=160), audio.size("output_dim", default=42)
    return layers * (26 * h * h + relative + 45 * h) + mels * h + h + 2 * h * out
