"""The server starts that others logged, as the planner's inputs.

Owns what a row of `tests/data/measured_memory*.csv` means: which model, card and settings, with the engine's own defaults
where the row says nothing. Leaves scores to `scores`.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.engines import VLLM
from gpufleet.planner.laws import CardTraits, parse_version
from gpufleet.planner.models import known_model
from gpufleet.planner.models.storage import KEPT, Exceptional
from gpufleet.planner.replica import ReplicaShape

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
SHARED, FURTHER = DATA / "measured_memory.csv", DATA / "measured_memory_more.csv"

# Models that a constant of the laws was set on. Whatever is read from the engine's source alone needs none.
FITTED_ON = frozenset({
    "meta-llama/Llama-3.1-8B",  # non-torch memory, graphs
    "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct",  # vectors of the residual stream, allocator's rounding
    "Qwen/Qwen3-0.6B",  # what a sort takes
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506",  # 8-bit products
    "ibm-granite/granite-3.3-8b-instruct",  # vectors of the residual stream
    "openai/gpt-oss-20b",  # padding, graphs and warm-up of MXFP4
})  # fmt: skip

# Ids in the file that are not ids of the registry, with the model whose sizes they have.
SAME_SIZES = {
    "8B Llama-3.1-class (id not in the log excerpt)": "meta-llama/Llama-3.1-8B",
    "Llama-3.1-8B": "meta-llama/Llama-3.1-8B",
    "Llama-2-7B": "meta-llama/Llama-2-7b-hf",
    "TheBloke/CodeLlama-13B-Instruct-fp16": "codellama/CodeLlama-13b-hf",
    "RedHatAI/Llama-3.3-70B-Instruct-fp8-dynamic": "meta-llama/Llama-3.3-70B-Instruct",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": "meta-llama/Llama-3.1-8B",
    "RedHatAI/Mistral-Small-3.1-24B-Instruct-2503-quantized.w8a8": "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
    "RedHatAI/Qwen2.5-7B-Instruct-fp8-dynamic": "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen2.5-Math-1.5B": "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen/Qwen2.5-0.5B": "Qwen/Qwen2.5-0.5B-Instruct",
    "Phi-4 (bnb 4-bit, local)": "microsoft/phi-4",
    "Phi-4-mini-class merged fine-tune (local path)": "microsoft/Phi-4-mini-instruct",
    "Qwen2.5-7B (4-bit variant, exact id not in excerpt)": "Qwen/Qwen2.5-7B-Instruct",
    "UI-TARS (local; Qwen2-VL-7B architecture)": "Qwen/Qwen2-VL-7B-Instruct",
    "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4": "Qwen/Qwen2.5-72B-Instruct",
    "Qwen/Qwen2.5-32B-Instruct-AWQ": "Qwen/Qwen2.5-32B-Instruct",
    "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8": "Qwen/Qwen3-235B-A22B",
    "gaunernst/gemma-3-27b-it-int4-awq": "google/gemma-3-27b-it",
    "google/gemma-3-1b (deployment vllm-gemma-3-1b)": "google/gemma-3-1b-it",
    "meta-llama/Llama-3.2-11B-Vision": "meta-llama/Llama-3.2-11B-Vision-Instruct",
    "realtreetune/rho-1b-sft-GSM8K": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mistralai/Mixtral-8x7B-v0.1",
    "ibm-granite/granite-3.1-2b-instruct": "ibm-granite/granite-3.3-2b-instruct",
    "meta-llama/Meta-Llama-3.1-405B-Instruct-FP8": "meta-llama/Llama-3.1-405B",
    "neuralmagic/Meta-Llama-3.1-70B-Instruct-quantized.w8a8": "meta-llama/Llama-3.1-70B-Instruct",
}  # fmt: skip
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
# The group size of an int4 checkpoint, where it is not the usual 128 (converted from Q4_0, whose groups are of 32).
GROUPS = {"gaunernst/gemma-3-27b-it-int4-awq": 32}
# Compute capability and NVLink by what a row calls its card.
CARDS = (
    ("T4", (7, 5), False), ("Turing", (7, 5), False), ("V100", (7, 0), True), ("A100", (8, 0), True),
    ("A10", (8, 6), False), ("A40", (8, 6), False), ("A6000", (8, 6), False), ("3090", (8, 6), False),
    ("L4", (8, 9), False), ("4090", (8, 9), False), ("4060", (8, 9), False), ("5090", (12, 0), False),
    ("24GB", (8, 6), False), ("48GB", (8, 9), False),
)  # fmt: skip
# Parts that a checkpoint leaves in 16 bits beyond its format's rule (FBGEMM's fp8 quantises the MLPs alone).
KEPT_IN_16_BITS = {"meta-llama/Meta-Llama-3.1-405B-Instruct-FP8": frozenset({"attention"})}
# What the driver reports for a card, where the row does not say it; the first as its note quotes.
USABLE_GIB = {
    "RTX 4090 24GB": 23.08, "H100 80GB": 79.19, "H100": 79.19, "A100 80GB": 79.15, "RTX 3090 24GB": 23.58,
    "V100-PCIE 32GB": 31.74, "L40 48GB": 44.42, "L40S 48GB": 44.42, "A10G 24GB": 22.06, "A100 40GB": 39.38,
}  # fmt: skip
_LOGGED_SEQS = re.compile(r"max[-_]num[-_]seqs[= ](\d+)")
_LOGGED_TOKENS = re.compile(r"max[-_]num[-_]batched[-_]tokens[= ](\d+)")
_NUMBER = re.compile(r"0\.\d+(?:\.\d+)?")
LAST_OF_V0 = "0.7.3"
# Versions that the notes suggest by the log's date.
_SUGGESTED = re.compile(r"suggested by log format/date: ([^)]*(?:\)|$))")


@dataclass(frozen=True)
class Start:
    """One row whose model and version are known; what was not logged is None. `shape` has the engine's defaults where
    the row says nothing."""

    id: str
    model: str
    architecture: Architecture
    shape: ReplicaShape
    pipeline_parallelism: int
    usable_gib: float | None
    has_utilization: bool
    has_length: bool
    weights_gib: float | None
    activations_gib: float | None
    non_torch_gib: float | None
    kv_cache_gib: float | None
    kv_cache_tokens: int | None
    outcome: str
    gpu: str
    is_text: bool

    @property
    def total_gib(self) -> float | None:
        """Weights, activations and non-torch memory, where all three were logged."""
        if self.weights_gib is None or self.activations_gib is None or self.non_torch_gib is None:
            return None
        return self.weights_gib + self.activations_gib + self.non_torch_gib

    @property
    def is_recent(self) -> bool:
        """Whether the version is 0.17 or later, whose logs are complete."""
        return parse_version(self.shape.engine_version) >= (0, 17)

    @property
    def is_fitted_on(self) -> bool:
        """Whether a constant was set on rows of this model."""
        return self.model in FITTED_ON

    @property
    def worked(self) -> bool:
        """Whether the server started, and nothing is told of it later."""
        return self.outcome.startswith("fits (server started)")

    @property
    def failed(self) -> bool:
        """Whether the server did not start for want of memory, with settings that the row tells."""
        return self.outcome.startswith(("did not fit", "OOM during", "OOM (started", "OOM / KV"))


def starts(file: Path = SHARED) -> list[Start]:
    """The rows of vLLM on NVIDIA cards whose model is known."""
    with file.open(encoding="utf-8", newline="") as opened:
        rows = [_start(row) for row in csv.DictReader(opened)]
    return [row for row in rows if row is not None]


def _number(text: str) -> float | None:
    return float(text) if text else None


def _version(row: dict[str, str]) -> str | None:
    """What the log says; else what its notes suggest. A log of the first engine is taken for one of 0.7 at the latest."""
    logged = re.match(r"(>?)[>=]*(\d+\.\d+(?:\.\d+)?)", row["engine_version"])
    suggested = _SUGGESTED.search(row["notes"])
    if "llm-d-benchmark" in row["source_url"]:
        return "0.11.0"  # docs/empirical-vllm-memory-results.md
    found = logged[2] if logged else suggested and _NUMBER.search(suggested[1])
    number = found if isinstance(found, str) else found and found[0]
    text = row["engine_version"] + (suggested[1] if suggested and not logged else "")
    if "V0" in text:
        return min(number or LAST_OF_V0, LAST_OF_V0, key=parse_version)
    return number or ("0.9.0" if "V1" in text else None)


def _precision(row: dict[str, str]) -> str:
    method = row["quantization"].casefold()
    marks = (("mxfp4", "mxfp4"), ("fp8", "fp8"), ("int8", "int8"), ("int4", "int4"), ("4-bit", "int4"))
    return next((name for mark, name in marks if mark in method), _PRECISIONS.get(row["weight_dtype"], "bf16"))


def _architecture(row: dict[str, str]) -> Architecture | None:
    """The registry's, stored as the row says: scales and formats follow from the checkpoint."""
    model = SAME_SIZES.get(row["model_id"], row["model_id"])
    if known_model(model) is None:
        return None
    found = resolve_architecture(model_id=model, parameters=None, config=None)
    precision, method = _precision(row), row["quantization"].casefold()
    kept = KEPT_IN_16_BITS.get(row["model_id"])
    if kept:
        exceptions = (Exceptional(parts=kept, layers=None, format=KEPT),)
        found = found._replace(checkpoint_format=precision, quantization_method="fbgemm_fp8", exceptions=exceptions)
    if precision in ("int8", "int4") and found.checkpoint_format != precision:
        group = 0 if precision == "int8" or "bitsandbytes" in method else GROUPS.get(row["model_id"], 128)
        stored = next((m for m in ("bitsandbytes", "awq", "gptq") if m in method), "compressed-tensors")
        return found._replace(
            checkpoint_format=precision,
            quantization_method=stored,
            quantization_group=group,
            has_zero_points=stored in ("awq", "gptq"),
        )
    return found


