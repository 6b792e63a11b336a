"""What a server holds beside the model: room for adapters (LoRA), and a draft model that guesses ahead.

Owns both as further parts and cache of an `Architecture`, so that weights, stages and cache are computed of them as of the
rest. Leaves the keys to `addition_keys`. Imported only for documents with one of them.

vLLM allocates room for `resident` adapters of the largest rank at each linear layer when it starts, whatever the adapters
change (vllm/lora/layers): A maps the inputs to the rank, B the rank to the outputs. Of the two the one on the side that
tensor parallelism splits is split too, the other one whole on every GPU. The one log with adapters, of Phi-4 in 4 bits,
tells no rank: 8.63 GiB, where this counts 8.53 without adapters and 8.66 with one of rank 16.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from gpufleet.planner.addition_keys import Draft, Lora, draft_keys, lora_keys
from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.models.parts import CacheGroup, Part, Projection
from gpufleet.planner.models.storage import KEPT
from gpufleet.planner.precision import PRECISIONS
from gpufleet.planner.requirements import Model

TARGETS: dict[str, tuple[str, ...]] = {
    "attention_in": ("q_proj", "k_proj", "v_proj", "qkv_proj"),
    "attention_out": ("o_proj",),
    "up": ("gate_proj", "up_proj", "gate_up_proj"),
    "down": ("down_proj",),
    "experts": ("experts",),
    "embedding": ("embed_tokens",),
    "head": ("lm_head",),
}
"""Module names that an adapter may change, by what of a layer they are."""

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of --max-lora-rank (vllm/config/lora.py)."""

MULTI_TOKEN = "mtp"
DRAFT_VOCABULARY = 32_000
"""Words that an EAGLE-3 head guesses among, where its config does not say."""


def with_additions(architecture: Architecture, model: Model) -> Architecture:
    """The architecture with the adapters and the draft of the document; a RequirementError for all that is wrong in them."""
    problems: list[Problem] = []
    for add in (_with_lora_of, _with_draft_of):
        try:
            architecture = add(architecture, model)
        except RequirementError as error:
            problems += error.problems
    if problems:
        raise RequirementError(problems)
    return architecture


def _with_lora_of(architecture: Architecture, model: Model) -> Architecture:
    keys = lora_keys(model)
    return architecture if keys is None else with_lora(architecture, keys)


def _with_draft_of(architecture: Architecture, model: Model) -> Architecture:
    keys = draft_keys(model)
    return architecture if keys is None else with_draft(architecture, keys)


def with_lora(architecture: Architecture, lora: Lora) -> Architecture:
    """The architecture with room for adapters; a RequirementError for a rank or a module that the server does not know."""
    if lora.rank not in RANKS:
        raise RequirementError(
            Problem(
                path="model.lora.rank",
                message="a rank that vLLM makes no room for",
                given=lora.rank,
                allowed=", ".join(map(str, RANKS)),
                next_step=f"set it to {next(rank for rank in RANKS if rank >= lora.rank)}",
            )
        )
    known = [name for names in TARGETS.values() for name in names]
    unknown = sorted(set(lora.targets) - set(known))
    if unknown:
        raise RequirementError(
            Problem(
                path="model.lora.targets",
                message="names modules that are not known",
                given=", ".join(unknown),
                allowed=", ".join(known),
            )
        )
    if not any(part.projection for part in architecture.parts):
        raise RequirementError(
            Problem(
                path="model.lora",
                message="what adapters take cannot be counted: no projection of this model's layers is known by its sizes",
                given=architecture.model_type,
                allowed="decoders that a config.json describes",
                next_step="give the model's config.json as model.architecture, or remove model.lora and count the adapters in "
                "serving.memory.weights",
            )
        )
    return _with_lora(architecture, lora.rank, lora.resident, frozenset(lora.targets or known))


@lru_cache(maxsize=256)
def _with_lora(architecture: Architecture, rank: int, resident: int, targets: frozenset[str]) -> Architecture:
    chosen = {kind for kind, names in TARGETS.items() if targets & set(names)}
    parts = [
        _adapter(part, part.projection, rank * resident)
        for part in architecture.parts
        if part.projection is not None and _kind(part, part.projection) in chosen
    ]
    parts += _at_the_ends(architecture, rank * resident, chosen)
    return _adding(architecture, parts, ())


def _kind(part: Part, projection: Projection) -> str:
    if part.name == "experts":
        return "experts"
    if part.name == "attention":
        return "attention_out" if projection.splits_inputs else "attention_in"
    return "down" if projection.splits_inputs else "up"


