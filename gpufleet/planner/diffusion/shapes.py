"""A pipeline's shape from its components' configs: the sizes that its activations follow from.

Owns reading a component's config.json (the fields of diffusers and transformers) and what is assumed where there is none.
Leaves the published classes to `known`, and what follows from a shape to `phases`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from gpufleet.planner.diffusion.known import (
    FAMILIES,
    JOINT_VECTORS,
    PARALLEL_VECTORS,
    Family,
    Transformer,
    Unet,
    Vae,
)
from gpufleet.planner.errors import Problem, RequirementError

Config = Mapping[str, Any]

TYPICAL_HIDDEN_SIZE = 1536
TYPICAL_PARAMETERS = 2.03e9
TYPICAL_GROWTH = 0.4
"""Hidden size of a transformer by its parameters, through SD3's; within 20% of PixArt's, SD3.5 large's, AuraFlow's and
FLUX's."""

TEXT_TOKENS = 512
"""What a T5 encoder is given at most by the pipelines that were looked at."""


def family_of(
    class_name: str, denoiser: str, parameters: int, configs: Mapping[str, Config]
) -> tuple[Family, tuple[str, ...]]:
    """The family of a pipeline, and what was assumed for it."""
    notes: tuple[str, ...] = ()
    family = FAMILIES.get(class_name)
    if family is None:
        family = FAMILIES["StableDiffusionXLPipeline"]
        notes = ("pipeline unknown: images of 1,024 pixels with classifier-free guidance, and SDXL's VAE, are assumed",)
        family = family._replace(vae=Vae())
        if denoiser not in configs:
            family, note = _assumed_denoiser(family, denoiser, parameters)
            notes += (note,)
    if denoiser in configs:
        family = family._replace(denoiser=_denoiser(denoiser, configs[denoiser], family))
    if "vae" in configs:
        family = family._replace(vae=_vae(configs["vae"], family.vae))
    return family, notes


def _assumed_denoiser(family: Family, denoiser: str, parameters: int) -> tuple[Family, str]:
    if denoiser == "unet":
        return family, "the UNet's activations are taken for SDXL's; give components.unet.config for a sure answer"
    hidden = round(TYPICAL_HIDDEN_SIZE * (max(parameters, 1e8) / TYPICAL_PARAMETERS) ** TYPICAL_GROWTH / 64) * 64
    note = (
        f"a transformer of {parameters / 1e9:.3g}B parameters is taken for one of hidden size {hidden:,}; give "
        "components.transformer.config for a sure answer"
    )
    return family._replace(denoiser=Transformer(hidden, TEXT_TOKENS, PARALLEL_VECTORS)), note


def _denoiser(name: str, config: Config, family: Family) -> Unet | Transformer:
    if name == "unet":
        return _unet(config)
    heads, width = _number(config, "num_attention_heads"), _number(config, "attention_head_dim")
    hidden = _number(config, "inner_dim") or _number(config, "hidden_size") or heads * width
    if not hidden:
        _fail(
            "transformer.config",
            "its hidden size is not in it",
            allowed="num_attention_heads and attention_head_dim, or hidden_size",
        )
    known = family.denoiser if isinstance(family.denoiser, Transformer) else None
    parallel = bool(config.get("num_single_layers"))
    patch = _number(config, "patch_size") or 1
    # FLUX packs 2 x 2 places of the latents into a token before its transformer sees them (patch_size 1).
    packed = 2 if patch == 1 else patch
    return Transformer(
        hidden_size=hidden,
        text_tokens=known.text_tokens if known else TEXT_TOKENS,
        vectors=PARALLEL_VECTORS if parallel else known.vectors if known else JOINT_VECTORS,
        pixels_per_token=8 * packed,
    )


def _unet(config: Config) -> Unet:
    channels = _sequence(config, "block_out_channels")
    blocks = config.get("down_block_types")
    if not channels or not isinstance(blocks, Sequence) or len(blocks) != len(channels):
        _fail(
            "unet.config",
            "block_out_channels and down_block_types must be lists of equal length",
            allowed="the fields of a UNet2DConditionModel's config.json",
        )
    level = next((place for place, block in enumerate(blocks) if "Attn" in str(block)), len(channels) - 1)
    # What the config calls attention_head_dim is the number of heads (diffusers issue 2011).
    heads = config.get("num_attention_heads") or config.get("attention_head_dim") or 8
    per_level = heads if isinstance(heads, Sequence) else [heads] * len(channels)
    return Unet(channels[0], level, channels[level], int(per_level[level]))


def _vae(config: Config, known: Vae) -> Vae:
    channels = _sequence(config, "block_out_channels")
    return Vae(
        channels=channels[min(1, len(channels) - 1)] if channels else known.channels,
        tile=_number(config, "sample_size") or known.tile,
        upcasts=known.upcasts and bool(config.get("force_upcast", True)),
    )


def _number(config: Config, name: str) -> int:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _sequence(config: Config, name: str) -> list[int]:
    value = config.get(name)
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [v for v in value if isinstance(v, int) and v > 0]


def _fail(where: str, message: str, *, allowed: str) -> NoReturn:
    raise RequirementError(
        Problem(
            path=f"model.pipeline.components.{where}",
            message=message,
            allowed=allowed,
            next_step="give the component's own config.json",
        )
    )
