"""What decides a replica's memory beside the model and how much memory the card has.

Owns three records. Leaves what is in them to whoever resolves the requirements.
"""

from typing import NamedTuple

from gpufleet.planner.laws import CardTraits

HOPPER = CardTraits(name="H100", compute_capability=(9, 0), has_nvlink=True)
"""The card that most published logs are of."""


class GivenMemory(NamedTuple):
    """Terms of a GPU's memory that the user knows better than the laws, in GiB; None leaves a term to its law."""

    weights_gib: float | None = None
    activations_gib: float | None = None
    non_torch_gib: float | None = None
    cuda_graphs_gib: float | None = None
    outside_gib: float | None = None


class ReplicaShape(NamedTuple):
    """What decides a replica's memory beside the model and the size of the card."""

    precision: str
    tensor_parallelism: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    full_contexts: int
    kv_cache_dtype: str
    gpu_memory_utilization: float
    engine_version: str
    pipeline_parallelism: int = 1
    data_parallelism: int = 1
    card: CardTraits = HOPPER
    given: GivenMemory = GivenMemory()
    captures_graphs: bool = True
    """False for a server that is started with --enforce-eager."""
