"""Files of a model that are cut off, changed, or lie about their sizes: a size, or an error at the key that names them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from gpufleet.planner.models import known_ids, known_model
from stacks.config import STACKS_DIRECTORY
from tests.hostile.cases import TEXTS, Outcome, changed, counted, damaged, gpufleet
from tests.stacks.weight_files import CONFIG, gguf_bytes, llama_tensors, quantized_tensors, write_checkpoint

CONFIGS = [
    *(
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((STACKS_DIRECTORY / "architectures").glob("*.json"))
    ),
    *(json.loads(json.dumps(dict(known.config))) for name in known_ids() if (known := known_model(name))),
]
GGUF = gguf_bytes(tokens=20)
JSON_PIECES = (
    b"{", b"}", b"[", b"]", b'"', b"null", b"NaN", b"-Infinity", b"1e999", b"-1", b"9" * 400, b"9" * 5000, b"true", b"[" * 5000, b"\\ud800",
    b'"\\ud800"', b"\x00", b"\xff\xfe", b",", b'"quantization_config": {"bits": "x"},', b'"layer_types": [1],',
)  # fmt: skip
HUGE = tuple(struct.pack("<Q", n) for n in (0, 1, 7, 1 << 31, 1 << 40, (1 << 40) + 1, 1 << 63, (1 << 64) - 1)) + tuple(
    struct.pack("<I", n) for n in (0, 9, 8, 99, 1 << 31)
)
"""Counts and lengths that no file can hold."""


def size_of(directory: Path, named: str, *, gpu: str = "H100") -> Outcome:
    """The size of a model that this file describes, held to what may come of it."""
    asked = directory / "asked.json"
    asked.write_text(json.dumps({"model": {"id": "acme/own", "architecture": named}}), encoding="utf-8")
    found = gpufleet("size", "-f", str(asked), "--gpu", gpu, "--format", "json")
    answer = json.loads(found.stdout, parse_constant=pytest.fail)
    if found.is_answer:
        assert 0 < answer["model"]["parameters"] <= 10**14
    else:
        assert answer["error"]["path"].startswith("model.")
    return found


@counted(700)
def test_a_config_with_other_bytes(tmp_path: Path, case: Random) -> None:
    raw = json.dumps(case.choice(CONFIGS)).encode()
    (tmp_path / "config.json").write_bytes(damaged(raw, case, pieces=JSON_PIECES))
    size_of(tmp_path, "config.json")


@counted(1000)
def test_a_config_with_other_values(tmp_path: Path, case: Random) -> None:
    (tmp_path / "config.json").write_text(json.dumps(changed(case.choice(CONFIGS), case)), encoding="utf-8")
    size_of(tmp_path, "config.json")


@counted(1000)
def test_a_gguf_file_with_other_bytes(tmp_path: Path, case: Random) -> None:
    (tmp_path / "model.gguf").write_bytes(damaged(GGUF, case, pieces=HUGE))
    size_of(tmp_path, "model.gguf")


LISTS = (
    "llama.attention.head_count", "llama.attention.head_count_kv", "llama.attention.sliding_window", "llama.block_count",
    "llama.expert_count", "llama.rope.dimension_count", "llama.attention.kv_lora_rank", "llama.vocab_size",
    "tokenizer.ggml.tokens", "general.architecture", "llama.feed_forward_length",
)  # fmt: skip


@counted(300)
def test_a_gguf_file_that_says_something_else(tmp_path: Path, case: Random) -> None:
    """Other values under the known names: a text for a number, a list for a number, sizes that contradict."""
    values = ("", "llama", "deepseek2", "bert", "x" * 300, [], ["a"], ["a"] * 4, 0, 1, 3, 7, 2**31, 2**32 - 1)
    changes = {case.choice(LISTS): case.choice(values) for _ in range(case.randint(1, 3))}
    (tmp_path / "model.gguf").write_bytes(gguf_bytes(tokens=20, **changes))
    size_of(tmp_path, "model.gguf")


@counted(700)
def test_a_safetensors_header_with_other_bytes(tmp_path: Path, case: Random) -> None:
    method = case.choice(("", "gptq", "awq", "compressed-tensors", "fp8", "bitsandbytes"))
    quantized = {"quantization_config": {"quant_method": method, "bits": 4, "load_in_4bit": True}} if method else {}
    write_checkpoint(tmp_path, quantized_tensors(method) if method else llama_tensors(), **quantized)
    file = tmp_path / case.choice(("model.safetensors", "model.safetensors", "config.json"))
    file.write_bytes(damaged(file.read_bytes(), case, pieces=(*HUGE, *JSON_PIECES)))
    size_of(tmp_path, case.choice((".", "model.safetensors")))


@counted(400)
def test_a_safetensors_header_with_other_values(tmp_path: Path, case: Random) -> None:
    write_checkpoint(tmp_path, llama_tensors())
    file = tmp_path / "model.safetensors"
    header = json.dumps(changed(json.loads(file.read_bytes()[8:]), case)).encode()
    length = case.choice((len(header),) * 6 + (0, len(header) - 1, len(header) + 1, 1 << 40, (1 << 64) - 1))
    file.write_bytes(struct.pack("<Q", length) + header)
    size_of(tmp_path, ".")


@counted(200)
def test_an_index_with_other_values(tmp_path: Path, case: Random) -> None:
    write_checkpoint(tmp_path, llama_tensors())
    index = {
        "metadata": {"total_size": 1},
        "weight_map": {name: "model.safetensors" for name in list(llama_tensors())[:6]},
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(changed(index, case)), encoding="utf-8")
    size_of(tmp_path, case.choice((".", "model.safetensors.index.json")))


def _sparse(path: Path, start: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)


LIES: dict[str, Callable[[Path], None]] = {
    "a header as long as the file": lambda at: _sparse(at / "model.safetensors", struct.pack("<Q", 1 << 35), (1 << 35) + 8),
    "a header at the limit": lambda at: _sparse(at / "model.safetensors", struct.pack("<Q", 100 << 20), 1 << 30),
    "a config without an end": lambda at: _sparse(at / "config.json", b"{", 1 << 36),
    "a file that is a directory": lambda at: ((at / "model.safetensors").unlink(), (at / "model.safetensors").mkdir())[0],  # type: ignore[func-returns-value]
    "a config that is a loop": lambda at: ((at / "config.json").unlink(), (at / "config.json").symlink_to("config.json"))[0],  # type: ignore[func-returns-value]
    "a device": lambda at: ((at / "model.safetensors").unlink(), (at / "model.safetensors").symlink_to("/dev/zero"))[0],  # type: ignore[func-returns-value]
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_about_its_size(lie: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, llama_tensors())
    LIES[lie](tmp_path)
    assert size_of(tmp_path, ".").status == 1


@pytest.mark.parametrize(
    "named", ["/dev/zero", "/dev/null", "/proc/self/mem", "..", "a\0b", "", "x" * 5000, *TEXTS[:20]]
)
def test_a_path_that_names_no_model(named: str, tmp_path: Path) -> None:
    assert size_of(tmp_path, named).status == 1


def test_a_gguf_file_in_very_many_parts(tmp_path: Path) -> None:
    (tmp_path / "m-00001-of-99999.gguf").write_bytes(GGUF)
    assert "is one of 99999 files" in size_of(tmp_path, "m-00001-of-99999.gguf").stdout


def test_the_files_are_right_before_they_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(GGUF)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    write_checkpoint(tmp_path / "safe", llama_tensors())
    assert all(
        size_of(tmp_path, named).is_answer for named in ("model.gguf", "config.json", "safe", "safe/model.safetensors")
    )
