"""Writes tests/data/transformers_counts.json: what Hugging Face transformers itself counts of each family.

    python tools/generate_model_counts.py

Builds every family's model on PyTorch's meta device, with the defaults of its class, and counts its parameters; both
libraries must be installed. One line per family: its config, as far as the planner reads it, and the count.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COUNTS = ROOT / "tests/data/transformers_counts.json"
MODELS = ROOT / "gpufleet/planner/models"
HEADS = ("ForConditionalGeneration", "MTModel", "ForCausalLM", "LMHeadModel", "Model")
ENCODERS = "bert roberta xlm-roberta camembert distilbert mpnet modernbert nomic_bert gte eurobert jina_embeddings_v3 deberta-v2"
"""Served without the head of their training."""
FAMILIES = """
llama mistral mixtral qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next gemma gemma2 gemma3_text gemma3n_text gemma4_text
phi phi3 phimoe deepseek_v2 deepseek_v3 deepseek_v32 deepseek_v4 glm glm4 glm4_moe_lite glm_moe_dsa gpt_oss minimax
minimax_m2 olmo olmo2 olmo3 olmoe flex_olmo olmo_hybrid cohere cohere2 cohere2_moe exaone4 exaone_moe apertus arcee
afmoe laguna mimo_v2_flash hyperclovax bitnet lfm2 granite granitemoe granitemoeshared granitemoehybrid bamba
falcon_h1 mamba mamba2 falcon_mamba jamba kimi_linear bailing_hybrid recurrent_gemma jais2 persimmon falcon
starcoder2 stablelm bloom opt gpt2 gpt_bigcode gptj codegen gpt_neox mpt smollm3 seed_oss ernie4_5 ernie4_5_moe
solar_open hy_v3 t5 mt5 umt5 bart mbart plbart blenderbot blenderbot-small marian pegasus m2m_100 whisper bert
roberta xlm-roberta camembert distilbert mpnet modernbert nomic_bert gte eurobert jina_embeddings_v3 deberta-v2
llava llava_next llava_onevision paligemma gemma3 qwen2_vl qwen2_5_vl qwen3_vl qwen3_vl_moe idefics3 smolvlm glm4v
glm_ocr mllama cohere2_vision lfm2_vl paddleocr_vl blip-2 kimi_k25 molmo2 qwen2_audio voxtral glmasr granite_speech
qwen3_asr
"""


def read_names() -> set[str]:
    """Every field that the planner reads: a text in its sources."""
    text = "".join(path.read_text(encoding="utf-8") for path in MODELS.glob("*.py"))
    return set(re.findall(r'"([a-zA-Z_0-9]+)"', text))


def trimmed(config: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """The fields that the planner reads, nested configs alike."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if value is None or name not in names or name in ("architectures", "quantization_config"):
            continue
        is_nested = isinstance(value, dict) and name.endswith("_config") and name != "per_layer_config"
        found[name] = trimmed(value, names) if is_nested else value
    return found


def main() -> None:
    """Writes the counts, in the order of the families."""
    import torch
    import transformers
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto as auto

    names = [name for name in vars(auto) if name.startswith("MODEL_") and name.endswith("MAPPING_NAMES")]
    pairs = [pair for name in names for pair in getattr(auto, name).items()]
    classes: dict[str, str] = {name: auto.MODEL_MAPPING_NAMES[name] for name in ENCODERS.split()}
    for head in HEADS:
        for family, found in pairs:
            single = found if isinstance(found, str) else found[0]
            if single.endswith(head):
                classes.setdefault(family, single)
    known, lines = read_names(), []
    for family in FAMILIES.split():
        config = CONFIG_MAPPING[family]()
        with torch.device("meta"):
            model = getattr(transformers, classes[family])(config)
        model.tie_weights()
        count = sum(parameter.numel() for parameter in model.parameters())
        fields = trimmed(json.loads(json.dumps(config.to_dict(), default=str)), known)
        if isinstance(fields.get("text_config"), dict):  # what the classes make of it, whatever their configs say
            head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
            fields["text_config"]["tie_word_embeddings"] = head is None or head.weight is embedding.weight
        lines.append(
            {
                "model_type": family,
                "class": classes[family],
                "parameters": count,
                "config": fields | {"model_type": family},
            }
        )
        print(f"  {family}: {classes[family]} {count:,}")
    rows = ",\n".join(json.dumps(line, separators=(",", ":")) for line in lines)
    COUNTS.write_text(f'{{"transformers":"{transformers.__version__}","models":[\n{rows}\n]}}\n', encoding="utf-8")
    print(f"{len(lines)} families, {COUNTS.stat().st_size:,} bytes: {COUNTS}")


if __name__ == "__main__":
    main()
