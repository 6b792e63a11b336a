"""A decoder of text, counted from its config.

Owns the table of rotary positions and the record that `architecture` takes. Leaves the shape to `shape` and the sum to
`counting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufleet.planner.models.counting import count_cache, count_parts
from gpufleet.planner.models.fields import fail
from gpufleet.planner.models.nested import Nested
from gpufleet.planner.models.parts import TextModel
from gpufleet.planner.models.shape import Shape, read_shape


def count_decoder(config: Mapping[str, Any]) -> TextModel:
    """The decoder; a RequirementError at `model.architecture.<field>` for what is missing or contradicts."""
    shape = read_shape(config)
    with_attention = [layer.kv_heads for layer in shape.layers if layer.mixer != "none"]
    return TextModel(
        kind="decoder", model_type=shape.model_type, hidden_size=shape.hidden_size,
        num_hidden_layers=len(shape.layers), num_attention_heads=shape.heads,
        num_key_value_heads=max(with_attention, default=shape.kv_heads), head_dim=shape.head_dim,
        intermediate_size=shape.width, vocab_size=shape.vocab_size, tie_word_embeddings=shape.tied,
        max_position_embeddings=shape.max_positions, parts=count_parts(shape), cache=count_cache(shape),
        num_experts=shape.experts, experts_per_token=shape.experts_per_token,
        expert_intermediate_size=shape.expert_width if shape.experts else 0,
        kv_lora_rank=shape.size("kv_lora_rank"), qk_rope_head_dim=shape.size("qk_rope_head_dim"),
        rope_values=_rope_values(shape), notes=_notes(shape),
    )  # fmt: skip


def _notes(shape: Shape) -> tuple[str, ...]:
    if shape.is_known_type:
        return shape.notes
    named = f"model_type {shape.model_type!r}" if shape.model_type else "a config without model_type"
    return (f"{named} is not known: counted from its dimensions as a Llama-like model", *shape.notes)


def _rope_values(shape: Shape) -> int:
    """vLLM builds one table of cosines and sines for all positions (rotary_embedding/base.py): positions × rotated
    dimensions. Linear scaling stretches the table by its factor, YaRN makes original positions × factor."""
    text = shape.text
    if shape.max_positions is None or text.get("alibi") or shape.traits.positions:
        return 0
    share = float(text.get("partial_rotary_factor") or 1.0)
    if not 0 < share <= 1:
        fail("partial_rotary_factor", "must lie between 0 and 1", given=share, allowed="a number up to 1")
    rotated = shape.size("qk_rope_head_dim") or int(shape.head_dim * share)
    field = "rope_scaling" if text.get("rope_scaling") else "rope_parameters"
    scaling = Nested(field, text.get(field) or {})
    kind = scaling.text("rope_type") or scaling.text("type")
    positions, factor = float(shape.max_positions), scaling.ratio("factor", 1.0)
    if kind == "linear":
        positions *= factor
    elif kind == "yarn" and scaling.size("original_max_position_embeddings"):
        positions = scaling.size("original_max_position_embeddings") * factor
    local = shape.max_positions if "gemma3" in shape.model_type else 0  # a second table for its sliding layers
    return int((positions + local) * rotated)
