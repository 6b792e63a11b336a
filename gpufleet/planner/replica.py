"""What decides a replica's memory beside the model and the card.

Owns one record. Leaves what is in it to whoever resolves the requirements.
"""

from typing import NamedTuple


class ReplicaShape(NamedTuple):
    """What decides a replica's memory beside the model and the card."""

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
