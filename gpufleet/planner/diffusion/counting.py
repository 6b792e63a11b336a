"""Parameters of a component, counted from its config.json.

Owns the classes that are counted: exact, as diffusers and transformers build them. Other classes need their count said.
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
    except (KeyError, TypeError, ValueError) as error:
        raise RequirementError(
            Problem(
                path=f"{path}.config",
                message=f"a {name} cannot be counted from it: {_said(error)}",
                allowed=f"the fields of a {name}'s config.json",
                next_step=f"give {path}.parameters instead",
            )
        ) from None


def _said(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _clip_text(config: Config) -> int:
    """Token and position embeddings, layers of four attention matrices and an MLP with their biases, a last norm."""
    h, width, layers = int(config["hidden_size"]), int(config["intermediate_size"]), int(config["num_hidden_layers"])
    embeddings = (int(config["vocab_size"]) + int(config["max_position_embeddings"])) * h
    layer = 4 * (h * h + h) + 2 * h * width + width + h + 4 * h
    projected = "WithProjection" in str(config.get("architectures"))
    return embeddings + layers * layer + 2 * h + (int(config["projection_dim"]) * h if projected else 0)


def _t5(config: Config) -> int:
    """Embeddings, layers of four attention matrices and a gated MLP without biases, one table of relative positions."""
    h, width, layers = int(config["d_model"]), int(config["d_ff"]), int(config["num_layers"])
    inner = int(config["d_kv"]) * int(config["num_heads"])
    gated = 3 if "gated" in str(config["feed_forward_proj"]) else 2
    positions = int(config.get("relative_attention_num_buckets", 32)) * int(config["num_heads"])
    return int(config["vocab_size"]) * h + layers * (4 * h * inner + gated * h * width + 2 * h) + h + positions


def _flux(config: Config) -> int:
    """Double-stream blocks with weights for text and image, single-stream blocks with attention and MLP side by side."""
    width = int(config["attention_head_dim"])
    h = int(config["num_attention_heads"]) * width
    linear = h * h + h
    modulation = 6 * linear
    stream = modulation + 4 * linear + (8 * h * h + 5 * h) + 2 * width
    single = 3 * linear + (4 * h * h + 4 * h) + (5 * h * h + h) + 3 * linear + 2 * width
    channels = int(config["in_channels"])
    time = 256 * h + h + linear
    guidance = time if config.get("guidance_embeds") else 0
    pooled = int(config["pooled_projection_dim"]) * h + h + linear
    text = int(config["joint_attention_dim"]) * h + h
    out = 2 * linear + h * channels + channels
    return (
        int(config["num_layers"]) * 2 * stream
        + int(config["num_single_layers"]) * single
        + time + guidance + pooled + text + channels * h + h + out
    )  # fmt: skip


COUNTED: Mapping[str, Callable[[Config], int]] = MappingProxyType({
    "CLIPTextModel": _clip_text, "CLIPTextModelWithProjection": _clip_text,
    "T5EncoderModel": _t5, "FluxTransformer2DModel": _flux,
})  # fmt: skip
"""The classes whose parameters are counted from a config.json."""
