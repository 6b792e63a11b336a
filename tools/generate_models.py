"""Writes gpufleet/planner/models/registry.json from a file of published model configs.

    python tools/generate_models.py MODEL_CONFIGS.json

The input maps ids to `{config, total_params, checkpoint_params, computed_params, computed_vision_params,
computed_mtp_params, source}` with `config` in the field names of the model's own config.json. Only the fields that
decide sizes are kept. `DERIVED` adds quantised and instruction-tuned publications whose sizes are those of a base in
the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

REGISTRY = Path(__file__).resolve().parent.parent / "gpufleet/planner/models/registry.json"
DROPPED = {"rope_theta", "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"}
FP8_BLOCK = {"quant_method": "fp8", "weight_block_size": [128, 128]}
FP8_DYNAMIC = {"quant_method": "compressed-tensors", "format": "float-quantized"}
W8A8 = {"quant_method": "compressed-tensors", "format": "int-quantized"}
W4A16 = {"quant_method": "compressed-tensors", "format": "pack-quantized", "num_bits": 4, "group_size": 128}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}


FBGEMM = {
    "quant_method": "fbgemm_fp8",
    "modules_to_not_convert": ["self_attn", "model.layers.0.mlp", "model.layers.125.mlp"],
}
"""Attention and the first and last layers stay in 16 bits ("The Llama 3 Herd of Models", arXiv 2407.21783, 6.2)."""


def gptq(bits: int) -> dict[str, Any]:
    """The quantization_config of a GPTQ checkpoint with Qwen's group size."""
    return {"quant_method": "gptq", "bits": bits, "group_size": 128}