def _card(name: str) -> CardTraits:
    """What a row's name of its card says of it; an H100's where nothing does."""
    capability, nvlink = next((c for mark, *c in CARDS if mark in name), ((9, 0), True))
    return CardTraits(name=name, compute_capability=capability, has_nvlink=nvlink)


def _start(row: dict[str, str]) -> Start | None:
    version, found = _version(row), _architecture(row)
    if row["engine"] != "vLLM" or version is None or version.startswith("0.2") or found is None:
        return None
    usable = _number(row["gpu_mem_gib"]) or USABLE_GIB.get(row["gpu_model"])
    card = _card(row["gpu_model"])
    length = int(row["max_model_len"] or found.max_position_embeddings or 2048)
    defaults = VLLM.batch_defaults(found, version, card, usable_memory_mib=(usable or 0) * 1024, max_model_len=length)
    seqs, tokens = _LOGGED_SEQS.search(row["notes"]), _LOGGED_TOKENS.search(row["notes"])
    shape = ReplicaShape(
        precision=_precision(row),
        tensor_parallelism=int(row["tp"] or 1),
        max_model_len=length,
        max_num_seqs=int(seqs[1]) if seqs else defaults.max_num_seqs,
        max_num_batched_tokens=int(tokens[1]) if tokens else defaults.max_num_batched_tokens,
        full_contexts=1,
        kv_cache_dtype=row["kv_cache_dtype"] or "auto",
        gpu_memory_utilization=float(row["gpu_memory_utilization"] or 0.9),
        engine_version=version,
        pipeline_parallelism=int(row["pp"] or 1),
        card=card,
    )
    blocks = int(row["gpu_blocks"]) * VLLM.block_tokens if row["gpu_blocks"] else None
    return Start(
        id=row["id"],
        model=found.model_id,
        architecture=found,
        shape=shape,
        pipeline_parallelism=int(row["pp"] or 1),
        usable_gib=usable,
        has_utilization=bool(row["gpu_memory_utilization"]),
        has_length=bool(row["max_model_len"]),
        weights_gib=_number(row["weights_gib_per_gpu"]),
        activations_gib=_number(row["activation_peak_gib"]),
        non_torch_gib=_number(row["non_torch_gib"]),
        kv_cache_gib=_number(row["kv_cache_gib_per_gpu"]),
        kv_cache_tokens=int(row["kv_cache_tokens"]) if row["kv_cache_tokens"] else blocks,
        outcome=row["outcome"],
        gpu=row["gpu_model"],
        is_text="multimodal" not in row["architecture_note"],
    )
