"""The words for what an engine does with GPU memory: laws by version, and its own defaults by card.

Owns the records and how the right one is found. Leaves the figures to one module per engine (`vllm`), and what a law
amounts to for a model to `activations`, `kv_cache` and `memory`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from gpufleet.planner.precision import Capability

Version = tuple[int, ...]


class CardTraits(NamedTuple):
    """What of a card decides how an engine uses its memory, beside how much there is."""

    name: str
    compute_capability: Capability
    has_nvlink: bool


class Sampler(NamedTuple):
    """What sampling takes for each entry of the vocabulary and sequence, in bytes."""

    logit_bytes: float
    """At the peak, beside the logits in the compute type."""
    state_bytes: float
    """Kept as long as the server runs."""
    scratch_rows: int
    """Rows of fp32 logits that kernels keep for themselves, whatever the number of sequences."""


class SamplerChoice(NamedTuple):
    """A sampler, and for which models the engine takes it: those of `model_types`, and all `dense` ones or all."""

    sampler: Sampler
    model_types: frozenset[str] = frozenset()
    takes_dense: bool = False
    takes_all: bool = False
    takes_quantized: bool = True


class Evidence(NamedTuple):
    """Where complete logs exist that a law was held to; elsewhere it is a guess, and a plan says so."""

    capabilities: frozenset[Capability] = frozenset()
    degrees: frozenset[int] = frozenset()
    is_of_version: bool = True
    """Whether they are of these versions, not of older ones whose constants are carried on."""


class MemoryLaw(NamedTuple):
    """What a server takes beside weights and cache, from `since` on, on cards of `minimum_capability`. GiB and bytes.

    The activation peak is the largest of three moments that never overlap: the image encoder's pass, the language
    model's pass over the profiled tokens, and the sampler's work on the logits of all sequences.
    """

    since: Version
    samplers: tuple[SamplerChoice, ...]
    """The first that takes the model."""
    keeps_expert_workspace: bool
    """Whether the buffers of fused experts stay allocated while the sampler works."""
    images_fill_budget: bool
    """Whether the encoder is profiled with as many images as the batched tokens hold, and their pixels and outputs stay
    beside the rest of the run; before, images took the place of sequences."""
    video_frames: int
    """Most frames of a profiled video."""
    non_torch_gib: tuple[float, float, float]
    """CUDA context beyond what is there at start, and NCCL: on one GPU, two, four or more of one stage."""
    stage_non_torch_gib: float
    """The same for one GPU per stage of a pipeline: NCCL is set up before the server measures."""
    pcie_share: float
    """How much of NCCL's part is left where GPUs have no NVLink."""
    graph_base_gib: float
    graph_gib_per_layer: float
    graph_sizes: int
    """Batch sizes for which graphs are captured unless max_num_seqs is small."""
    graphs_in_budget: bool
    """Whether the server subtracts an estimate of the graphs before it sizes the cache."""
    outside_gib: tuple[float, float]
    """What driver, process and NCCL hold before the server measures, beside the budget: for one GPU, for several."""
    even_groups_up_to: float
    """Unlike layers share blocks in groups of the larger kind's size if it has no more than this many times the layers
    of the smaller one; 0 where windows save no cache at all."""
    counts_tokens_by_context: bool
    """Whether the server logs as its cache's tokens the contexts that fit times their length."""
    counts_all_of_torch: bool
    """Whether what PyTorch keeps beside weights is counted (the server compares the whole card's free memory)."""
    evidence: Evidence
    minimum_capability: Capability = (0, 0)

    def sampler_for(self, model_type: str, *, is_moe: bool, is_hybrid: bool, is_quantized: bool) -> Sampler:
        """The sampler that the engine takes for a model."""
        for choice in self.samplers:
            listed = model_type in choice.model_types or (choice.takes_dense and not is_moe and not is_hybrid)
            if choice.takes_all or (listed and (choice.takes_quantized or not is_quantized)):
                return choice.sampler
        return self.samplers[-1].sampler


class CardClass(NamedTuple):
    """Cards of at least `minimum_gib`; of these only those whose name begins with one of `only`, if any is given, and
    none with one of `excluded`."""

    max_num_seqs: int
    max_num_batched_tokens: int
    minimum_gib: float = 0.0
    excluded: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def has(self, card: CardTraits, usable_gib: float) -> bool:
        """Whether the card is of this class."""
        is_named = not self.only or card.name.startswith(self.only)
        return (
            usable_gib >= self.minimum_gib and is_named and not (self.excluded and card.name.startswith(self.excluded))
        )


class BatchRule(NamedTuple):
    """The engine's own batch sizes from a version on, on cards of `minimum_capability`: by the first class that has the
    card."""

    since: Version
    classes: tuple[CardClass, ...]
    minimum_capability: Capability = (0, 0)
    whole_prompts_up_to: int = 0
    """Prompts up to this length are taken in one step, whatever the tokens: engines without chunked prefill."""
    image_tokens: int = 0
    """Fewest tokens of a step of a model with images, whose prompts are then never chunked."""


class BatchDefaults(NamedTuple):
    """The engine's own defaults on a card."""

    max_num_seqs: int
    max_num_batched_tokens: int


_Dated = TypeVar("_Dated", MemoryLaw, BatchRule)


def newest(entries: Sequence[_Dated], version: Version, capability: Capability) -> _Dated:
    """The newest entry that is not younger than the version and holds for the card; they come newest first."""
    found = (e for e in entries if e.since <= version and capability >= e.minimum_capability)
    return next(found, entries[-1])


@lru_cache(maxsize=256)
def parse_version(version: str) -> Version:
    """`0.8.5.dev169` as (0, 8, 5)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)