def derived() -> dict[str, tuple[str, dict[str, Any] | None]]:
    """Ids whose model card names a base that is in the file, with their storage format (None: as the base)."""
    ids: dict[str, tuple[str, dict[str, Any] | None]] = {
        "meta-llama/Llama-3.1-8B-Instruct": ("meta-llama/Llama-3.1-8B", None),
        "meta-llama/Llama-3.1-70B-Instruct": ("meta-llama/Llama-3.1-70B", None),
        "meta-llama/Llama-3.2-1B-Instruct": ("meta-llama/Llama-3.2-1B", None),
        "meta-llama/Llama-3.2-3B-Instruct": ("meta-llama/Llama-3.2-3B", None),
        "meta-llama/Meta-Llama-3-8B-Instruct": ("meta-llama/Meta-Llama-3-8B", None),
        "meta-llama/Meta-Llama-3-70B-Instruct": ("meta-llama/Meta-Llama-3-70B", None),
        "mistralai/Mixtral-8x7B-Instruct-v0.1": ("mistralai/Mixtral-8x7B-v0.1", None),
        "mistralai/Mixtral-8x22B-Instruct-v0.1": ("mistralai/Mixtral-8x22B-v0.1", None),
        "mistralai/Mistral-7B-Instruct-v0.3": ("mistralai/Mistral-7B-v0.3", None),
        "google/gemma-2b-it": ("google/gemma-2b", None),
        "google/gemma-7b-it": ("google/gemma-7b", None),
        "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic": ("meta-llama/Llama-3.3-70B-Instruct", FP8_DYNAMIC),
        "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic": ("meta-llama/Llama-3.1-8B", FP8_DYNAMIC),
        "RedHatAI/Meta-Llama-3.1-70B-Instruct-FP8-dynamic": ("meta-llama/Llama-3.1-70B", FP8_DYNAMIC),
        "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8": ("meta-llama/Llama-3.1-8B", W8A8),
        "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": ("meta-llama/Llama-3.1-8B", W4A16),
        "RedHatAI/Qwen2.5-7B-Instruct-FP8-dynamic": ("Qwen/Qwen2.5-7B-Instruct", FP8_DYNAMIC),
        "RedHatAI/Qwen2.5-7B-Instruct-quantized.w8a8": ("Qwen/Qwen2.5-7B-Instruct", W8A8),
        "RedHatAI/Qwen2.5-14B-Instruct-quantized.w8a8": ("Qwen/Qwen2.5-14B-Instruct", W8A8),
        "RedHatAI/phi-4-quantized.w8a8": ("microsoft/phi-4", W8A8),
    }
    for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"):
        base = f"Qwen/Qwen2.5-{size}-Instruct"
        ids |= {f"{base}-AWQ": (base, AWQ), f"{base}-GPTQ-Int4": (base, gptq(4)), f"{base}-GPTQ-Int8": (base, gptq(8))}
        ids[f"Qwen/Qwen2.5-{size}"] = (base, None)
        if size != "72B":
            coder = f"Qwen/Qwen2.5-Coder-{size}"
            ids |= {coder: (base, None), f"{coder}-Instruct": (base, None), f"{coder}-Instruct-AWQ": (base, AWQ)}
        if size in ("1.5B", "7B", "72B"):
            ids |= {f"Qwen/Qwen2.5-Math-{size}{end}": (base, None) for end in ("", "-Instruct")}
    for size in ("3B", "7B", "32B", "72B"):
        base = f"Qwen/Qwen2.5-VL-{size}-Instruct"
        ids[f"{base}-AWQ"] = (base, AWQ | {"modules_to_not_convert": ["visual"]})
    for size in ("0.6B", "1.7B", "4B", "8B", "14B", "32B", "30B-A3B", "235B-A22B"):
        ids[f"Qwen/Qwen3-{size}-FP8"] = (f"Qwen/Qwen3-{size}", FP8_BLOCK)
    for size in ("4B", "8B", "14B", "32B"):
        ids[f"Qwen/Qwen3-{size}-AWQ"] = (f"Qwen/Qwen3-{size}", AWQ)
    for size in ("4B", "30B-A3B", "235B-A22B"):
        for kind in ("Instruct", "Thinking"):
            newer, base = f"Qwen/Qwen3-{size}-{kind}-2507", f"Qwen/Qwen3-{size}"
            ids |= {newer: (base, None), f"{newer}-FP8": (base, FP8_BLOCK)}
    for model, base in (
        ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "Qwen/Qwen3-30B-A3B"),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct", "Qwen/Qwen3-Coder-480B-A35B-Instruct"),
        ("Qwen/Qwen3-Next-80B-A3B-Thinking", "Qwen/Qwen3-Next-80B-A3B-Instruct"),
    ):
        ids |= {model: (base, None), f"{model}-FP8": (base, FP8_BLOCK)}
    for newer in ("DeepSeek-V3-0324", "DeepSeek-V3.1", "DeepSeek-R1-0528"):
        ids[f"deepseek-ai/{newer}"] = ("deepseek-ai/DeepSeek-V3", FP8_BLOCK)
    for name, base in (
        ("Meta-Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-70B"),
        ("Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ("Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("Qwen2.5-14B-Instruct", "Qwen/Qwen2.5-14B-Instruct"),
        ("Qwen2.5-32B-Instruct", "Qwen/Qwen2.5-32B-Instruct"),
        ("Mistral-Small-24B-Instruct-2501", "mistralai/Mistral-Small-24B-Instruct-2501"),
        ("phi-4", "microsoft/phi-4"),
        ("Qwen3-8B", "Qwen/Qwen3-8B"),
        ("Qwen3-14B", "Qwen/Qwen3-14B"),
        ("Qwen3-32B", "Qwen/Qwen3-32B"),
    ):
        ids |= {
            f"RedHatAI/{name}-quantized.{kind}": (base, stored) for kind, stored in (("w8a8", W8A8), ("w4a16", W4A16))
        }
        ids[f"RedHatAI/{name}-FP8-dynamic"] = (base, FP8_DYNAMIC)
    for size in ("8B", "70B"):
        base = f"meta-llama/Llama-3.1-{size}"
        ids[f"hugging-quants/Meta-Llama-3.1-{size}-Instruct-AWQ-INT4"] = (base, AWQ)
        ids[f"hugging-quants/Meta-Llama-3.1-{size}-Instruct-GPTQ-INT4"] = (base, gptq(4))
    ids |= {
        "meta-llama/Llama-3.1-405B-Instruct": ("meta-llama/Llama-3.1-405B", None),
        "meta-llama/Llama-3.1-405B-Instruct-FP8": ("meta-llama/Llama-3.1-405B", FBGEMM),
        "meta-llama/Llama-2-7b-chat-hf": ("meta-llama/Llama-2-7b-hf", None),
        "meta-llama/Llama-2-13b-chat-hf": ("meta-llama/Llama-2-13b-hf", None),
        "meta-llama/Llama-2-70b-chat-hf": ("meta-llama/Llama-2-70b-hf", None),
        "meta-llama/Llama-3.2-11B-Vision": ("meta-llama/Llama-3.2-11B-Vision-Instruct", None),
        "mistralai/Mistral-7B-Instruct-v0.1": ("mistralai/Mistral-7B-v0.1", None),
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503": ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", None),
        "mistralai/Mistral-Nemo-Base-2407": ("mistralai/Mistral-Nemo-Instruct-2407", None),
        "google/gemma-2-2b": ("google/gemma-2-2b-it", None),
        "google/gemma-2-9b": ("google/gemma-2-9b-it", None),
        "google/gemma-2-27b": ("google/gemma-2-27b-it", None),
        "Qwen/QwQ-32B-Preview": ("Qwen/QwQ-32B", None),
        "Qwen/QwQ-32B-AWQ": ("Qwen/QwQ-32B", AWQ),
        "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": ("Qwen/Qwen3-8B", None),
        "microsoft/Phi-4-reasoning": ("microsoft/phi-4", None),
        "microsoft/Phi-4-reasoning-plus": ("microsoft/phi-4", None),
        "intfloat/multilingual-e5-large-instruct": ("intfloat/multilingual-e5-large", None),
    }
    return ids


