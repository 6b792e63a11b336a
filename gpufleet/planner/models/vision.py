"""Counts the parameters of image encoders.

Owns one formula for vision transformers and a table of how each type builds them (as in the modelling code of Hugging
Face transformers). Leaves what brings images into the text model to `projectors`. An encoder that the table does not know
is counted as a plain transformer of the given sizes. Imported only for models that see.
"""

from __future__ import annotations

from typing import NamedTuple

from gpufleet.planner.models.nested import Nested

_DYNAMIC_TOKENS = 16_384
"""Most image tokens that Qwen's processors make of one image (max_pixels 12,845,056 / 28 / 28)."""
_PATCHES_WITHOUT_A_SIZE = 4096


class _Plan(NamedTuple):
    """How an encoder type builds its layers."""

    gated: bool = False
    attention_bias: bool = True
    mlp_bias: bool = True
    patch_bias: bool = True
    norm_parts: int = 2
    outer_norms: int = 1
    class_token: bool = False
    positions: bool = True
    layer_scales: int = 0
    """Vectors per layer that scale its outputs."""
    is_dynamic: bool = False
    """Whether an image of any size is taken as it is."""


_QWEN = _Plan(positions=False, patch_bias=False, outer_norms=0, is_dynamic=True)
_QWEN25 = _QWEN._replace(gated=True, norm_parts=1)
_QWEN3 = _QWEN._replace(patch_bias=True, positions=True)
_BARE = _Plan(gated=True, attention_bias=False, mlp_bias=False, norm_parts=1, patch_bias=False, positions=False)
_PLANS: dict[str, _Plan] = {
    name: plan
    for names, plan in (
        ("siglip_vision_model siglip2_vision_model idefics3_vision idefics2_vision smolvlm_vision janus_vision_model "
         "paddleocr_vl_vision minicpmv4_6_vision molmo2_vision kimi_k25_vision moonvit siglip_so400m_14_980", _Plan()),
        ("clip_vision_model", _Plan(class_token=True, patch_bias=False, outer_norms=2)),
        ("pixtral gemma4_vision", _BARE),
        ("qwen2_vl qwen2_vl_vision", _QWEN),
        ("qwen2_5_vl qwen2_5_vl_vision qwen2_5_omni_vision_encoder", _QWEN25),
        ("qwen3_vl qwen3_vl_vision qwen3_vl_moe qwen3_vl_moe_vision qwen3_omni_moe_vision_encoder qwen3_5 qwen3_5_moe "
         "qwen3_5_vision qwen3_5_moe_vision", _QWEN3),
        ("glm4v_vision glm4v glm4v_moe glm4v_moe_vision",
         _BARE._replace(positions=True, patch_bias=True, outer_norms=2, is_dynamic=True)),
        ("glm_ocr_vision", _QWEN25._replace(patch_bias=True, outer_norms=1)),
        ("ovis2_vision aimv2_vision_model aimv2", _BARE._replace(positions=True, patch_bias=True, outer_norms=2)),
        ("internvl_vision", _Plan(class_token=True, layer_scales=2, outer_norms=0)),
        ("intern_vit_6b", _Plan(class_token=True, layer_scales=2, outer_norms=0)),
        ("blip_2_vision_model instructblip_vision_model", _Plan(class_token=True)),
        ("mllama_vision_model", _Plan(class_token=True, patch_bias=False, attention_bias=False, outer_norms=2)),
        ("llama4_vision_model", _Plan(class_token=True, patch_bias=False, outer_norms=2)),
    )
    for name in names.split()
}  # fmt: skip


class Tower(NamedTuple):
    """An image encoder without its projector."""

    parameters: int
    hidden_size: int
    intermediate_size: int
    layers: int
    patches_per_image: int
    tokens_per_image: int
    values_per_patch: int
    is_gated: bool
    is_known: bool


def read_tower(vision: Nested, model_type: str, parent_type: str, *, merged: int) -> Tower | None:
    """The encoder that the config describes, of whose patches `merged` × `merged` become one token; None where only its
    patches are given."""
    plan = _PLANS.get(model_type) or _PLANS.get(parent_type, _Plan())
    h, layers = _hidden(vision, model_type), vision.size("depth", "num_hidden_layers", "layers")
    if not h or not layers:
        return None
    width = vision.size("intermediate_size") or int(h * vision.ratio("mlp_ratio", 4.0))
    if model_type.startswith("glm4v"):  # whose blocks are as wide as the model that they feed
        width = vision.size("out_hidden_size", default=width)
    inner = vision.size("head_dim") * vision.size("num_attention_heads", "num_heads") or h
    depth = layers + vision.size("num_global_layers")
    parameters = depth * _layer(plan, vision, h, inner, width) + _outside(plan, vision, h)
    image, patch = vision.size("image_size"), vision.size("patch_size", default=14)
    shown = (image // patch) ** 2 * vision.size("max_num_tiles", default=1) if image else _PATCHES_WITHOUT_A_SIZE
    tokens = max(shown // merged**2, 1)
    if plan.is_dynamic:
        tokens = _DYNAMIC_TOKENS
        shown = tokens * vision.size("spatial_merge_size", default=2) ** 2
    return Tower(
        parameters=parameters, hidden_size=h, intermediate_size=width, layers=depth, patches_per_image=shown,
        tokens_per_image=tokens, values_per_patch=_pixels(vision), is_gated=plan.gated,
        is_known=model_type in _PLANS or parent_type in _PLANS,
    )  # fmt: skip


def _hidden(vision: Nested, model_type: str) -> int:
    """Qwen2-VL names its own width `embed_dim`, and the text model's `hidden_size`."""
    if model_type.startswith("qwen2_vl"):
        return vision.size("embed_dim", "hidden_size")
    return vision.size("hidden_size", "embed_dim", "width")


def _layer(plan: _Plan, vision: Nested, h: int, inner: int, width: int) -> int:
    matrices = 3 if plan.gated else 2
    said = vision.flag("attention_bias", vision.flag("qkv_bias", None))
    attention_bias = 3 * inner * (plan.attention_bias if said is None else said)
    if plan.attention_bias:
        attention_bias += h
    mlp_bias = (matrices - 1) * width + h if plan.mlp_bias else 0
    normed = 2 * inner if vision.flag("use_qk_norm", vision.flag("qk_normalization", False)) else 0
    norm_parts = 1 if vision.text("norm_type") == "rms_norm" else plan.norm_parts
    return (
        4 * h * inner + matrices * h * width + attention_bias + mlp_bias + normed
        + (2 * norm_parts + plan.layer_scales) * h
    )  # fmt: skip


def _outside(plan: _Plan, vision: Nested, h: int) -> int:
    patch = vision.size("patch_size", default=14)
    patches = _pixels(vision) * h + plan.patch_bias * h
    grid = vision.size("num_position_embeddings", "position_embedding_size")
    if not grid and vision.size("image_size"):
        grid = (vision.size("image_size") // patch) ** 2 + plan.class_token
    if vision.text("model_type") in ("moonvit", "kimi_k25_vision"):  # whose table is stretched to every image
        height = vision.size("init_pos_emb_height", "pos_emb_height", default=64)
        grid = height * vision.size("init_pos_emb_width", "pos_emb_width", default=height)
    held = grid * h if plan.positions else 0
    return patches + held + plan.class_token * h + plan.outer_norms * plan.norm_parts * h


def _pixels(vision: Nested) -> int:
    """Numbers in one patch."""
    channels = vision.size("in_channels", "in_chans", "num_channels", default=3)
    return channels * vision.size("temporal_patch_size", default=1) * vision.size("patch_size", default=14) ** 2
