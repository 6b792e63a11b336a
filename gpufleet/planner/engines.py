"""Model servers: their images, what they can load and cache, and which law and defaults hold for a version.

Owns the registry of engines. Leaves an engine's use of memory to its own module (`vllm`), the sum over a model to `memory`
and the command line to `server`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from gpufleet.planner import vllm
from gpufleet.planner.architecture import Architecture
from gpufleet.planner.laws import (
    BatchDefaults,
    BatchRule,
    CardClass,
    CardTraits,
    MemoryLaw,
    Version,
    newest,
    parse_version,
)
from gpufleet.planner.precision import Capability
from gpufleet.planner.units import gib_from_mib


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
    """Newest first, as all that goes by version."""
    batch_rules: tuple[BatchRule, ...]
    made_at_load: Mapping[str, tuple[str, str]]
    """Precision → the argument that makes the server convert 16-bit weights to it while it loads."""
    cache_types: Mapping[str, CacheType]
    block_tokens: int
    utilization_defaults: tuple[tuple[Version, float], ...]
    """The engine's own share of the GPU memory."""
    encoder_decoders: Mapping[str, Version | None]
    """Types with an encoder beside the decoder that the engine serves, with the version that dropped them."""
    keep_alive_variable: str
    """Environment variable for the seconds that the server keeps an idle connection open. It must outlast the load
    balancer's idle time-out: a connection that the server closes first costs a request a 502."""

    def law(self, version: str, card: CardTraits) -> MemoryLaw:
        """The law of this version on this card."""
        return _law(self, version, card.compute_capability)

    def serves(self, architecture: Architecture, version: str) -> bool:
        """Whether this version has a model of this kind; only of those with an encoder beside the decoder is it known."""
        if architecture.kind != "encoder-decoder":
            return True
        until = self.encoder_decoders.get(architecture.model_type, ())
        return until is None or parse_version(version) < until

    def default_gpu_memory_utilization(self, version: str) -> float:
        """The share of the GPU memory that the engine takes when it is not told."""
        wanted = parse_version(version)
        return next(share for since, share in self.utilization_defaults if since <= wanted)

    def batch_defaults(
        self,
        architecture: Architecture,
        version: str,
        card: CardTraits,
        *,
        usable_memory_mib: float,
        max_model_len: int,
    ) -> BatchDefaults:
        """The engine's own batch sizes for this model on this card."""
        rule, of_card = _batch_rule(self, version, card, usable_memory_mib)
        tokens, seqs = of_card.max_num_batched_tokens, of_card.max_num_seqs
        if rule.whole_prompts_up_to:
            chunks = not architecture.is_multimodal and max_model_len > rule.whole_prompts_up_to
            floor = rule.image_tokens if architecture.is_multimodal else LEAST_WHOLE_PROMPT
            return BatchDefaults(
                max_num_seqs=seqs, max_num_batched_tokens=tokens if chunks else max(max_model_len, floor)
            )
        if architecture.kind == "encoder":  # attends to a whole text at once
            tokens = max(tokens, max_model_len)
        tokens = min(tokens, seqs * max_model_len)
        return BatchDefaults(max_num_seqs=min(seqs, tokens), max_num_batched_tokens=tokens)


@lru_cache(maxsize=256)
def _law(engine: Engine, version: str, capability: Capability) -> MemoryLaw:
    return newest(engine.laws, parse_version(version), capability)


@lru_cache(maxsize=1024)
def _batch_rule(
    engine: Engine, version: str, card: CardTraits, usable_memory_mib: float
) -> tuple[BatchRule, CardClass]:
    rule = newest(engine.batch_rules, parse_version(version), card.compute_capability)
    return rule, next(c for c in rule.classes if c.has(card, gib_from_mib(usable_memory_mib)))


VLLM = Engine(
    name="vllm",
    default_version="0.19.0",
    image="vllm/vllm-openai:v{version}",
    image_bytes=17e9,  # 15 to 20 GB unpacked, by published cold starts
    laws=vllm.LAWS,
    batch_rules=vllm.BATCH_RULES,
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
    utilization_defaults=vllm.UTILIZATION_DEFAULTS,
    encoder_decoders=MappingProxyType(vllm.ENCODER_DECODERS),
    keep_alive_variable="VLLM_HTTP_TIMEOUT_KEEP_ALIVE",
)  # fmt: skip

ENGINES: Mapping[str, Engine] = MappingProxyType({engine.name: engine for engine in (VLLM,)})

LEAST_WHOLE_PROMPT = 2048
"""Engines that take a prompt in one step profile at least this many tokens."""


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
