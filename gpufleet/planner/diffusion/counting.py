"""Parameters of a component, counted from its config.json.

Owns the classes that are counted: exactly, as diffusers and transformers build them. Other classes need their count said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gpufleet.planner.errors import Problem, RequirementError

Config = Mapping[str, Any]


def count_parameters(config: Config, path: str) -> int | None:
    """Parameters of the component that this config.json describes; None for a class that is not counted here."""
    names = config.get("architectures")
    name = config.get("_class_name") or (names[0] if isinstance(names, Sequence) and names else None)
    count = COUNTED.get(str(name))
    if count is None:
        return None
    try:
        return count(config)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise RequirementError(
            Problem(
                path=f"{path}.config",
                message=f"a {name} cannot be counted from it: {said}",
                allowed=f"the fields of a {name}'s config.json",
                next_step=f"give {path}.parameters instead",
            )
        ) from None


# Text encoders --------------------------------------------------------------------------------------------------------


def _clip_text(config: Config) -> int:
    """Token and position embeddings, layers of four attention matrices and an MLP with their biases, a last norm."""
    h, width, layers = int(config["hidden_size"]), int(config["intermediate_size"]), int(config["num_hidden_layers"])
    embeddings = (int(config["vocab_size"]) + int(config["max_position_embeddings"])) * h
    layer = 4 * _linear(h, h) + _linear(h, width) + _linear(width, h) + 4 * h
    projected = "WithProjection" in str(config.get("architectures"))
    return embeddings + layers * layer + 2 * h + (int(config["projection_dim"]) * h if projected else 0)


def _t5(config: Config) -> int:
    """Embeddings, layers of four attention matrices and a gated MLP without biases, one table of relative positions."""
    h, width, layers = int(config["d_model"]), int(config["d_ff"]), int(config["num_layers"])
    inner = int(config["d_kv"]) * int(config["num_heads"])
    gated = 3 if "gated" in str(config["feed_forward_proj"]) else 2
    positions = int(config.get("relative_attention_num_buckets", 32)) * int(config["num_heads"])
    return int(config["vocab_size"]) * h + layers * (4 * h * inner + gated * h * width + 2 * h) + h + positions


# Transformers ---------------------------------------------------------------------------------------------------------


def _flux(config: Config) -> int:
    """Double-stream blocks with weights for text and image, single-stream blocks with attention and MLP side by side."""
    width = int(config["attention_head_dim"])
    h = int(config["num_attention_heads"]) * width
    stream = 6 * _linear(h, h) + 4 * _linear(h, h) + _mlp(h) + 2 * width
    single = 3 * _linear(h, h) + _linear(h, 4 * h) + _linear(5 * h, h) + 3 * _linear(h, h) + 2 * width
    channels = int(config["in_channels"])
    guidance = _embedder(256, h) if config.get("guidance_embeds") else 0
    embedders = _embedder(256, h) + guidance + _embedder(int(config["pooled_projection_dim"]), h)
    return (
        int(config["num_layers"]) * 2 * stream
        + int(config["num_single_layers"]) * single
        + embedders
        + _linear(int(config["joint_attention_dim"]), h)
        + _linear(channels, h)
        + _linear(h, 2 * h)
        + _linear(h, channels)
    )


def _sd3(config: Config) -> int:
    """Joint blocks with weights for text and image; the last has no text after its attention."""
    width, layers = int(config["attention_head_dim"]), int(config["num_layers"])
    h = int(config["num_attention_heads"]) * width
    norms = 2 * width if config.get("qk_norm") else 0
    image = _linear(h, 6 * h) + 4 * _linear(h, h) + _mlp(h) + norms
    text = _linear(h, 6 * h) + 4 * _linear(h, h) + _mlp(h) + norms
    last = _linear(h, 2 * h) + 3 * _linear(h, h) + norms
    dual = len(config.get("dual_attention_layers") or ()) * (_linear(h, 3 * h) + 4 * _linear(h, h) + norms)
    patch = int(config["patch_size"]) ** 2
    return (
        layers * image
        + (layers - 1) * text
        + last
        + dual
        + _linear(patch * int(config["in_channels"]), h)
        + _embedder(256, h)
        + _embedder(int(config["pooled_projection_dim"]), h)
        + _linear(int(config["joint_attention_dim"]), int(config["caption_projection_dim"]))
        + _linear(h, 2 * h)
        + _linear(h, patch * int(config.get("out_channels") or config["in_channels"]))
    )


# UNets and VAEs -------------------------------------------------------------------------------------------------------


def _unet(config: Config) -> int:
    """Residual blocks, and transformers where a block's name says attention, down, in the middle and up again."""
    channels, each = _list(config, "block_out_channels"), int(config["layers_per_block"])
    time, last = 4 * channels[0], len(channels) - 1
    cross = _per_level(config["cross_attention_dim"], len(channels))
    depth = _per_level(config.get("transformer_layers_per_block", 1), len(channels))
    down = ["CrossAttn" in str(block) for block in config["down_block_types"]]
    up = ["CrossAttn" in str(block) for block in config["up_block_types"]]

    def attention(level: int) -> int:
        return _spatial_transformer(channels[level], depth[level], cross[level])

    total = _embedder(channels[0], time) + _conv(int(config["in_channels"]), channels[0])
    if config.get("addition_embed_type") == "text_time":
        total += _embedder(int(config["projection_class_embeddings_input_dim"]), time)
    for level, width in enumerate(channels):
        before = channels[max(level - 1, 0)]
        total += _residual(before, width, time) + (each - 1) * _residual(width, width, time)
        total += each * attention(level) if down[level] else 0
        total += _conv(width, width) if level < last else 0
    total += 2 * _residual(channels[last], channels[last], time) + attention(last)
    for place, level in enumerate(range(last, -1, -1)):
        width, before, skipped = channels[level], channels[min(level + 1, last)], channels[max(level - 1, 0)]
        inputs = [before, *[width] * each]
        skips = [*[width] * each, skipped]
        total += sum(_residual(i + s, width, time) for i, s in zip(inputs, skips, strict=True))
        total += (each + 1) * attention(level) if up[place] else 0
        total += _conv(width, width) if level else 0
    return total + 2 * channels[0] + _conv(channels[0], int(config["out_channels"]))


