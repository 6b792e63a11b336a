"""The server starts that others logged (tests/data/measured_memory.csv), as the planner's inputs."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.engines import Engine, engine

FILE = Path(__file__).resolve().parent.parent / "data" / "measured_memory.csv"

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
}  # fmt: skip
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_LOGGED_SEQS = re.compile(r"max_num_seqs=(\d+)")
_LOGGED_TOKENS = re.compile(r"max_num_batched_tokens=(\d+)")
# Versions that the notes suggest by the log's date.
_SUGGESTED = re.compile(r"suggested by log format/date: (?:main )?v?([V\d][\d.]*)")


@dataclass(frozen=True)
class Start:
    """One row whose model, precision and version are known well enough to estimate it."""

    id: str
    model: str
    architecture: Architecture
    engine: Engine
    precision: str
    tensor_parallelism: int
    pipeline_parallelism: int
    usable_gib: float | None
    utilization: float | None
    max_model_len: int | None
    kv_cache_dtype: str
    max_num_seqs: int
    max_num_batched_tokens: int
    weights_gib: float | None
    activations_gib: float | None
    non_torch_gib: float | None
    kv_cache_gib: float | None
    kv_cache_tokens: int | None
    outcome: str
    gpu: str
    is_text: bool


def starts() -> list[Start]:
    """The rows of vLLM on NVIDIA cards whose model is known."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [_start(row) for row in csv.DictReader(file)]
    return [row for row in rows if row is not None]


def _number(text: str) -> float | None:
    return float(text) if text else None


def _version(row: dict[str, str]) -> str | None:
    logged = re.match(r"[>=]*(\d+\.\d+(?:\.\d+)?)", row["engine_version"])
    if logged:
        return logged[1]
    if "llm-d-benchmark" in row["source_url"]:
        return "0.11.0"  # docs/empirical-vllm-memory-results.md
    suggested = _SUGGESTED.search(row["notes"])
    if not suggested:
        return None
    return {"V0": "0.6.6", "V1": "0.8.3"}.get(suggested[1], suggested[1].strip("."))


def _precision(row: dict[str, str]) -> str:
    method = row["quantization"].casefold()
    for mark, name in (("fp8", "fp8"), ("int8", "int8"), ("int4", "int4"), ("4-bit", "int4"), ("mxfp4", "mxfp4")):
        if mark in method:
            return name
    return _PRECISIONS.get(row["weight_dtype"], "bf16")


def _start(row: dict[str, str]) -> Start | None:
    version = _version(row)
    model = SAME_SIZES.get(row["model_id"], row["model_id"])
    if row["engine"] != "vLLM" or version is None or version.startswith("0.2"):
        return None
    try:
        architecture = resolve_architecture(model_id=model, parameters=None, config=None)
    except Exception:
        return None
    at = engine("vllm", version)
    length = int(row["max_model_len"]) if row["max_model_len"] else None
    seqs, tokens = _LOGGED_SEQS.search(row["notes"]), _LOGGED_TOKENS.search(row["notes"])
    usable = _number(row["gpu_mem_gib"]) or (79.19 if row["gpu_model"].startswith("H100") else None)
    mib = (usable or 0) * 1024
    large = at.version >= "0.10"
    default_seqs = at.default_max_num_seqs(gpu_name=row["gpu_model"], usable_memory_mib=mib) if large else 256
    default_tokens = at.default_max_num_batched_tokens(gpu_name=row["gpu_model"], usable_memory_mib=mib)
    if not large:  # version 0 profiles a whole prompt, unless it is long and prefill is split
        context = length or architecture.max_position_embeddings or 2048
        old_card = any(name in row["gpu_model"] for name in ("T4", "V100"))
        default_tokens = max(context, 2048) if context <= 32768 or old_card else 2048
    return Start(
        id=row["id"], model=model, architecture=architecture, engine=at, precision=_precision(row),
        tensor_parallelism=int(row["tp"] or 1), pipeline_parallelism=int(row["pp"] or 1), usable_gib=usable,
        utilization=_number(row["gpu_memory_utilization"]), max_model_len=length,
        kv_cache_dtype=row["kv_cache_dtype"] or "auto", max_num_seqs=int(seqs[1]) if seqs else default_seqs,
        max_num_batched_tokens=int(tokens[1]) if tokens else default_tokens,
        weights_gib=_number(row["weights_gib_per_gpu"]), activations_gib=_number(row["activation_peak_gib"]),
        non_torch_gib=_number(row["non_torch_gib"]), kv_cache_gib=_number(row["kv_cache_gib_per_gpu"]),
        kv_cache_tokens=int(row["kv_cache_tokens"]) if row["kv_cache_tokens"] else
        int(row["gpu_blocks"]) * 16 if row["gpu_blocks"] else None,
        outcome=row["outcome"], gpu=row["gpu_model"], is_text="multimodal" not in row["architecture_note"],
    )  # fmt: skip
