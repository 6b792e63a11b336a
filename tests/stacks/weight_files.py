"""Writes small weight files for tests: headers as publishers write them, and no weights behind them."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "intermediate_size": 1536, "vocab_size": 32_768, "max_position_embeddings": 4096,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
PARAMETERS = 2 * 32_768 * 512 + 4 * (2 * 512 * 512 + 2 * 512 * 128 + 3 * 512 * 1536 + 2 * 512) + 512
_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "U8": 1, "F8_E4M3": 1, "I64": 8}
PROJECTIONS = {
    "self_attn.q_proj": (512, 512), "self_attn.k_proj": (128, 512), "self_attn.v_proj": (128, 512),
    "self_attn.o_proj": (512, 512), "mlp.gate_proj": (1536, 512), "mlp.up_proj": (1536, 512), "mlp.down_proj": (512, 1536),
}  # fmt: skip
Shapes = dict[str, tuple[str, tuple[int, ...]]]


def llama_tensors() -> Shapes:
    """The tensors of CONFIG's model in bf16."""
    tensors: Shapes = {"model.embed_tokens.weight": ("BF16", (32_768, 512)), "lm_head.weight": ("BF16", (32_768, 512))}
    tensors["model.norm.weight"] = ("BF16", (512,))
    for layer in range(4):
        for name, shape in PROJECTIONS.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = ("BF16", shape)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = ("BF16", (512,))
    return tensors


def quantized_tensors(method: str) -> Shapes:
    """The same with projections as a method stores them: [out, in] weights in groups of 128 inputs."""
    tensors = {n: t for n, t in llama_tensors().items() if not any(name in n for name in PROJECTIONS)}
    for layer in range(4):
        for name, (rows, columns) in PROJECTIONS.items():
            base, groups = f"model.layers.{layer}.{name}", columns // 128
            tensors |= {
                "gptq": {
                    f"{base}.qweight": ("I32", (columns // 8, rows)),
                    f"{base}.scales": ("F16", (groups, rows)),
                    f"{base}.qzeros": ("I32", (groups, rows // 8)),
                    f"{base}.g_idx": ("I32", (columns,)),
                },
                "awq": {
                    f"{base}.qweight": ("I32", (columns, rows // 8)),
                    f"{base}.scales": ("F16", (groups, rows)),
                    f"{base}.qzeros": ("I32", (groups, rows // 8)),
                },
                "compressed-tensors": {
                    f"{base}.weight_packed": ("I32", (rows, columns // 8)),
                    f"{base}.weight_scale": ("BF16", (rows, groups)),
                    f"{base}.weight_shape": ("I64", (2,)),
                },
                "fp8": {
                    f"{base}.weight": ("F8_E4M3", (rows, columns)),
                    f"{base}.weight_scale_inv": ("F32", (-(-rows // 128), groups)),
                },
                "bitsandbytes": {
                    f"{base}.weight": ("U8", (rows * columns // 2, 1)),
                    f"{base}.weight.absmax": ("U8", (rows * columns // 64,)),
                    f"{base}.weight.nested_absmax": ("F32", (rows * columns // 64 // 256,)),
                    f"{base}.weight.quant_map": ("F32", (16,)),
                },
            }[method]  # type: ignore[operator]
    return tensors  # fmt: skip


def write_safetensors(path: Path, tensors: Shapes) -> None:
    """A file with this header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (kind, shape) in tensors.items():
        size = math.prod(shape) * _BYTES[kind]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)


def write_checkpoint(directory: Path, tensors: Shapes, **changes: Any) -> Path:
    """A directory with a config.json and one file."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG | changes), encoding="utf-8")
    write_safetensors(directory / "model.safetensors", tensors)
    return directory


def gguf_bytes(*, kind: int = 12, layers: int = 4, tokens: int = 32_768, **changes: Any) -> bytes:
    """CONFIG's model as a GGUF file, its projections in one of GGUF's types (12: Q4_K), norms in F32."""
    metadata: dict[str, Any] = {
        "general.architecture": "llama", "llama.block_count": 4, "llama.embedding_length": 512,
        "llama.feed_forward_length": 1536, "llama.attention.head_count": 8, "llama.attention.head_count_kv": 2,
        "llama.context_length": 4096, "llama.rope.dimension_count": 64,
        "tokenizer.ggml.tokens": [f"token{i}" for i in range(tokens)],
    }  # fmt: skip
    metadata |= {name.replace("__", "."): value for name, value in changes.items()}
    names = {
        "attn_q": (512, 512), "attn_k": (512, 128), "attn_v": (512, 128), "attn_output": (512, 512),
        "ffn_gate": (512, 1536), "ffn_up": (512, 1536), "ffn_down": (1536, 512),
    }  # fmt: skip
    tensors = [("token_embd.weight", (512, 32_768), kind), ("output.weight", (512, 32_768), 14)]
    tensors.append(("output_norm.weight", (512,), 0))
    for layer in range(layers):
        tensors += [(f"blk.{layer}.{name}.weight", shape, kind) for name, shape in names.items()]
        tensors += [(f"blk.{layer}.{name}.weight", (512,), 0) for name in ("attn_norm", "ffn_norm")]
    held = b"".join(_text(name) + _value(value) for name, value in metadata.items())
    for name, shape, number in tensors:
        sizes = struct.pack(f"<{len(shape)}Q", *shape)
        held += _text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", number, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + held


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(text) for text in value)
    return struct.pack("<II", 4, value)
