"""What runs on the GPU when: the phases of an image, the weights that each has there, and its activations.

Owns the laws of the activations and of offloading. The constants come from runs that `tools/trace_diffusion.py` traced on
diffusers 0.42, and from two published peaks of SDXL (docs/diffusion.md). Leaves formats to `storage`, and the sum on a card
to `memory`.
"""

from __future__ import annotations

from typing import NamedTuple

from gpufleet.planner.diffusion.components import NEVER_OFFLOADED, LoadedPipeline, Part, format_of
from gpufleet.planner.diffusion.known import Transformer, Unet, Vae
from gpufleet.planner.diffusion.options import PIXELS, Attention, Offload
from gpufleet.planner.diffusion.storage import PLAIN, Quantized
from gpufleet.planner.units import GIB

TEXT_ACTIVATIONS_BYTES = 0.09 * GIB
"""T5 XXL over 512 tokens, its position bias and one layer of scores; smaller encoders take less. A prompt is encoded once,
however many images it gets."""

DECODE_MAPS = {2.0: 5.0, 4.0: 3.9}
"""Feature maps of the decoder's widest stage (full resolution, block_out_channels[1]) that its peak holds, by bytes of a
value. Traced: 2.75 at the last upsampling convolution, and 2 for the copies in which cuDNN lays input and output of a
16-bit convolution out anew (NHWC): 4.75; in fp32 it takes less. Published peaks of SDXL, one image of 1,024 pixels, above
its weights: 2.50 GiB in bf16, 3.90 in fp32; a map is 0.5 and 1 GiB."""

IMAGE_VALUES = 3 * 2
"""Of a finished pixel, while others are still decoded: red, green and blue, of the parts and of what they are joined into."""

ATTENTION_VECTORS = 26
"""Of a UNet: vectors of the first attention block's width at its widest moment (GEGLU's halves, their product, the block's
residuals). With three skipped maps for each halving before it, within 2% of the traces of SD 1.5 and SDXL."""

CONTROL_SHARE = 1 / 3
"""A ControlNet's outputs wait for the denoiser: a third of SDXL's activations (1,640 of 5,053 values for each place of the
latents)."""

FRAGMENTATION = 0.12
"""Of a phase's activations: what PyTorch's allocator cannot hand out although it is free, when it has given back all that
it can. Replays of decoding after a step, in the least memory that still works: 0 to 0.12."""

FRAGMENTATION_OF_PIECES = 0.4
"""The same where images or tiles are decoded one after the other: finished ones lie in pieces of the large blocks.
Replayed: 0.36 to 0.41."""


class Recipe(NamedTuple):
    """How an image is made; sides in pixels. `value_bytes` is of what flows through the networks."""

    width: int
    height: int
    images: int
    guided: bool
    offload: Offload
    slicing: bool
    tiling: bool
    attention: Attention
    compute: str
    """fp32, fp16 or bf16."""

    @property
    def value_bytes(self) -> float:
        """Of one activation."""
        return PLAIN[self.compute]

    @property
    def pixels(self) -> int:
        """Of one image."""
        return self.width * self.height

    @property
    def denoised(self) -> int:
        """Images in one denoising step: twice as many with classifier-free guidance."""
        return self.images * (2 if self.guided else 1)


class Phase(NamedTuple):
    """A stretch of the run, in bytes on the GPU."""

    name: str
    pipeline: str
    weights: float
    activations: float
    fragmentation: float

    @property
    def total(self) -> float:
        """Everything of the phase."""
        return self.weights + self.activations + self.fragmentation


class Run(NamedTuple):
    """A pipeline, and how it makes an image."""

    pipeline: LoadedPipeline
    recipe: Recipe


def phases(runs: tuple[Run, ...]) -> tuple[Phase, ...]:
    """The phases of each pipeline, in the order in which they run. Pipelines take turns, and without offload each has the
    weights of all beside it."""
    stay = sum(_resident(part, run) for run in runs for part in _always(run))
    found = (phase(run, stay) for run in runs for phase in (_text, _denoising, _decoding))
    return tuple(phase for phase in found if phase is not None)


# Weights --------------------------------------------------------------------------------------------------------------


def stored_bytes(part: Part, run: Run) -> float:
    """Weights of a part in its format."""
    if part.size_bytes is not None:
        return part.size_bytes
    precision, quantized = format_of(part, run.pipeline, run.recipe.compute)
    network = part.network
    if quantized is None:
        kept = network.kept * (PLAIN["fp32"] - PLAIN["fp16"]) if precision == "fp16" else 0.0
        return part.parameters * PLAIN[precision] + kept
    return _quantized_bytes(part, quantized, run.recipe.value_bytes)


def _quantized_bytes(part: Part, quantized: Quantized, plain: float) -> float:
    network = part.network
    skipped = network.modulation if quantized.skips_modulation else 0
    kept = network.kept if quantized.kept_bytes is not None else 0
    taken = network.linear - skipped - kept
    rest = part.parameters - taken - kept
    return taken * quantized.bytes_per_weight + kept * (quantized.kept_bytes or 0.0) + rest * plain


