"""Which kind each layer is: what mixes tokens, and what follows.

Owns the many ways in which configs say it (lists, patterns, intervals, thresholds). Leaves sizes to `shape`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gpufleet.planner.models.fields import check_length, fail, first, positive, whole
from gpufleet.planner.models.nested import Nested
from gpufleet.planner.models.traits import Traits

_LAYER_TYPES = {
    "full_attention": "full", "attention": "full", "sliding_attention": "sliding", "local_attention": "sliding",
    "chunked_attention": "chunked", "linear_attention": "state", "mamba": "state", "mamba2": "state",
    "recurrent": "state", "conv": "conv", "indexed_attention": "full", "full": "full", "sliding": "sliding",
    "compressed_sparse_attention": "sparse", "heavily_compressed_attention": "compressed",
}  # fmt: skip
_ALONE = {
    "M": ("state", "none"), "*": ("full", "none"), "-": ("none", "dense"), "E": ("none", "moe"),
    "mamba": ("state", "none"), "linear_attention": ("state", "none"), "attention": ("full", "none"),
    "full_attention": ("full", "none"), "mlp": ("none", "dense"), "moe": ("none", "moe"),
}  # fmt: skip
"""The layers of Nemotron-H, of which each is one block alone, as letters of a pattern or names in a list."""


class Layer(NamedTuple):
    """One layer: what mixes tokens (full, sliding, chunked, conv, a state, none), what follows (dense, moe, none), its
    sizes, and the state that runs beside its attention, if any."""

    mixer: str
    feed_forward: str
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    beside: str = ""


def read_layers(
    text: Mapping[str, Any], model_type: str, traits: Traits, count: int, usual: Layer, *, hidden: int, experts: int,
    window: int | None,
) -> tuple[Layer, ...]:  # fmt: skip
    """All layers; `usual` has the sizes of one without exceptions."""
    state = _state(text, traits)
    alone = _blocks_alone(text, count)
    if alone:
        pairs = [(state if m == "state" else m, f) for m, f in alone]
        return tuple(usual._replace(mixer=m, feed_forward=f) for m, f in pairs)
    blocks = text.get("block_configs")
    if isinstance(blocks, Sequence) and not isinstance(blocks, str):
        return tuple(_block(block, usual, hidden) for block in blocks)
    mixers = [state if m == "state" else m for m in _mixers(text, traits, count, window)]
    if "" in mixers:
        fail(
            "layer_types", "has layers with a state, and no field says their sizes", given="linear_attention",
            allowed="the fields of the model's own config.json",
        )  # fmt: skip
    sparse = _sparse(text, count) if experts else [False] * count
    beside = ""
    if model_type == "falcon_h1":  # attention and Mamba-2 in every layer
        mixers, beside = ["full"] * count, state
    widths = _per_layer(text, "intermediate_size", count, positive(text, "intermediate_size_mlp") or usual.width)
    heads = _per_layer(text, "num_attention_heads_per_layer", count, usual.heads)
    kv_heads = _per_layer(text, "num_key_value_heads_per_layer", count, usual.kv_heads)
    # Most layers are alike: each kind is made once. Only a list of exceptions tells them apart by their number.
    own = text.get("per_layer_config")
    numbers = range(count) if isinstance(own, Mapping) else [0] * count
    kinds = list(zip(mixers, sparse, widths, heads, kv_heads, numbers, strict=True))
    made = {
        kind: _of_its_own_size(
            text,
            usual._replace(
                mixer=mixer, feed_forward="moe" if is_sparse else usual.feed_forward, width=width, heads=own_heads,
                kv_heads=own_kv_heads, beside=beside,
            ),
            number,
        )
        for kind in dict.fromkeys(kinds)
        for mixer, is_sparse, width, own_heads, own_kv_heads, number in (kind,)
    }  # fmt: skip
    return tuple(made[kind] for kind in kinds)


def _of_its_own_size(text: Mapping[str, Any], layer: Layer, index: int) -> Layer:
    """The layer with the heads of its kind, where kinds differ (Gemma 4, MiMo-V2, Step-3.5)."""
    own = text.get("per_layer_config")
    exception = own.get(f"{index:02d}", own.get(str(index))) if isinstance(own, Mapping) else None
    if isinstance(exception, Mapping):
        head_dim = positive(exception, "head_dim") or layer.head_dim
        return layer._replace(
            head_dim=head_dim, value_dim=head_dim,
            kv_heads=positive(exception, "num_key_value_heads") or layer.kv_heads,
            width=positive(exception, "intermediate_size") or layer.width,
        )  # fmt: skip
    if layer.mixer == "full" and (wide := positive(text, "global_head_dim")):
        kv_heads = positive(text, "num_global_key_value_heads") or layer.kv_heads
        return layer._replace(head_dim=wide, value_dim=wide, kv_heads=kv_heads)
    if layer.mixer != "sliding":
        return layer
    other = text.get("attention_other_setting")
    if isinstance(other, Mapping):
        head_dim = positive(other, "head_dim") or layer.head_dim
        return layer._replace(
            heads=positive(other, "num_attention_heads") or layer.heads, head_dim=head_dim, value_dim=head_dim,
            kv_heads=first(other, "num_attention_groups", "num_key_value_heads") or layer.kv_heads,
        )  # fmt: skip
    return layer._replace(
        heads=positive(text, "swa_num_attention_heads") or layer.heads,
        kv_heads=positive(text, "swa_num_key_value_heads") or layer.kv_heads,
        head_dim=positive(text, "swa_head_dim") or layer.head_dim,
        value_dim=first(text, "swa_v_head_dim", "swa_head_dim") or layer.value_dim,
    )


def _per_layer(text: Mapping[str, Any], name: str, count: int, usual: int) -> list[int]:
    """A size of each layer: a list of them, or the usual one for all."""
    given = text.get(name)
    if not isinstance(given, list | tuple):
        return [usual] * count
    check_length(name, given, count)
    return [whole(value, name) or usual for value in given]


def _state(text: Mapping[str, Any], traits: Traits) -> str:
    """Which state the layers without a cache per token keep."""
    if traits.state:
        return traits.state
    if positive(text, "linear_num_value_heads"):
        return "delta"
    if first(text, "mamba_num_heads", "mamba_n_heads", "n_mamba_heads"):
        return "mamba2"
    return "mamba" if first(text, "mamba_d_state", "state_size") else ""


def _blocks_alone(text: Mapping[str, Any], count: int) -> list[tuple[str, str]]:
    """The layers of a model whose layers are one block each; empty for all others."""
    pattern = text.get("hybrid_override_pattern") or text.get("layers_block_type") or ()
    if not pattern:
        return []
    name = "hybrid_override_pattern" if isinstance(pattern, str) else "layers_block_type"
    if len(pattern) != count or set(pattern) - set(_ALONE):
        fail(
            name, f"does not name all {count} layers by a known mark", given=str(pattern)[:80],
            allowed=f"{count} of {', '.join(_ALONE)}",
        )  # fmt: skip
    return [_ALONE[mark] for mark in pattern]


def _block(block: Any, usual: Layer, hidden: int) -> Layer:
    """One layer of a Nemotron-NAS model, whose search gave each its own width (modeling_decilm.py)."""
    if not isinstance(block, Mapping) or not all(isinstance(block.get(n), Mapping) for n in ("attention", "ffn")):
        fail(
            "block_configs", "must be a list of mappings", given=type(block).__name__,
            allowed="a mapping with attention and ffn for each layer",
        )  # fmt: skip
    attention, mlp = block["attention"], block["ffn"]
    absent = attention.get("no_op") or attention.get("replace_with_linear")
    raw = int(2 * Nested("block_configs.ffn", mlp).ratio("ffn_mult", 0.0) * hidden / 3)
    group = 1 if absent else whole(attention.get("n_heads_in_group"), "block_configs.n_heads_in_group")
    if not group or usual.heads % group:
        fail(
            "block_configs", f"has groups that do not divide {usual.heads} attention heads", given=group,
            allowed=f"divisors of {usual.heads} as n_heads_in_group",
        )  # fmt: skip
    return usual._replace(
        mixer="none" if absent else "full", feed_forward="none" if mlp.get("no_op") else "dense",
        width=-(-raw // 256) * 256, kv_heads=1 if absent else usual.heads // group,
    )  # fmt: skip


# What mixes tokens ----------------------------------------------------------------------------------------------------


def _mixers(text: Mapping[str, Any], traits: Traits, count: int, window: int | None) -> list[str]:
    for reader in (_named, _listed, _by_interval):
        mixers = reader(text, count)
        if mixers:
            return _with_windows(text, mixers, window)
    if traits.state in ("mamba", "mamba2"):
        return ["state"] * count
    return _windowed(text, traits, count, window)


def _with_windows(text: Mapping[str, Any], mixers: list[str], window: int | None) -> list[str]:
    if "sliding" in mixers and window is None and not text.get("sliding_window"):
        fail("sliding_window", "is missing, but layer_types has sliding layers", allowed="a whole number of tokens")
    if "chunked" in mixers and not positive(text, "attention_chunk_size"):
        fail("attention_chunk_size", "is missing, but layer_types has chunked layers", allowed="a number of tokens")
    return [m if m != "sliding" or window else "full" for m in mixers]


def _named(text: Mapping[str, Any], count: int) -> list[str]:
    """By name, or by a pattern of names that is repeated (RecurrentGemma)."""
    named, field = text.get("layer_types"), "layer_types"
    if not named and text.get("block_types"):
        field = "block_types"
        pattern = text[field]
        named = [pattern[i % len(pattern)] for i in range(count)]
    unknown = sorted({str(n) for n in named or ()} - set(_LAYER_TYPES))
    if unknown:
        fail(field, "has kinds that are not known", given=", ".join(unknown), allowed=", ".join(sorted(_LAYER_TYPES)))
    return [_LAYER_TYPES[name] for name in named or ()]


def _listed(text: Mapping[str, Any], count: int) -> list[str]:
    """By the layers that have attention over all tokens, or by marks for every layer."""
    if marks := text.get("attn_type_list"):
        return ["full" if mark else "state" for mark in marks]
    if marks := text.get("hybrid_layer_pattern"):
        return ["sliding" if mark else "full" for mark in marks]
    if (indices := text.get("attn_layer_indices")) is not None:
        return _at(indices, "attn_layer_indices", count, "state")
    if (indices := text.get("full_attn_idxs")) is not None:
        return _at(indices, "full_attn_idxs", count, "conv")
    linear = text.get("linear_attn_config")
    if isinstance(linear, Mapping) and linear.get("full_attn_layers"):
        ones = [whole(i, "linear_attn_config.full_attn_layers", most=count) for i in linear["full_attn_layers"]]
        return _at([i - 1 for i in ones], "linear_attn_config.full_attn_layers", count, "state")
    return []


def _at(indices: Any, name: str, count: int, other: str) -> list[str]:
    held = {whole(i, name) for i in indices}
    if any(i >= count for i in held):
        fail(name, f"names a layer beyond the {count} that there are", given=max(held), allowed=f"0 to {count - 1}")
    return ["full" if i in held else other for i in range(count)]


def _by_interval(text: Mapping[str, Any], count: int) -> list[str]:
    for name in ("full_attention_interval", "layer_group_size"):
        if interval := positive(text, name):
            return ["full" if (i + 1) % interval == 0 else "state" for i in range(count)]
    if period := positive(text, "attn_layer_period"):
        offset = positive(text, "attn_layer_offset") or 0
        return ["full" if i % period == offset else "state" for i in range(count)]
    if positive(text, "attention_chunk_size"):
        return ["full" if (i + 1) % 4 == 0 else "chunked" for i in range(count)]
    return []


def _windowed(text: Mapping[str, Any], traits: Traits, count: int, window: int | None) -> list[str]:
    """Layers with a window, every so often one without; all of them have one where nothing says otherwise."""
    if window is None:
        return ["full"] * count
    names = ("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers")
    spelled = text.get("sliding_window_pattern")
    if isinstance(spelled, str):  # EXAONE 4: "LLLG", local and global layers
        kinds = {"L": "sliding", "G": "full"}
        if not spelled or set(spelled) - set(kinds):
            fail(
                "sliding_window_pattern", "has other letters than L and G", given=spelled,
                allowed="a number, or text made of L (local) and G (global)",
            )  # fmt: skip
        return [kinds[spelled[i % len(spelled)]] for i in range(count)]
    period = first(text, *names) or traits.window_period
    if period > 1:
        return ["full" if (i + 1) % period == 0 else "sliding" for i in range(count)]
    return ["sliding"] * count


# What follows ---------------------------------------------------------------------------------------------------------


def _sparse(text: Mapping[str, Any], count: int) -> list[bool]:
    """Which layers have experts."""
    if named := text.get("mlp_layer_types"):
        check_length("mlp_layer_types", named, count)
        return [name != "dense" for name in named]
    if listed := text.get("moe_layers_enum"):
        marks = listed.split(",") if isinstance(listed, str) else listed
        held = {whole(int(mark), "moe_layers_enum") for mark in marks}
        return [i in held for i in range(count)]
    frequency = text.get("moe_layer_freq")
    if isinstance(frequency, Sequence):
        check_length("moe_layer_freq", frequency, count)
        return [bool(mark) for mark in frequency]
    rules = [rule for rule in (reader(text, count) for reader in _SPARSE) if rule is not None]
    return [all(rule(i) for rule in rules) for i in range(count)]


Rule = Callable[[int], bool]


def _but_listed(text: Mapping[str, Any], _: int) -> Rule | None:
    dense = text.get("mlp_only_layers") or ()
    return (lambda i: i not in dense) if dense else None


def _every(text: Mapping[str, Any], _: int) -> Rule | None:
    step = first(text, "interleave_moe_layer_step", "decoder_sparse_step")
    return (lambda i: (i + 1) % step == 0) if step else None


def _from(text: Mapping[str, Any], count: int) -> Rule:
    start = first(text, "first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
    end = None if text.get("moe_layer_end_index") == -1 else positive(text, "moe_layer_end_index")
    step = first(text, "moe_layer_freq", "moe_layer_interval") or 1
    last = count - 1 if end is None else end
    # ERNIE counts its interval from the first layer on, DeepSeek takes those whose number divides.
    aligned = 1 if text.get("moe_layer_interval") else 0
    return lambda i: start <= i <= last and (i + aligned) % step == 0


def _periodic(text: Mapping[str, Any], _: int) -> Rule | None:
    period, offset = positive(text, "expert_layer_period"), positive(text, "expert_layer_offset") or 0
    return (lambda i: i % period == offset) if period else None


_SPARSE: tuple[Callable[[Mapping[str, Any], int], Rule | None], ...] = (_but_listed, _every, _from, _periodic)