PADDED = {
    f"Qwen/Qwen2.5-72B-Instruct-{name}": {"fields": {"intermediate_size": 29_696}, "parameters": 72_957_861_888}
    for name in ("AWQ", "GPTQ-Int4", "GPTQ-Int8")
}
"""Qwen padded the MLP of these with zeros to whole groups of 128 on 8 GPUs (QwenLM/Qwen3, issue 578)."""


def compact(value: Any) -> Any:
    """A config without empty fields, and without those that decide no size."""
    if isinstance(value, dict):
        return {k: compact(v) for k, v in value.items() if v is not None and v is not False and k not in DROPPED} | {
            k: False for k, v in value.items() if v is False and k not in DROPPED
        }
    return [compact(v) for v in value] if isinstance(value, list) else value


def blocks(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers of a Nemotron-NAS model with the fields that decide sizes."""
    return [
        {
            "attention": {k: b["attention"].get(k) for k in ("n_heads_in_group", "no_op", "replace_with_linear")},
            "ffn": {k: b["ffn"].get(k) for k in ("ffn_mult", "no_op", "replace_with_linear")},
        }
        for b in configs
    ]


def entry(model_id: str, record: dict[str, Any]) -> dict[str, Any]:
    """One line of the registry."""
    config = dict(record["config"])
    if "block_configs" in config:
        config["block_configs"] = blocks(config["block_configs"])
    parameters = record["total_params"] or record["computed_params"]
    if parameters is None:  # only the stored count is published
        parameters = record["checkpoint_params"] - record.get("computed_mtp_params", 0)
    line: dict[str, Any] = {"id": model_id, "parameters": parameters, "source": record["source"]}
    stored = record.get("checkpoint_params") or parameters + record.get("computed_mtp_params", 0)
    if stored != parameters:
        line["checkpointParameters"] = stored
    if record.get("computed_vision_params"):
        line["visionParameters"] = record["computed_vision_params"]
    if not str((config.get("architectures") or [""])[0]).endswith(("BertModel", "RobertaModel", "MistralModel")):
        config.pop("architectures", None)  # only a class without a head matters
    return line | {"config": compact(config)}


def main(source: Path) -> None:
    """Writes the registry, sorted by id."""
    records = json.loads(source.read_text(encoding="utf-8"))
    lines = [entry(model_id, record) for model_id, record in records.items()]
    for model_id, (base, quantization) in derived().items():
        if model_id in records:
            continue
        assert base in records, base
        line = {"id": model_id, "sameAs": base, "source": f"model card of {model_id}, which names its base"}
        lines.append(line | PADDED.get(model_id, {}) | ({"quantization_config": quantization} if quantization else {}))
    lines.sort(key=lambda line: str(line["id"]).casefold())
    rows = ",\n".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) for line in lines)
    about = (
        "Hugging Face config.json fields that decide sizes, and published parameter counts. Each entry names the "
        "public repository and the commit that it was read from."
    )
    REGISTRY.write_text(f'{{"about":{json.dumps(about)},"models":[\n{rows}\n]}}\n', encoding="utf-8")
    print(f"{len(lines)} models, {REGISTRY.stat().st_size:,} bytes: {REGISTRY}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