def _always(run: Run) -> tuple[Part, ...]:
    """The parts that are on the GPU in every phase."""
    if run.recipe.offload == "none":
        return run.pipeline.parts
    return tuple(part for part in run.pipeline.parts if part.name in NEVER_OFFLOADED)


def _resident(part: Part, run: Run) -> float:
    """What a part that is at work has on the GPU."""
    stored = stored_bytes(part, run)
    if run.recipe.offload != "sequential" or part.name in NEVER_OFFLOADED:
        return stored
    return min(stored, part.network.largest_layer * PLAIN["fp32"])


def _working(parts: tuple[Part, ...], run: Run, most: int | None = None) -> float:
    """Weights that a phase brings to the GPU beside what stays there: of these parts, or of the `most` largest."""
    if run.recipe.offload == "none":
        return 0.0
    sizes = sorted((_resident(part, run) for part in parts), reverse=True)
    return max(sizes, default=0.0) if run.recipe.offload == "sequential" else sum(sizes[:most])


# Phases ---------------------------------------------------------------------------------------------------------------


def _text(run: Run, stay: float) -> Phase | None:
    encoders = run.pipeline.of_role("encoder")
    if not encoders:
        return None
    at_once = 2 if run.recipe.guided and run.pipeline.family.encodes_negative else 1
    return _phase("text encoding", run, stay + _working(encoders, run, at_once), TEXT_ACTIVATIONS_BYTES)


def _denoising(run: Run, stay: float) -> Phase:
    shape, recipe = run.pipeline.family.denoiser, run.recipe
    values = _unet_values(shape, recipe) if isinstance(shape, Unet) else _transformer_values(shape, recipe)
    controls = len(run.pipeline.of_role("control"))
    activations = values * recipe.denoised * recipe.value_bytes * (1 + CONTROL_SHARE * controls)
    if isinstance(shape, Unet):
        activations = max(activations, _scores_bytes(shape, recipe) + activations / 2)
    weights = _working(run.pipeline.of_role("denoiser", "control", "adapter"), run)
    return _phase("denoising", run, stay + weights, activations)


def _unet_values(unet: Unet, recipe: Recipe) -> float:
    """Values of one image in one step."""
    attention = ATTENTION_VECTORS * unet.attention_channels / _area(unet)
    return recipe.pixels / PIXELS**2 * (attention + 3 * unet.channels * unet.level)


def _area(unet: Unet) -> float:
    """Places of the latents that one place of the first attention stands for."""
    return float(4**unet.level)


def _transformer_values(transformer: Transformer, recipe: Recipe) -> float:
    tokens = recipe.pixels / transformer.pixels_per_token**2 + transformer.text_tokens
    return tokens * transformer.hidden_size * transformer.vectors


def _scores_bytes(unet: Unet, recipe: Recipe) -> float:
    """Attention scores and their softmax, where no fused kernel keeps them off the memory."""
    if recipe.attention == "sdpa":
        return 0.0
    tokens = recipe.pixels / PIXELS**2 / _area(unet)
    heads = unet.heads * recipe.denoised if recipe.attention == "full" else unet.heads / 2
    return 2 * heads * tokens**2 * recipe.value_bytes


def _decoding(run: Run, stay: float) -> Phase | None:
    vaes, vae, recipe = run.pipeline.of_role("vae"), run.pipeline.family.vae, run.recipe
    if not vaes:
        return None
    upcast = vae.upcasts and recipe.compute == "fp16"
    value = PLAIN["fp32"] if upcast else recipe.value_bytes
    weights = stay + _working(vaes, run)
    if upcast:
        weights += sum(_resident(part, run) for part in vaes)
    whole = _phase("decoding", run, weights, _decoded_bytes(vae, recipe.pixels, value) * recipe.images)
    return min((whole, *_in_pieces(run, weights, value)), key=lambda phase: phase.total)


def _in_pieces(run: Run, weights: float, value: float) -> tuple[Phase, ...]:
    """The phase under slicing and tiling, where they divide anything."""
    vae, recipe = run.pipeline.family.vae, run.recipe
    tiled = recipe.tiling and max(recipe.width, recipe.height) > vae.tile
    sliced = recipe.slicing and recipe.images > 1
    if not (tiled or sliced):
        return ()
    pixels = min(recipe.width, vae.tile) * min(recipe.height, vae.tile) if tiled else recipe.pixels
    at_once = 1 if sliced else recipe.images
    finished = IMAGE_VALUES * recipe.pixels * recipe.images * value
    activations = _decoded_bytes(vae, pixels, value) * at_once + finished
    return (_phase("decoding", run, weights, activations, FRAGMENTATION_OF_PIECES),)


def _decoded_bytes(vae: Vae, pixels: int, value: float) -> float:
    return DECODE_MAPS[value] * vae.channels * pixels * value


def _phase(name: str, run: Run, weights: float, activations: float, fragmentation: float = FRAGMENTATION) -> Phase:
    return Phase(name, run.pipeline.id, weights, activations, activations * fragmentation)
