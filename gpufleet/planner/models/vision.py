"""Counts the parameters of image encoders from a `vision_config`.

Owns one formula for vision transformers with few variations. Leaves text models to `counting`. Encoders that the
formula does not know are counted as a plain transformer of the given sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufleet.planner.models.parts import VisionEncoder

_DYNAMIC_TOKENS = 16_384
"""Most image tokens that Qwen's processors make of one image (max_pixels 12,845,056 / 28 / 28)."""
_FRAMES_ARE_IMAGES = ("qwen2_vl", "qwen2_5_vl")


def read_vision(config: Mapping[str, Any], text_hidden: int) -> VisionEncoder | None:
    """The image encoder that the config describes; None where it has none, or only its patch size is known."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return None

    def size(*names: str, default: int = 0) -> int:
        return next((int(vision[n]) for n in names if isinstance(vision.get(n), int)), default)

    kind = str(vision.get("model_type") or config.get("model_type") or "")
    dynamic = str(config.get("model_type", "")).startswith("qwen")
    h = size("embed_dim", "hidden_size")
    layers = size("depth", "num_hidden_layers")
    if not h or not layers:
        return None
    width = size("intermediate_size", default=h * size("mlp_ratio", default=4))
    patch, merge = size("patch_size", default=14), size("spatial_merge_size", default=2)
    gated = 3 if "qwen2_5_vl" in (kind, config.get("model_type")) or kind in ("pixtral", "gemma4_vision") else 2
    biased = kind not in ("pixtral", "gemma4_vision")
    norm = 1 if gated == 3 else 2
    per_layer = 4 * h * h + gated * h * width + 2 * norm * h
    per_layer += (4 * h + (gated - 1) * width + h) if biased else 0
    depth = layers + size("num_global_layers")
    pixels = (
        size("in_channels", "in_chans", "num_channels", default=3) * patch**2 * size("temporal_patch_size", default=1)
    )
    patches = pixels * h
    positions = size("num_position_embeddings") * h
    image = size("image_size")
    if image and kind != "pixtral":
        positions = (image // patch) ** 2 * h
    if dynamic:
        merged = h * merge * merge
        out = size("out_hidden_size", default=0) or (size("hidden_size") if "embed_dim" in vision else text_hidden)
        deepstack = len(vision.get("deepstack_visual_indexes") or ())
        projector = (1 + deepstack) * (merged * merged + merged + merged * out + out)
        shown = _DYNAMIC_TOKENS * merge * merge
    else:
        projector = size("vision_output_dim", default=h) * text_hidden
        if kind == "pixtral":
            projector = h * merge * merge * h + h * text_hidden + text_hidden * text_hidden
        if kind == "llama4_vision_model":
            inner = size("projector_input_dim", default=4096)
            projector = width * inner + inner * size("projector_output_dim", default=inner) + inner * text_hidden
        shown = (image // patch) ** 2 * size("max_num_tiles", default=1) if image else 4096
    return VisionEncoder(
        parameters=depth * per_layer + patches + positions + projector,
        hidden_size=h, intermediate_size=width, layers=depth, patches_per_image=shown,
        tokens_per_image=_tokens(config, shown, dynamic=dynamic), values_per_patch=pixels,
        is_gated=gated == 3, frames_are_images=config.get("model_type") in _FRAMES_ARE_IMAGES,
    )  # fmt: skip


def _tokens(config: Mapping[str, Any], patches: int, *, dynamic: bool) -> int:
    """Patches merged side by side, or pooled to a fixed number (Gemma 3)."""
    if dynamic:
        return _DYNAMIC_TOKENS
    pooled = config.get("mm_tokens_per_image")
    if isinstance(pooled, int):
        return pooled
    merged = config.get("spatial_merge_size")
    side = merged if isinstance(merged, int) else 2 if config.get("model_type") == "llama4" else 1
    return max(patches // side**2, 1)
