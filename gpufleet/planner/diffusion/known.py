"""Facts of the pipelines, networks and ControlNets that diffusers publishes classes for.

Owns the tables. Parameter counts were read off the networks as diffusers and transformers build them from the published
configs; those of whole pipelines are in the registry of models. Leaves bytes to `storage` and activations to `phases`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gpufleet.planner import models


class Network(NamedTuple):
    """Parts of a network's parameters that formats treat apart. Counts."""

    linear: int
    """Weights of linear layers: what libraries quantise. Convolutions and embeddings stay in 16 bits."""
    modulation: int = 0
    """Of these, weights in adaptive norms, which layerwise casting skips (patterns `norm`, `pos_embed`…)."""
    kept: int = 0
    """Of these, T5's `wo`, which transformers keeps in fp32 (T5PreTrainedModel._keep_in_fp32_modules)."""
    largest_layer: int = 0
    """Parameters of its largest single layer: what sequential offload has on the GPU."""
    lora_width: int = 0
    """Inputs and outputs of all attention layers: the parameters of a LoRA of rank 1."""


class Unet(NamedTuple):
    """A UNet2DConditionModel, as far as its activations go: channels at full latent resolution; level (number of
    halvings), channels and heads of the first blocks with attention."""

    channels: int
    level: int
    attention_channels: int
    heads: int


class Transformer(NamedTuple):
    """A diffusion transformer: hidden size, pixels that a token stands for in each direction, text tokens in the same
    sequence, and the vectors of the hidden size that a token holds at the widest moment of a layer."""

    hidden_size: int
    text_tokens: int
    vectors: float
    pixels_per_token: int = 16


class Vae(NamedTuple):
    """An AutoencoderKL: channels of the feature maps at full resolution where its last block starts
    (block_out_channels[1]), and the side of a tile (sample_size), pixels."""

    channels: int = 256
    tile: int = 1024
    upcasts: bool = False
    """Whether the pipeline decodes in fp32 what is loaded in fp16 (force_upcast)."""


class Family(NamedTuple):
    """What the pipelines of one class have in common."""

    side: int
    """Pixels of an image's sides unless the caller says otherwise."""
    guided: bool
    """Whether classifier-free guidance is on unless the caller says otherwise: every image is denoised twice."""
    encodes_negative: bool
    """Whether all text encoders run again for the negative prompt: two of them are then on the GPU at once under
    model offload, since the first to run again has no predecessor whose hook would move the last one away."""
    denoiser: Unet | Transformer
    vae: Vae


JOINT_VECTORS = 13.0
"""SD3, SD3.5, PixArt-Sigma and AuraFlow: 11 to 14 at 512 to 2,048 pixels, traced on diffusers 0.42."""
PARALLEL_VECTORS = 17.5
"""FLUX: its single-stream blocks hold attention and an MLP of four hidden sizes side by side; traced 17.2 to 17.6."""

FAMILIES: Mapping[str, Family] = MappingProxyType({
    "StableDiffusionPipeline": Family(
        side=512, guided=True, encodes_negative=True, denoiser=Unet(320, 0, 320, 8), vae=Vae(tile=512)
    ),
    "StableDiffusionXLPipeline": Family(
        side=1024, guided=True, encodes_negative=True, denoiser=Unet(320, 1, 640, 10), vae=Vae(upcasts=True)
    ),
    "StableDiffusion3Pipeline": Family(
        side=1024, guided=True, encodes_negative=True, denoiser=Transformer(1536, 77 + 256, JOINT_VECTORS), vae=Vae()
    ),
    "FluxPipeline": Family(
        side=1024, guided=False, encodes_negative=False, denoiser=Transformer(3072, 512, PARALLEL_VECTORS), vae=Vae()
    ),
    # Text reaches PixArt by cross-attention only.
    "PixArtSigmaPipeline": Family(
        side=1024, guided=True, encodes_negative=True, denoiser=Transformer(1152, 0, JOINT_VECTORS), vae=Vae()
    ),
})  # fmt: skip

