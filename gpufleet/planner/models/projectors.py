"""Counts what brings images and sound into the text model: projectors, mergers, resamplers.

Owns one formula per family, by the `model_type` of the whole model. A family that is not listed has LLaVA's two layers.
Imported only for multimodal models.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufleet.planner.models.nested import Nested

Projector = Callable[[Nested, Nested, int, int], int]
"""Of the whole config, the encoder's, the encoder's width and the text model's: parameters."""


def projector_parameters(family: str, config: Nested, encoder: Nested, h: int, text: int) -> int:
    """Parameters between an encoder of width `h` and a text model of width `text`."""
    return _FAMILIES.get(family, _two_layers)(config, encoder, h, text)


def _two_layers(config: Nested, _: Nested, h: int, text: int) -> int:
    """LLaVA; where several layers of the encoder are looked at, their features side by side."""
    features = config.count_of("vision_feature_layer", "vision_feature_layers")
    return max(features, 1) * h * text + text + text * text + text


def _one_layer(_: Nested, __: Nested, h: int, text: int) -> int:
    return h * text + text


def _merger(_: Nested, vision: Nested, h: int, text: int) -> int:
    """Qwen: patches are merged in fours; Qwen3-VL taps layers on the way, with a merger each."""
    merged = h * vision.size("spatial_merge_size", default=2) ** 2
    inside = "hidden_size" if "embed_dim" in vision.values else "out_hidden_size"
    out = vision.size(inside, default=text)
    taps = vision.count_of("deepstack_visual_indexes")
    return (1 + taps) * (merged * merged + merged + merged * out + out) + h


def _mistral3(config: Nested, _: Nested, h: int, text: int) -> int:
    merge = config.size("spatial_merge_size", default=2)
    return h * merge * merge * h + h * text + text * text + h


def _internvl(config: Nested, _: Nested, h: int, text: int) -> int:
    shuffled = int(h / config.ratio("downsample_ratio", 0.5) ** 2)
    return 2 * shuffled + shuffled * text + text + text * text + text


def _idefics3(config: Nested, _: Nested, h: int, text: int) -> int:
    return h * config.size("scale_factor", default=2) ** 2 * text


def _gemma(_: Nested, __: Nested, h: int, text: int) -> int:
    return h * text + h


def _cohere(config: Nested, _: Nested, h: int, text: int) -> int:
    wide = config.size("alignment_intermediate_size", default=36_864)
    return h * config.size("downsample_factor", default=2) ** 2 * wide + wide + wide // 2 * text + text


def _pixel_shuffle(config: Nested, _: Nested, h: int, text: int) -> int:
    """LFM2-VL: a norm and two layers."""
    shuffled = h * config.size("downsample_factor", default=2) ** 2
    inner = config.size("projector_hidden_size", default=text)
    return 2 * shuffled + shuffled * inner + inner + inner * text + text


def _kimi(_: Nested, vision: Nested, h: int, text: int) -> int:
    merged = h * vision.size("spatial_merge_size", default=2) ** 2
    return 2 * h + merged * merged + merged + merged * text + text


def _glm(_: Nested, vision: Nested, h: int, text: int) -> int:
    """GLM-4.1V: a convolution down, then a gated MLP."""
    out, inner = vision.size("out_hidden_size", default=text), vision.size("intermediate_size")
    return h * vision.size("spatial_merge_size", default=2) ** 2 * out + out + out * out + 3 * out * inner + 2 * out


def _glm_ocr(_: Nested, vision: Nested, h: int, text: int) -> int:
    out = vision.size("out_hidden_size", default=text)
    inner = out * vision.size("in_channels", default=3)
    return h * vision.size("spatial_merge_size", default=2) ** 2 * out + out + out * out + 3 * out * inner + 2 * out


def _molmo2(config: Nested, _: Nested, h: int, text: int) -> int:
    """Patches are pooled by attention over the features of two layers."""
    inner = config.inner("adapter_config").size("intermediate_size")
    return 7 * h * h + 4 * h + (2 * h + text) * inner


