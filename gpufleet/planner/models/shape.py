"""Reads a Hugging Face config.json into one canonical shape.

Owns the canonical sizes and what follows from the model's type. Leaves names and refusals to `fields`, kinds of layers
to `layers`, and to `counting` what the shape adds up to.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpufleet.planner.models.fields import NAMES, check_kinds, fail, optional, positive, required, text_config
from gpufleet.planner.models.layers import Layer, read_layers
from gpufleet.planner.models.traits import Traits, traits_of

_FOUR_TIMES_HIDDEN = frozenset({"bloom", "gpt2", "gptj", "falcon", "mpt"})
_MOST_LAYERS = 1000
_PER_LAYER = ("layer_types", "attn_type_list", "mlp_layer_types", "indexer_types", "moe_layer_freq")


class Shape(NamedTuple):
    """The sizes of a text model under one set of names."""

    model_type: str
    traits: Traits
    is_known_type: bool
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    width: int
    vocab_size: int
    tied: bool
    max_positions: int | None
    window: int | None
    layers: tuple[Layer, ...]
    experts: int
    experts_per_token: int
    expert_width: int
    shared_width: int
    text: Mapping[str, Any]
    """The config of the text model, for what only some types have."""

    def size(self, name: str, default: int = 0) -> int:
        """A whole number that only some types have."""
        value = self.text.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else default


def read_shape(config: Mapping[str, Any]) -> Shape:
    """The shape of a decoder or encoder of text.

    Raises RequirementError at `model.architecture.<field>` for what is missing, not a whole number, or contradictory.
    """
    text = text_config(config)
    check_kinds(text)
    model_type = str(text.get("model_type") or "")
    known = traits_of(model_type)
    traits = known or Traits()
    hidden = required(text, "hidden_size")
    count = required(text, "num_hidden_layers")
    if count > _MOST_LAYERS:
        fail("num_hidden_layers", "is more than any model has", given=count, allowed=f"up to {_MOST_LAYERS}")
    for name in _PER_LAYER:
        value = text.get(name)
        if isinstance(value, list | tuple) and value and len(value) != count:
            fail(name, f"names {len(value)} layers, but num_hidden_layers is {count}", given=len(value))
    heads = required(text, "num_attention_heads")
    head_dim = optional(text, "head_dim")
    if head_dim is None:
        if hidden % heads:
            fail(
                "num_attention_heads", f"{heads} heads do not divide hidden_size {hidden}, and head_dim is not given",
                given=heads, allowed=f"a divisor of {hidden}, or head_dim beside it",
            )  # fmt: skip
        head_dim = hidden // heads
    kv_heads = _kv_heads(text, heads)
    experts = optional(text, "num_experts") or 0
    width = _width(text, model_type, hidden, needed=not experts)
    expert_width = positive(text, "moe_intermediate_size") or width
    max_positions = optional(text, "max_position_embeddings")
    window = _window(text, traits, max_positions)
    layers = read_layers(text, model_type, count, heads, kv_heads, width, hidden, experts, window)
    tied = True if _is_headless(config) else text.get("tie_word_embeddings")
    return Shape(
        model_type=model_type, traits=traits, is_known_type=known is not None,
        hidden_size=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, width=width,
        vocab_size=required(text, "vocab_size"), tied=traits.tied if tied is None else bool(tied),
        max_positions=max_positions, window=window, layers=layers,
        experts=experts, experts_per_token=optional(text, "experts_per_token") or 0, expert_width=expert_width,
        shared_width=_shared_width(text, model_type, expert_width), text=text,
    )  # fmt: skip


def _is_headless(config: Mapping[str, Any]) -> bool:
    """Whether the class has no head, as `MistralModel` has none beside `MistralForCausalLM`."""
    name = next(iter(config.get("architectures") or ()), "")
    return name.endswith("Model") and not name.endswith("LMHeadModel") and name != "ChatGLMModel"


def _kv_heads(text: Mapping[str, Any], heads: int) -> int:
    given = optional(text, "num_key_value_heads")
    if given is None:
        return 1 if text.get("multi_query") and not text.get("new_decoder_architecture") else heads
    if given > heads or heads % given:
        fail(
            "num_key_value_heads", f"{given} key-value heads do not divide {heads} attention heads", given=given,
            allowed=f"a divisor of {heads}",
        )  # fmt: skip
    return given


def _width(text: Mapping[str, Any], model_type: str, hidden: int, *, needed: bool) -> int:
    given = optional(text, "intermediate_size")
    if given is not None:
        return given
    if model_type in _FOUR_TIMES_HIDDEN:
        return hidden * (positive(text, "expansion_ratio") or 4)
    if needed and "block_configs" not in text:
        fail(
            "intermediate_size",
            "is missing",
            allowed=f"a whole number; one of: {', '.join(NAMES['intermediate_size'])}",
        )
    return 0


def _shared_width(text: Mapping[str, Any], model_type: str, expert_width: int) -> int:
    for name in ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"):
        if (value := positive(text, name)) is not None:
            return value
    if model_type == "llama4_text":
        return expert_width
    return (positive(text, "n_shared_experts") or 0) * expert_width


def _window(text: Mapping[str, Any], traits: Traits, max_positions: int | None) -> int | None:
    window = positive(text, "sliding_window")
    switch = text.get("use_sliding_window")
    if window is None or switch is False or (switch is None and not traits.window_unless_off):
        return None
    return None if max_positions is not None and window >= max_positions else window
