"""Reads a Hugging Face config.json into one canonical shape.

Owns the canonical sizes, what follows from the model's type, and the refusal of sizes that contradict each other. Leaves
names and kinds to `fields`, kinds of layers to `layers`, and to `counting` what the shape adds up to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpufleet.planner.models.fields import (
    NAMES,
    check_kinds,
    check_length,
    fail,
    first,
    optional,
    positive,
    required,
    text_config,
    whole,
)
from gpufleet.planner.models.layers import Layer, read_layers
from gpufleet.planner.models.traits import NOT_COUNTED, Traits, traits_of

_FOUR_TIMES_HIDDEN = frozenset({"bloom", "gpt2", "gptj", "gpt_bigcode", "gpt_neo", "codegen", "falcon", "mpt"})
_PER_LAYER = (
    "layer_types", "attn_type_list", "mlp_layer_types", "indexer_types", "moe_layer_freq", "hybrid_layer_pattern",
    "layers_block_type",
)  # fmt: skip
_UNGATED = frozenset({"relu2", "relu_squared", "gelu_new", "gelu_fast", "xielu"})
"""Activations of two-matrix MLPs, for types that are not known."""


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
    notes: tuple[str, ...]
    text: Mapping[str, Any]
    """The config of the text model, for what only some types have."""

    def size(self, *names: str, default: int = 0) -> int:
        """A whole number that only some types have, under the first of its names that is given."""
        return first(self.text, *names) or default

    @property
    def is_latent(self) -> bool:
        """Whether attention keeps one compressed vector per token (MLA)."""
        return bool(self.size("kv_lora_rank"))


def read_shape(config: Mapping[str, Any]) -> Shape:
    """The shape of a decoder of text.

    Raises RequirementError at `model.architecture.<field>` for what is missing, not a whole number, or contradictory.
    """
    text = text_config(config)
    check_kinds(text)
    model_type = str(text.get("model_type") or "")
    known = traits_of(model_type)
    traits = known or _traits_of_unknown(text, model_type)
    hidden = required(text, "hidden_size")
    count = _layer_count(text)
    for name in _PER_LAYER:
        value = text.get(name)
        if isinstance(value, list | tuple) and value:
            check_length(name, value, count)
    usual, notes = _usual_layer(text, model_type, traits, hidden)
    experts = _experts(text)
    width = usual.width
    expert_width = _expert_width(text) or width
    if experts and not expert_width:
        fail("moe_intermediate_size", "is missing, but the model has experts", allowed="the width of one expert")
    max_positions = optional(text, "max_position_embeddings")
    window = _window(text, traits, max_positions)
    layers = read_layers(text, model_type, traits, count, usual, hidden=hidden, experts=experts, window=window)
    _check_widths(layers, text)
    tied = True if _is_headless(config) else text.get("tie_word_embeddings")
    return Shape(
        model_type=model_type, traits=traits, is_known_type=known is not None,
        hidden_size=hidden, heads=usual.heads, kv_heads=usual.kv_heads, head_dim=usual.head_dim, width=width,
        vocab_size=required(text, "vocab_size"), tied=traits.tied if tied is None else bool(tied),
        max_positions=max_positions, window=window, layers=layers,
        experts=experts, experts_per_token=_experts_per_token(text, experts), expert_width=expert_width,
        shared_width=_shared_width(text, model_type, expert_width), notes=notes, text=text,
    )  # fmt: skip


def _traits_of_unknown(text: Mapping[str, Any], model_type: str) -> Traits:
    """A Llama's layer, as far as the config does not say otherwise; refused where that would be a guess."""
    if model_type in NOT_COUNTED:
        fail(
            "model_type", f"cannot be sized: {NOT_COUNTED[model_type]}", given=model_type,
            allowed="a model of another type",
            next_step="give the model's safetensors or GGUF file as model.architecture: its header has every tensor",
        )  # fmt: skip
    if text.get("is_encoder_decoder"):
        fail(
            "model_type", "is not known, and the model has an encoder whose layers cannot be told", given=model_type,
            allowed="a known encoder-decoder (T5, BART, Whisper…), or any decoder",
        )  # fmt: skip
    activation = str(text.get("hidden_act") or text.get("hidden_activation") or text.get("activation_function") or "")
    return Traits(gated=activation not in _UNGATED)


