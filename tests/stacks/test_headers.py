"""Weight files named as model.architecture: read by their headers, sized exactly, refused when damaged."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weight_files import (
    CONFIG,
    PARAMETERS,
    gguf_bytes,
    llama_tensors,
    quantized_tensors,
    write_checkpoint,
    write_safetensors,
)

from gpufleet.cli import main
from gpufleet.planner.architecture import Architecture, from_config
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.stages import pipeline_stages
from gpufleet.planner.weights import checkpoint_bytes, weights_bytes_per_gpu
from stacks.config import with_files


def read(directory: Path, named: str) -> Architecture:
    """The architecture of a document that names this path."""
    document = with_files({"model": {"architecture": named}}, directory)
    return from_config("acme/own", document["model"]["architecture"])


def refusal(directory: Path, named: str) -> Problem:
    with pytest.raises(RequirementError) as caught:
        read(directory, named)
    return caught.value.problems[0]


class TestSafetensors:
    def test_a_plain_checkpoint_is_what_its_config_says(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, llama_tensors())
        described = from_config("acme/own", CONFIG)
        for named in ("model.safetensors", "."):
            found = read(tmp_path, named)
            assert found.parameters == described.parameters == PARAMETERS
            assert found.checkpoint_format == "bf16"
            assert checkpoint_bytes(found) == 2 * PARAMETERS
            for degree in (1, 2, 4):
                held, expected = (weights_bytes_per_gpu(a, "bf16", degree) for a in (found, described))
                assert held == pytest.approx(expected, rel=0.001)

    def test_stages_hold_what_lies_in_their_layers(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, llama_tensors())
        found, described = read(tmp_path, "."), from_config("acme/own", CONFIG)
        for held, expected in zip(pipeline_stages(found, 4), pipeline_stages(described, 4), strict=True):
            assert held.parameters == expected.parameters

    @pytest.mark.parametrize(
        ("method", "quantization", "bytes_per_weight"),
        [
            ("gptq", {"bits": 4, "group_size": 128, "sym": True}, 0.5 + 2 / 128),
            ("awq", {"bits": 4, "group_size": 128, "zero_point": True}, 0.5 + 2.5 / 128),
            ("compressed-tensors", {"format": "pack-quantized", "bits": 4}, 0.5 + 2 / 128),
            ("fp8", {"weight_block_size": [128, 128]}, 1 + 4 / 128**2),
            ("bitsandbytes", {"load_in_4bit": True}, 0.5 + 4 / 64),
        ],
    )
    def test_packed_weights_are_counted_by_what_they_stand_for(
        self, tmp_path: Path, method: str, quantization: dict[str, Any], bytes_per_weight: float
    ) -> None:
        config = {"quantization_config": {"quant_method": method} | quantization}
        write_checkpoint(tmp_path, quantized_tensors(method), **config)
        found = read(tmp_path, ".")
        assert found.parameters == PARAMETERS
        assert found.checkpoint_format == ("fp8" if method == "fp8" else "int4")
        linear = PARAMETERS - 2 * 32_768 * 512 - 4 * 2 * 512 - 512
        expected = linear * bytes_per_weight + 2 * (PARAMETERS - linear)
        held = weights_bytes_per_gpu(found, found.checkpoint_format, 1) - found.rope_values * 2
        assert held == pytest.approx(expected, rel=0.002)

    def test_shards_of_an_index(self, tmp_path: Path) -> None:
        tensors = llama_tensors()
        write_checkpoint(tmp_path, {})
        (tmp_path / "model.safetensors").unlink()
        shards = {name: f"model-0000{1 + ('layers.0' in name)}-of-00002.safetensors" for name in tensors}
        for shard in set(shards.values()):
            write_safetensors(tmp_path / shard, {n: t for n, t in tensors.items() if shards[n] == shard})
        index = tmp_path / "model.safetensors.index.json"
        index.write_text(json.dumps({"metadata": {}, "weight_map": shards}))
        assert read(tmp_path, ".").parameters == read(tmp_path, index.name).parameters == PARAMETERS
        (tmp_path / "model-00002-of-00002.safetensors").unlink()
        assert "model-00002-of-00002.safetensors is missing" in refusal(tmp_path, ".").message
        index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
        assert "not beside it" in refusal(tmp_path, ".").message

    def test_a_tied_head_that_is_stored_is_not_loaded(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, llama_tensors(), tie_word_embeddings=True)
        found = read(tmp_path, ".")
        assert found.parameters == PARAMETERS - 32_768 * 512
        assert found.checkpoint_parameters == PARAMETERS

    def test_a_directory_with_a_config_alone(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps(CONFIG))
        assert read(tmp_path, ".").parameters == PARAMETERS

    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            (b"", "first 8 bytes"),
            (b"\x00" * 8, "a header of 0 bytes"),
            (struct.pack("<Q", 1 << 60) + b"{}", "a header of 1,152,921,504,606,846,976 bytes"),
            (struct.pack("<Q", 50) + b"{}", "a header of 50 bytes"),
            (struct.pack("<Q", 2) + b"[]", "no mapping"),
            (struct.pack("<Q", 4) + b"\xff\xfe{}", "not JSON"),
            (struct.pack("<Q", 200_000) + b"[" * 200_000, "not JSON"),
            (struct.pack("<Q", 9) + b'{"a": {}}', "no type or shape"),
        ],
    )
    def test_damaged_files_are_refused(self, tmp_path: Path, raw: bytes, said: str) -> None:
        write_checkpoint(tmp_path, {})
        (tmp_path / "model.safetensors").write_bytes(raw)
        problem = refusal(tmp_path, "model.safetensors")
        assert problem.path == "model.architecture"
        assert said in problem.message

    @pytest.mark.parametrize(
        ("tensor", "said"),
        [
            (("BF16", (-1, 512)), "has the shape"),
            (("BF16", (1 << 50, 512)), "has the shape"),
            (("BF16", (1,) * 9), "no type or shape"),
            (("Q9", (4, 4)), "a type that is not known"),
        ],
    )
    def test_impossible_tensors_are_refused(
        self, tmp_path: Path, tensor: tuple[str, tuple[int, ...]], said: str
    ) -> None:
        write_checkpoint(tmp_path, {})
        raw = json.dumps({"a.weight": {"dtype": tensor[0], "shape": tensor[1], "data_offsets": [0, 1]}}).encode()
        (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
        assert said in refusal(tmp_path, ".").message

    def test_files_of_another_model_are_refused(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, llama_tensors(), hidden_size=1024)
        assert refusal(tmp_path, ".").path == "model.architecture.hidden_size"
        write_checkpoint(tmp_path, llama_tensors(), num_hidden_layers=5)
        problem = refusal(tmp_path, ".")
        assert problem.path == "model.architecture.num_hidden_layers"
        assert "lack layer 4" in problem.message

    def test_a_missing_config_is_named(self, tmp_path: Path) -> None:
        write_safetensors(tmp_path / "model.safetensors", llama_tensors())
        assert "config.json is missing" in refusal(tmp_path, "model.safetensors").message


class TestGguf:
    def test_every_tensor_counts_in_its_own_type(self, tmp_path: Path) -> None:
        (tmp_path / "model.gguf").write_bytes(gguf_bytes())
        found = read(tmp_path, "model.gguf")
        assert found.parameters == PARAMETERS
        assert (found.num_hidden_layers, found.num_key_value_heads, found.vocab_size) == (4, 2, 32_768)
        assert (found.checkpoint_format, found.quantization_method) == ("int4", "gguf")
        norms = 4 * 2 * 512 + 512
        expected = (PARAMETERS - norms - 32_768 * 512) * 144 / 256 + 32_768 * 512 * 210 / 256 + norms * 2
        held = weights_bytes_per_gpu(found, "int4", 1) - found.rope_values * 2
        assert held == pytest.approx(expected, abs=2**21)  # the allocator's segments
        assert [(g.kind, g.layers, g.kv_heads) for g in found.cache] == [("full", 4, 2)]

    @pytest.mark.parametrize(("kind", "stored"), [(1, None), (8, "int8"), (2, "int4"), (14, "int8"), (10, "int4")])
    def test_the_nearest_format_stands_for_its_types(self, tmp_path: Path, kind: int, stored: str | None) -> None:
        (tmp_path / "model.gguf").write_bytes(gguf_bytes(kind=kind))
        assert read(tmp_path, "model.gguf").checkpoint_format == (stored or "fp16")

    def test_a_split_file_is_read_whole(self, tmp_path: Path) -> None:
        raw = gguf_bytes()
        (tmp_path / "m-00001-of-00002.gguf").write_bytes(raw)
        assert "m-00002-of-00002.gguf is missing" in refusal(tmp_path, "m-00001-of-00002.gguf").message

    @pytest.mark.parametrize(
        ("raw", "said"),
        [
            (b"", "ends within its header"),
            (b"GGML" + b"\x00" * 40, "no GGUF file"),
            (b"GGUF" + struct.pack("<I", 1), "version 1"),
            (b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0), "it counts"),
            (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "it counts"),
            (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62), "it counts"),
            (
                b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 99),
                "of type 99",
            ),
            (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "no architecture"),
        ],
    )
    def test_damaged_files_are_refused(self, tmp_path: Path, raw: bytes, said: str) -> None:
        (tmp_path / "model.gguf").write_bytes(raw)
        problem = refusal(tmp_path, "model.gguf")
        assert problem.path == "model.architecture"
        assert said in problem.message

    def test_a_file_without_a_field_says_which(self, tmp_path: Path) -> None:
        raw = gguf_bytes(tokens=100).replace(b"llama.embedding_length", b"llama.embedding_lengt_")
        (tmp_path / "model.gguf").write_bytes(raw)
        assert refusal(tmp_path, "model.gguf").path == "model.architecture.hidden_size"


RAW = gguf_bytes(tokens=20, layers=4)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_truncated_or_changed_gguf_is_one_clear_error_or_sized(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(RAW)
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 8))):
            raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "model.gguf").write_bytes(raw)
    problem, found = _outcome(tmp_path)
    if problem is not None:
        assert problem.path.startswith("model.architecture")
    if found is not None:
        assert weights_bytes_per_gpu(found, found.checkpoint_format or "bf16", 1) > 0


def _outcome(directory: Path) -> tuple[Problem | None, Architecture | None]:
    try:
        return None, read(directory, "model.gguf")
    except RequirementError as error:
        return error.problems[0], None


class TestCommand:
    def sized(self, directory: Path, named: str) -> Any:
        document = directory / "requirements.json"
        document.write_text(
            json.dumps({"model": {"id": "acme/own", "architecture": named}, "serving": {"maxModelLen": 2048}})
        )
        return CliRunner().invoke(main, ["size", "-f", str(document), "--gpu", "L4", "--format", "json"])

    def test_a_file_is_sized(self, tmp_path: Path) -> None:
        (tmp_path / "model.gguf").write_bytes(gguf_bytes())
        result = self.sized(tmp_path, "model.gguf")
        assert result.exit_code == 0, result.output
        answer = json.loads(result.stdout)
        assert answer["model"]["parameters"] == PARAMETERS
        assert answer["fits"] is True

    def test_a_damaged_file_is_one_message(self, tmp_path: Path) -> None:
        (tmp_path / "model.gguf").write_bytes(gguf_bytes()[:1000])
        result = self.sized(tmp_path, "model.gguf")
        assert result.exit_code == 1
        assert "truncated" in result.output
        assert "Traceback" not in result.output