NETWORKS: Mapping[int, Network] = MappingProxyType({
    # UNets: SD 1.5, SDXL
    859_520_964: Network(linear=270_049_280, largest_layer=29_492_480, lora_width=199_296),
    2_567_463_684: Network(linear=2_232_647_680, largest_layer=29_492_480, lora_width=1_451_520),
    # Transformers: SD3 medium, FLUX.1-dev, FLUX.1-schnell, PixArt-Sigma
    2_028_328_000: Network(2_027_126_784, modulation=674_758_656, largest_layer=14_164_992, lora_width=586_752),
    11_901_408_320: Network(11_898_322_944, modulation=3_246_391_296, largest_layer=56_641_536, lora_width=1_634_304),
    11_891_178_560: Network(11_888_099_328, modulation=3_246_391_296, largest_layer=56_641_536, lora_width=1_634_304),
    610_856_096: Network(610_209_792, largest_layer=7_969_536, lora_width=516_096),
    # Text encoders: T5 XXL, CLIP ViT-L without and with its projection, OpenCLIP ViT-bigG
    4_762_310_656: Network(4_630_511_616, kept=1_006_632_960, largest_layer=131_596_288),
    123_060_480: Network(84_934_656, largest_layer=37_945_344),
    123_650_304: Network(85_524_480, largest_layer=37_945_344),
    694_659_840: Network(630_784_000, largest_layer=63_242_240),
    # VAEs: of SD and SDXL (4 channels), of SD3 and FLUX (16 channels)
    83_653_863: Network(2_097_152, largest_layer=2_359_808),
    83_819_683: Network(2_097_152, largest_layer=2_359_808),
})  # fmt: skip
"""By parameter count, which tells these networks apart."""

T5_XXL = 4_762_310_656

EVER_LARGEST_LAYER = 131_596_288
"""The token embedding of T5 XXL: no layer of a pipeline that was looked at is larger."""

SAFETY_CHECKERS: Mapping[str, int] = MappingProxyType({"runwayml/stable-diffusion-v1-5": 303_981_588})
"""Parameters of the CLIP ViT-L/14 that model_index.json names beside the components of the registry; it is loaded unless
the pipeline is told not to (safety_checker=None), and never offloaded."""

FURTHER_PIPELINES: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS": {
        "pipeline": "PixArtSigmaPipeline",
        "components": {"transformer": 610_856_096, "text_encoder": T5_XXL, "vae": 83_653_863},
    },
})  # fmt: skip
"""Pipelines that the registry of models does not have, as it would."""

SAME_SIZES: Mapping[str, str] = MappingProxyType({
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "runwayml/stable-diffusion-v1-5",
    "CompVis/stable-diffusion-v1-4": "runwayml/stable-diffusion-v1-5",
    "stabilityai/stable-diffusion-3-medium-diffusers": "stabilityai/stable-diffusion-3-medium",
})  # fmt: skip
"""Other ids of known pipelines: the same networks, at another address or trained longer."""


class KnownPipeline(NamedTuple):
    """A pipeline by its id: the id whose sizes these are, and its class and components as the registry has them."""

    id: str
    config: Mapping[str, Any]


def known_pipeline(model_id: str) -> KnownPipeline | None:
    """The pipeline of this id; None where it is not known, or is none. Case does not matter, as on Hugging Face."""
    folded = {known.casefold(): base for known, base in SAME_SIZES.items()}
    name = folded.get(model_id.casefold(), model_id)
    further = {known.casefold(): known for known in FURTHER_PIPELINES}.get(name.casefold())
    if further:
        return KnownPipeline(further, FURTHER_PIPELINES[further])
    found = models.known_model(name)
    return KnownPipeline(found.id, found.config) if found is not None and "components" in found.config else None


def known_pipelines() -> list[str]:
    """All their ids."""
    registry = [i for i in models.known_ids() if (m := models.known_model(i)) and "components" in m.config]
    return [*registry, *FURTHER_PIPELINES, *SAME_SIZES]


class KnownControlNet(NamedTuple):
    """ControlNets of one size, by the form of their ids."""

    pattern: str
    parameters: int


CONTROL_NETS: tuple[KnownControlNet, ...] = (
    KnownControlNet(r"lllyasviel/(sd-controlnet-|control_v11).*", 361_279_120),
    KnownControlNet(r"(diffusers|xinsir|thibaud)/controlnet-(?!.*(small|mid)).*sdxl-1\.0.*", 1_251_014_160),
)
"""Copies of a UNet's encoding half: of SD 1.5 and of SDXL."""

UNET_CONTROL_NETS: Mapping[int, int] = MappingProxyType({859_520_964: 361_279_120, 2_567_463_684: 1_251_014_160})
"""The same, by the UNet that they stand beside."""


def known_control_net(model_id: str) -> int | None:
    """Parameters of the ControlNet of this id; None where it is not known."""
    return next(
        (known.parameters for known in CONTROL_NETS if re.fullmatch(known.pattern, model_id, re.IGNORECASE)), None
    )
