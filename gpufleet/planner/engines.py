"""Model servers: their versions, their defaults, what they can load, and the laws of their memory.

Owns every constant of an engine, each with its reason. Leaves the sum over a model to `memory` and the command line to
`server`. The laws were fitted on published start-up logs; see `tests/data/README.md`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.precision import Capability

Version = tuple[int, ...]


class MemoryLaw(NamedTuple):
    """What a server takes beside weights and cache, from `since` on. GiB and bytes.

    Activation peak = base + the larger of two moments that never overlap: the sampler's work on the logits, which takes
    `sampler_bytes` beside the logits themselves for each entry of the vocabulary and sequence, and the forward pass
    over the profiled tokens.
    """

    since: Version
    activation_base_gib: float
    sampler_bytes: float
    non_torch_gib: tuple[float, float, float]
    """CUDA context beyond what is there at start, and NCCL: on one GPU, two, four or more."""
    graph_base_gib: float
    graph_gib_per_layer: float
    graph_sizes: int
    """Batch sizes for which graphs are captured unless max_num_seqs is small."""
    outside_gib: float
    """What driver and process hold before the server measures: it lies outside the budget, beside the graphs."""
    profiles_whole_context: bool
    """Whether the profiled tokens are those of max_model_len: servers without chunked prefill."""
    keeps_expert_workspace: bool
    """Whether the buffers of fused experts stay allocated while the sampler works (modular kernels)."""
    windows_save_cache: bool
    """Whether layers with a window get no more blocks than the window needs (the hybrid cache manager)."""


class CacheType(NamedTuple):
    """A storage of the KV cache; `bytes_per_value` of None follows the compute type."""

    bytes_per_value: float | None
    minimum_capability: Capability
    argument: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Engine:
    """One model server. There is one object for each, so identity is equality."""

    name: str
    default_version: str
    image: str
    image_bytes: float
    laws: tuple[MemoryLaw, ...]
    """Newest first."""
    made_at_load: Mapping[str, tuple[str, str]]
    """Precision → the argument that makes the server convert 16-bit weights to it while it loads."""
    cache_types: Mapping[str, CacheType]
    block_tokens: int
    utilization_defaults: tuple[tuple[Version, float], ...]
    """The engine's own share of the GPU memory, from a version on, newest first."""
    keep_alive_variable: str
    """Environment variable for the seconds that the server keeps an idle connection open. It must outlast the load
    balancer's idle time-out: a connection that the server closes first costs a request a 502."""

    def law(self, version: str) -> MemoryLaw:
        """The law of this version: the newest that is not younger."""
        wanted = parse_version(version)
        return next((law for law in self.laws if law.since <= wanted), self.laws[-1])

    def default_gpu_memory_utilization(self, version: str) -> float:
        """The share of the GPU memory that the engine takes when it is not told."""
        wanted = parse_version(version)
        return next(share for since, share in self.utilization_defaults if since <= wanted)