def _llama4(_: Nested, vision: Nested, h: int, text: int) -> int:
    width = vision.size("intermediate_size", default=4 * h)
    inner = vision.size("projector_input_dim", default=4096)
    return width * inner + inner * vision.size("projector_output_dim", default=inner) + inner * text


def _mllama(_: Nested, vision: Nested, h: int, text: int) -> int:
    """Llama 3.2: gates and tile embeddings beside the projector."""
    tiles = vision.size("max_num_tiles", default=4)
    ratios = vision.size("max_aspect_ratio_id", default=8) + 1
    image, patch = vision.size("image_size", default=448), vision.size("patch_size", default=14)
    grid = (image // patch) ** 2 + 1
    return vision.size("vision_output_dim", default=h) * text + text + ratios * tiles * h * (2 + grid)


def _resampler(_: Nested, __: Nested, h: int, text: int) -> int:
    """MiniCPM-V: 64 queries look at the patches."""
    return h * text + 4 * text * text + text * text + 64 * text + 6 * text


def _q_former(config: Nested, _: Nested, h: int, text: int) -> int:
    """BLIP-2, Granite Speech: a small BERT whose queries look at the encoder every second layer."""
    name = "qformer_config" if "qformer_config" in config.values else "projector_config"
    former = config.inner(name)
    own, width = former.size("hidden_size", default=768), former.size("intermediate_size", default=3072)
    layers, every = former.size("num_hidden_layers", default=12), former.size("cross_attention_frequency", default=2)
    seen = former.size("encoder_hidden_size", default=h)
    looking = -(-layers // every)
    each = 4 * own * own + 2 * own * width + 11 * own + width
    return layers * each + looking * (2 * own * own + 2 * own * seen + 6 * own) + own * text + text + 32 * own + 2 * own


def _voxtral(_: Nested, audio: Nested, h: int, text: int) -> int:
    return audio.size("intermediate_size", "encoder_ffn_dim", default=4 * h) * text + text * text


def _glm_asr(_: Nested, audio: Nested, h: int, text: int) -> int:
    wide = audio.size("intermediate_size", default=4 * h)
    return wide * 2 * text + 2 * text + 2 * text * text + text


def _ultravox(config: Nested, _: Nested, h: int, text: int) -> int:
    stacked = h * config.size("stack_factor", default=8)
    inner = config.size("hidden_size", default=4096)
    return stacked + stacked * inner + inner // 2 * text


_FAMILIES: dict[str, Projector] = {
    name: projector
    for names, projector in (
        ("qwen2_vl qwen2_5_vl qwen2_5_omni qwen2_5_omni_thinker qwen3_vl qwen3_vl_moe qwen3_5 qwen3_5_moe qwen3_omni_moe "
         "qwen3_omni_moe_thinker", _merger),
        ("mistral3 lighton_ocr", _mistral3),
        ("internvl internvl_chat NVLM_D h2ovl_chat", _internvl),
        ("idefics3 smolvlm", _idefics3),
        ("gemma3 gemma4", _gemma),
        ("paligemma qwen2_audio", _one_layer),
        ("cohere2_vision aya_vision", _cohere),
        ("lfm2_vl", _pixel_shuffle),
        ("kimi_k25 kimi_vl paddleocr_vl", _kimi),
        ("glm4v glm4v_moe glm46v", _glm),
        ("glm_ocr", _glm_ocr),
        ("molmo2", _molmo2),
        ("llama4", _llama4),
        ("mllama", _mllama),
        ("minicpmv minicpmo", _resampler),
        ("blip-2 instructblip granite_speech", _q_former),
        ("voxtral", _voxtral),
        ("glmasr", _glm_asr),
        ("ultravox", _ultravox),
    )
    for name in names.split()
}  # fmt: skip