def _layer_count(text: Mapping[str, Any]) -> int:
    blocks = text.get("layers_block_type")
    if isinstance(blocks, list | tuple) and blocks and optional(text, "num_hidden_layers") is None:
        return len(blocks)
    return required(text, "num_hidden_layers")


def _usual_layer(
    text: Mapping[str, Any], model_type: str, traits: Traits, hidden: int
) -> tuple[Layer, tuple[str, ...]]:
    """The sizes of a layer without exceptions, and what had to be assumed of them."""
    if (
        traits.state in ("mamba", "mamba2") and optional(text, "num_attention_heads") is None
    ) or model_type == "mamba2":
        return Layer("full", "none", 0, 0, 0, 0, 0), ()
    heads = required(text, "num_attention_heads")
    head_dim = _head_dim(text, traits, hidden, heads)
    kv_heads, notes = _kv_heads(text, traits, model_type, heads)
    experts = _experts(text)
    width = _width(text, model_type, hidden, needed=not (experts and _expert_width(text)))
    return Layer(
        mixer="full", feed_forward="dense", width=width, heads=heads, kv_heads=kv_heads, head_dim=head_dim,
        value_dim=positive(text, "v_head_dim") or head_dim,
    ), notes  # fmt: skip


def _head_dim(text: Mapping[str, Any], traits: Traits, hidden: int, heads: int) -> int:
    head_dim = optional(text, "head_dim")
    if head_dim is None and positive(text, "qk_nope_head_dim"):  # MLA: the head is a part with and one without rotation
        return first(text, "qk_nope_head_dim") + first(text, "qk_rope_head_dim")
    if head_dim is None:
        if hidden % heads:
            fail(
                "num_attention_heads", f"{heads} heads do not divide hidden_size {hidden}, and head_dim is not given",
                given=heads, allowed=f"a divisor of {hidden}, or head_dim beside it",
            )  # fmt: skip
        return hidden // heads
    if not traits.takes_head_dim and head_dim * heads != hidden:
        fail(
            "head_dim", f"contradicts hidden_size {hidden} and {heads} attention heads, which make it {hidden / heads:g}",
            given=head_dim, allowed=f"{hidden / heads:g}, or nothing",
        )  # fmt: skip
    return head_dim


def _kv_heads(text: Mapping[str, Any], traits: Traits, model_type: str, heads: int) -> tuple[int, tuple[str, ...]]:
    if model_type == "falcon" and not text.get("new_decoder_architecture"):
        return (1 if text.get("multi_query", True) else heads), ()
    given = optional(text, "num_key_value_heads")
    if given is None:
        if text.get("multi_query") or (model_type == "gpt_bigcode" and text.get("multi_query") is not False):
            return 1, ()
        is_said = text.get("num_key_value_heads_per_layer") or text.get("block_configs") or not traits.takes_head_dim
        note = f"num_key_value_heads is not given: taken as num_attention_heads, {heads}"
        return heads, () if is_said or positive(text, "kv_lora_rank") else (note,)
    if given > heads or heads % given:
        fail(
            "num_key_value_heads", f"{given} key-value heads do not divide {heads} attention heads", given=given,
            allowed=f"a divisor of {heads}",
        )  # fmt: skip
    return given, ()


def _is_headless(config: Mapping[str, Any]) -> bool:
    """Whether the class has no head, as `MistralModel` has none beside `MistralForCausalLM`."""
    name = next(iter(config.get("architectures") or ()), "")
    if name.endswith(
        ("ForSequenceClassification", "ForRewardModel", "ForTokenClassification", "ForProcessRewardModel")
    ):
        return True
    return name.endswith("Model") and not name.endswith(("LMHeadModel", "ChatModel")) and name != "ChatGLMModel"