VLLM = Engine(
    name="vllm",
    default_version="0.19.0",
    image="vllm/vllm-openai:v{version}",
    image_bytes=17e9,  # 15 to 20 GB unpacked, by published cold starts
    laws=(
        # 0.19 on H100: non-torch 0.24-0.46 on one GPU, 2.06-2.10 on two, 2.13-2.21 on four; graphs 0.64-1.85.
        MemoryLaw(
            since=(0, 19), activation_base_gib=0.17, sampler_bytes=12.0, non_torch_gib=(0.26, 2.08, 2.17),
            graph_base_gib=0.4, graph_gib_per_layer=0.0157, graph_sizes=51, outside_gib=0.5,
            profiles_whole_context=False, keeps_expert_workspace=True, windows_save_cache=True,
        ),
        # 0.17 made the sampler leaner: Qwen3-14B falls from 5.64 to 2.23 GiB with all else equal. What is left is the
        # fp32 copy of the logits and the sorted one's 64-bit indices. Non-torch 0.13-0.25 on one GPU; none logged on
        # more.
        MemoryLaw(
            since=(0, 17), activation_base_gib=0.17, sampler_bytes=12.0, non_torch_gib=(0.25, 2.08, 2.17),
            graph_base_gib=0.4, graph_gib_per_layer=0.0157, graph_sizes=51, outside_gib=0.5,
            profiles_whole_context=False, keeps_expert_workspace=True, windows_save_cache=True,
        ),
        # 0.10 brought the hybrid cache manager. The sampler kept the logits in several fp32 copies: 4.76 GiB for
        # 128,256 words, 5.56-5.64 for 151,936, 7.38 for 201,088, all at 1,024 sequences on H100: 38.5 bytes each.
        MemoryLaw(
            since=(0, 10), activation_base_gib=0.05, sampler_bytes=36.5, non_torch_gib=(0.2, 0.55, 0.65),
            graph_base_gib=0.3, graph_gib_per_layer=0.0157, graph_sizes=67, outside_gib=0.5,
            profiles_whole_context=False, keeps_expert_workspace=False, windows_save_cache=True,
        ),
        # 0.8 and 0.9: the same sampler (1.40 GiB for 151,936 words and 256 sequences).
        MemoryLaw(
            since=(0, 8), activation_base_gib=0.05, sampler_bytes=36.5, non_torch_gib=(0.2, 0.4, 0.45),
            graph_base_gib=0.1, graph_gib_per_layer=0.005, graph_sizes=35, outside_gib=0.3,
            profiles_whole_context=False, keeps_expert_workspace=False, windows_save_cache=False,
        ),
        # Before, a prompt of up to 32,768 tokens was profiled whole. Graphs 0.18 GiB logged for 28 layers.
        MemoryLaw(
            since=(0,), activation_base_gib=0.05, sampler_bytes=36.5, non_torch_gib=(0.2, 0.4, 0.45),
            graph_base_gib=0.1, graph_gib_per_layer=0.005, graph_sizes=35, outside_gib=0.3,
            profiles_whole_context=True, keeps_expert_workspace=False, windows_save_cache=False,
        ),
    ),
    made_at_load=MappingProxyType({
        "fp32": ("--dtype", "float32"),
        "fp16": ("--dtype", "float16"),
        "bf16": ("--dtype", "bfloat16"),
        "fp8": ("--quantization", "fp8"),
        "int4": ("--quantization", "bitsandbytes"),
    }),
    cache_types=MappingProxyType({
        "auto": CacheType(bytes_per_value=None, minimum_capability=(7, 0), argument="auto"),
        "fp16": CacheType(bytes_per_value=2.0, minimum_capability=(7, 0), argument="float16"),
        "bf16": CacheType(bytes_per_value=2.0, minimum_capability=(8, 0), argument="bfloat16"),
        "fp8": CacheType(bytes_per_value=1.0, minimum_capability=(8, 9), argument="fp8"),
        "fp8_e4m3": CacheType(bytes_per_value=1.0, minimum_capability=(8, 9), argument="fp8_e4m3"),
        "fp8_e5m2": CacheType(bytes_per_value=1.0, minimum_capability=(8, 0), argument="fp8_e5m2"),
    }),
    block_tokens=16,
    utilization_defaults=(((0, 21), 0.92), ((0,), 0.9)),
    keep_alive_variable="VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
)  # fmt: skip

ENGINES: Mapping[str, Engine] = MappingProxyType({engine.name: engine for engine in (VLLM,)})

LARGE_CARD_MIB = 70 * 1024
"""vLLM counts cards of 70 GiB and more, A100 excepted, as large (EngineArgs.get_batch_defaults)."""


class BatchDefaults(NamedTuple):
    """The engine's own defaults on a card."""

    max_num_seqs: int
    max_num_batched_tokens: int


def batch_defaults(*, gpu_name: str, usable_memory_mib: int) -> BatchDefaults:
    """vLLM's API server: 1,024 sequences and 8,192 tokens on large cards, 256 and 2,048 on others."""
    if usable_memory_mib >= LARGE_CARD_MIB and not gpu_name.startswith("A100"):
        return BatchDefaults(max_num_seqs=1024, max_num_batched_tokens=8192)
    return BatchDefaults(max_num_seqs=256, max_num_batched_tokens=2048)


def parse_version(version: str) -> Version:
    """`0.8.5.dev169` as (0, 8, 5)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


def version_of_image(image: str) -> str | None:
    """The version in an image's tag (`v0.19.0`, `0.19.0-cu128`); None where the tag says none."""
    tag = image.partition("@")[0].rpartition("/")[2].rpartition(":")[2] if ":" in image.rpartition("/")[2] else ""
    match = re.fullmatch(r"v?(\d+\.\d+(?:\.\d+)?)(?:[.\-+_]?\w.*)?", tag)
    return match[1] if match else None


def load_arguments(engine: Engine, precision: str, architecture: Architecture) -> tuple[str, str] | None:
    """The argument with which the server loads the checkpoint in this precision; None where it cannot.

    A quantised checkpoint is loaded as it is, and in no other format: nothing turns its weights back.
    """
    from gpufleet.planner.precision import PRECISIONS

    stored = architecture.checkpoint_format
    if stored is not None and PRECISIONS[stored].is_quantized:
        return ("--dtype", "auto") if precision == stored else None
    return engine.made_at_load.get(precision)