def _adapter(part: Part, projection: Projection, ranks: int) -> Part:
    """A and B beside one projection, for all ranks that are resident."""
    each = ranks * projection.matrices
    down = each * projection.inputs * projection.slices
    sizes = (part.split, part.kv, part.whole)
    split, kv, whole = (ranks * size // projection.inputs for size in sizes)
    if projection.splits_inputs:
        split, whole = down, split + whole
    else:
        whole += down
    return part._replace(
        name="lora", role="kept", stored=KEPT, split=split, kv=kv, whole=whole, padding=0, projection=None
    )  # fmt: skip


def _at_the_ends(architecture: Architecture, ranks: int, chosen: Iterable[str]) -> Iterator[Part]:
    h, rows = architecture.hidden_size, architecture.vocab_size
    if "embedding" in chosen:
        yield Part(name="lora", role="kept", stored=KEPT, whole=ranks * (rows + h))
    if "head" in chosen:
        yield Part(name="lora", role="kept", stored=KEPT, split=ranks * rows, whole=ranks * h, place="last")


def with_draft(architecture: Architecture, draft: Draft) -> Architecture:
    """The architecture with a draft beside it: a model of its own, or a head on the target's last layer."""
    if draft.method == MULTI_TOKEN:
        return _with_last_layer(architecture)
    if draft.id is None:
        raise RequirementError(
            Problem(
                path="model.draft.id", message=f"required for the method {draft.method}", next_step="name the draft"
            )
        )
    if draft.method == "draftModel":
        return _with_model(architecture, draft, draft.id)
    return _with_head(architecture, is_third=draft.method == "eagle3")


def _with_model(architecture: Architecture, draft: Draft, draft_id: str) -> Architecture:
    try:
        found = resolve_architecture(model_id=draft_id, parameters=draft.parameters, config=draft.architecture)
    except RequirementError as error:
        raise error.renamed({p.path: p.path.replace("model.", "model.draft.", 1) for p in error.problems}) from None
    if found.vocab_size != architecture.vocab_size and not found.assumptions:
        raise RequirementError(
            Problem(
                path="model.draft.id",
                message=f"has {found.vocab_size:,} words, and the model {architecture.vocab_size:,}: they must share a tokenizer",
                given=draft_id,
                allowed="a smaller model of the same family",
            )
        )
    last = architecture.num_hidden_layers - 1
    stored = PRECISIONS[found.checkpoint_format or "bf16"]
    parts = [
        part._replace(
            name="draft", layers=(last,) * len(part.layers), place="last", projection=None,
            bytes_per_parameter=stored.bytes_for(part.role) if stored.is_quantized else 2.0,
        )
        for part in found.parts
    ]  # fmt: skip
    cache = [group._replace(at=(last,) * group.layers) for group in found.cache]
    return _adding(architecture, parts, cache)


def _with_last_layer(architecture: Architecture) -> Architecture:
    """The prediction layer of the checkpoint itself: as the last layer, with a projection of two vectors into one. Its
    embedding and head are the model's."""
    last, h = architecture.num_hidden_layers - 1, architecture.hidden_size
    parts = [
        part._replace(name="draft", role=part.role, layers=(last,), projection=None)
        for part in architecture.parts
        if last in part.layers
    ]
    parts.append(Part(name="draft", role="linear", layers=(last,), whole=2 * h * h + 3 * h))
    cache = [group._replace(layers=1, at=(last,)) for group in architecture.cache if last in group.at]
    if architecture.checkpoint_parameters <= architecture.parameters:
        note = "the checkpoint is taken to have a prediction layer of its own, as large as its last layer"
        architecture = architecture._replace(assumptions=(*architecture.assumptions, note))
    # What of the files is no part of the model is this very layer.
    return _adding(architecture._replace(checkpoint_parameters=architecture.parameters), parts, cache)


def _with_head(architecture: Architecture, *, is_third: bool) -> Architecture:
    """EAGLE: one layer as wide as the model behind a projection (arXiv 2401.15077); EAGLE-3 looks at three layers, feeds
    its layer twice the width, and has a small head of its own (arXiv 2503.01840)."""
    a, last = architecture, architecture.num_hidden_layers - 1
    h, queries = a.hidden_size, a.num_attention_heads * a.head_dim
    keys, fed = 2 * a.num_key_value_heads * a.head_dim, 2 * h if is_third else h
    width = a.intermediate_size or 4 * h
    looked_at, words = (3, DRAFT_VOCABULARY) if is_third else (2, 0)
    parts = [
        _head_part(last, split=fed * queries, kv=fed * keys, kv_heads=a.num_key_value_heads),
        _head_part(last, split=queries * h),
        _head_part(last, split=2 * h * width),
        _head_part(last, split=h * width),
        _head_part(last, whole=looked_at * h * h + 4 * h),
        _head_part(last, split=words * h),
    ]
    cache = CacheGroup(kind="full", layers=1, kv_heads=a.num_key_value_heads, width=2 * a.head_dim, at=(last,))
    return _adding(a, [part for part in parts if part.parameters], [cache])


def _head_part(layer: int, *, split: int = 0, kv: int = 0, whole: int = 0, kv_heads: int = 1) -> Part:
    return Part(
        name="draft", role="kept", stored=KEPT, layers=(layer,), split=split, kv=kv, whole=whole, kv_heads=kv_heads
    )  # fmt: skip


def _adding(architecture: Architecture, parts: Iterable[Part], cache: Iterable[CacheGroup]) -> Architecture:
    """Further parts, and further layers of the cache: beside those that are alike, since servers keep them together."""
    groups = list(architecture.cache)
    for more in cache:
        alike = next(
            (i for i, g in enumerate(groups) if g._replace(layers=0, at=()) == more._replace(layers=0, at=())), None
        )
        if alike is None:
            groups.append(more)
        else:
            held = groups[alike]
            groups[alike] = held._replace(layers=held.layers + more.layers, at=held.at + more.at)
    return architecture._replace(parts=architecture.parts + tuple(parts), cache=tuple(groups))