def _vae(config: Config) -> int:
    """An encoder of residual blocks, its mirror image with one block more in each level, attention in their middles."""
    channels, each, latent = (
        _list(config, "block_out_channels"),
        int(config["layers_per_block"]),
        int(config["latent_channels"]),
    )
    last, widest = len(channels) - 1, channels[-1]
    middle = 2 * _residual(widest, widest) + 2 * widest + 4 * _linear(widest, widest)
    total = 2 * middle + 2 * widest + 2 * channels[0]
    for level, width in enumerate(channels):
        total += _residual(channels[max(level - 1, 0)], width) + (each - 1) * _residual(width, width)
        total += _residual(channels[min(level + 1, last)], width) + each * _residual(width, width)
        total += 2 * _conv(width, width) if 0 < level < last else _conv(width, width) if last else 0
    total += _conv(int(config["in_channels"]), channels[0]) + _conv(widest, 2 * latent)
    total += _conv(latent, widest) + _conv(channels[0], int(config["out_channels"]))
    total += _linear(2 * latent, 2 * latent) if config.get("use_quant_conv", True) else 0
    return total + (_linear(latent, latent) if config.get("use_post_quant_conv", True) else 0)


# Layers ---------------------------------------------------------------------------------------------------------------


def _linear(inputs: int, outputs: int) -> int:
    """With its bias; a convolution over single places is the same."""
    return inputs * outputs + outputs


def _conv(inputs: int, outputs: int) -> int:
    return 9 * inputs * outputs + outputs


def _mlp(hidden: int) -> int:
    return _linear(hidden, 4 * hidden) + _linear(4 * hidden, hidden)


def _embedder(inputs: int, outputs: int) -> int:
    return _linear(inputs, outputs) + _linear(outputs, outputs)


def _residual(inputs: int, outputs: int, time: int = 0) -> int:
    """Two norms and convolutions, the time's projection, and one of the input where the width changes."""
    projected = _linear(inputs, outputs) if inputs != outputs else 0
    timed = _linear(time, outputs) if time else 0
    return 2 * inputs + _conv(inputs, outputs) + timed + 2 * outputs + _conv(outputs, outputs) + projected


def _spatial_transformer(width: int, depth: int, cross: int) -> int:
    """Self-attention, attention to the text and a gated MLP, between a norm and two projections."""
    own = 3 * width * width + _linear(width, width)
    text = width * width + 2 * cross * width + _linear(width, width)
    gated = _linear(width, 8 * width) + _linear(4 * width, width)
    return 2 * width + 2 * _linear(width, width) + depth * (6 * width + own + text + gated)


def _list(config: Config, name: str) -> list[int]:
    value = config[name]
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f"{name} is not a list of numbers")
    return [int(item) for item in value]


def _per_level(value: Any, levels: int) -> list[int]:
    return [int(item) for item in value] if isinstance(value, Sequence) else [int(value)] * levels


COUNTED: Mapping[str, Callable[[Config], int]] = MappingProxyType({
    "CLIPTextModel": _clip_text, "CLIPTextModelWithProjection": _clip_text, "T5EncoderModel": _t5,
    "FluxTransformer2DModel": _flux, "SD3Transformer2DModel": _sd3,
    "UNet2DConditionModel": _unet, "AutoencoderKL": _vae,
})  # fmt: skip
"""The classes whose parameters are counted from a config.json."""