def _width(text: Mapping[str, Any], model_type: str, hidden: int, *, needed: bool) -> int:
    if isinstance(text.get("intermediate_size"), list | tuple) and text["intermediate_size"]:
        return max(whole(value, "intermediate_size") for value in text["intermediate_size"])
    given = optional(text, "intermediate_size")
    if given is not None:
        return _adjusted(text, given) if model_type in ("lfm2", "recurrent_gemma") else given
    if model_type in _FOUR_TIMES_HIDDEN:
        return hidden * (positive(text, "expansion_ratio") or 4)
    if needed and "block_configs" not in text:
        fail(
            "intermediate_size",
            "is missing",
            allowed=f"a whole number; one of: {', '.join(NAMES['intermediate_size'])}",
        )
    return 0


def _adjusted(text: Mapping[str, Any], width: int) -> int:
    """LFM2 keeps two thirds of the width that its config gives, rounded up to a multiple; RecurrentGemma half of it."""
    if text.get("model_type") == "recurrent_gemma":
        return width // 2
    if not text.get("block_auto_adjust_ff_dim", True):
        return width
    multiple = positive(text, "block_multiple_of") or 256
    scaled = int(float(text.get("block_ffn_dim_multiplier") or 1.0) * int(2 * width / 3))
    return -(-scaled // multiple) * multiple


def _experts(text: Mapping[str, Any]) -> int:
    if text.get("enable_moe_block") is False:
        return 0
    return _first_of_list(text, "num_experts")


def _first_of_list(text: Mapping[str, Any], canonical: str) -> int:
    """A number, or the first of a list of them: per layer (Hunyuan) or per modality (ERNIE-VL), which are alike."""
    for name in NAMES[canonical]:
        value = text.get(name)
        if isinstance(value, list | tuple) and value:
            return whole(value[0], name)
    return optional(text, canonical) or 0


def _expert_width(text: Mapping[str, Any]) -> int:
    return _first_of_list(text, "expert_intermediate_size")


def _experts_per_token(text: Mapping[str, Any], experts: int) -> int:
    chosen = _first_of_list(text, "experts_per_token")
    if experts and chosen > experts:
        fail(
            "num_experts_per_tok", f"more than the {experts} experts that there are", given=chosen,
            allowed=f"1 to {experts}",
        )  # fmt: skip
    return chosen


def _shared_width(text: Mapping[str, Any], model_type: str, expert_width: int) -> int:
    names = (
        "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size",
        "share_expert_dim",
    )  # fmt: skip
    if width := first(text, *names):
        return width
    if model_type == "llama4_text":
        return expert_width
    for name in ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert"):
        value = text.get(name)
        if value is not None:
            return whole(value[0] if isinstance(value, list | tuple) and value else value, name) * expert_width
    return 0


def _window(text: Mapping[str, Any], traits: Traits, max_positions: int | None) -> int | None:
    window = first(text, "sliding_window", "attention_window_size") or None
    switch = text.get("use_sliding_window")
    if window is None or switch is False or (switch is None and not traits.window_unless_off):
        return None
    return None if max_positions is not None and window >= max_positions else window


def _check_widths(layers: tuple[Layer, ...], text: Mapping[str, Any]) -> None:
    for layer in dict.fromkeys(layers):
        if layer.mixer in ("full", "sliding", "chunked") and layer.heads % max(layer.kv_heads, 1):
            fail(
                "num_key_value_heads", f"{layer.kv_heads} key-value heads of a layer do not divide its {layer.heads} heads",
                given=layer.kv_heads, allowed=f"a divisor of {layer.heads}",
            )  # fmt: skip
        if layer.feed_forward == "dense" and not layer.width and "block_configs" not in text:
            fail("intermediate_size", "is missing, but some layers have no experts", allowed="a whole number")
