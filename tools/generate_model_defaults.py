"""Writes gpufleet/planner/models/defaults.json: what a nested config means where it says nothing.

    python tools/generate_model_defaults.py

A multimodal model's config.json leaves out of its `text_config`, `vision_config` and `audio_config` whatever is the
default of their classes in Hugging Face transformers, which must be installed. Only the fields that decide sizes are
kept: facts about published models, not code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DEFAULTS = Path(__file__).resolve().parent.parent / "gpufleet/planner/models/defaults.json"
FIELDS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
    "vocab_size", "max_position_embeddings", "sliding_window", "sliding_window_pattern",
    "num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size",
    "n_shared_experts", "attention_bias", "qkv_bias", "patch_size", "image_size", "num_channels", "in_channels",
    "in_chans", "embed_dim", "depth", "mlp_ratio", "num_heads", "out_hidden_size", "spatial_merge_size",
    "temporal_patch_size", "num_position_embeddings", "vision_use_head", "use_qk_norm", "use_absolute_position_embeddings",
    "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins", "max_source_positions",
    "output_dim", "num_global_layers", "vision_output_dim", "max_num_tiles", "downsample_hidden_size", "n_embd",
    "hidden_dim", "num_layers", "projector_input_dim", "projector_output_dim", "deepstack_visual_indexes",
    "hidden_size_per_layer_input", "vocab_size_per_layer_input", "num_kv_shared_layers", "altup_num_inputs",
    "laurel_rank", "position_embedding_size", "norm_type", "cross_attention_frequency", "encoder_hidden_size",
)  # fmt: skip
NESTED = ("text_config", "vision_config", "audio_config", "qformer_config", "encoder_config", "projector_config")


def sizes(config: Any) -> dict[str, Any]:
    """The defaults of a config class that decide sizes."""
    found = {}
    for name, value in config.to_dict().items():
        if name in FIELDS and isinstance(value, bool | int | float | str | list) and value != []:
            found[name] = value[0] if name in ("image_size", "patch_size") and isinstance(value, list) else value
    return found


def main() -> None:
    """Writes every class that another one nests, and what each parent nests."""
    import transformers
    from transformers import CONFIG_MAPPING

    parents: dict[str, dict[str, str]] = {}
    classes: dict[str, dict[str, Any]] = {}
    for name in CONFIG_MAPPING:
        try:
            parent = CONFIG_MAPPING[name]()
        except Exception as error:  # a class without usable defaults has nothing to say
            print(f"  {name}: {type(error).__name__}")
            continue
        nested = {key: getattr(parent, key, None) for key in NESTED}
        for key, config in nested.items():
            if isinstance(config, transformers.PreTrainedConfig) and config.model_type:
                parents.setdefault(name, {})[key] = config.model_type
                classes.setdefault(config.model_type, sizes(type(config)()))
    document = {
        "about": "Defaults of nested configs in Hugging Face transformers, as far as they decide sizes.",
        "transformers": transformers.__version__,
        "nested": dict(sorted(parents.items())),
        "defaults": dict(sorted(classes.items())),
    }
    rows = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    rows = rows.replace("},", "},\n")
    DEFAULTS.write_text(rows + "\n", encoding="utf-8")
    print(f"{len(classes)} classes of {len(parents)} parents, {DEFAULTS.stat().st_size:,} bytes: {DEFAULTS}")


if __name__ == "__main__":
    main()
