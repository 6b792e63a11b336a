"""Weights per GPU: against published logs, by format, by method, by stage of a pipeline."""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.measured import SAME_SIZES, SHARED
from gpufleet.planner.architecture import Architecture, from_config, resolve_architecture
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.models import known_ids, known_model
from gpufleet.planner.precision import PRECISIONS
from gpufleet.planner.stages import layers_by_stage, pipeline_stages
from gpufleet.planner.weights import checkpoint_bytes, valid_tensor_parallelism, weights_bytes_per_gpu

GIB = 1024**3
LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}  # fmt: skip
LINEAR = 6_979_321_856
"""Parameters of its layers' projections; the rest of the 8,030,261,248 stays in 16 bits."""
_METHODS = (
    ("awq", "awq"), ("gptq)", "gptq"), ("gptq int", "gptq"), ("bitsandbytes", "bitsandbytes"),
    ("compressed", "compressedTensors"), ("w4a16", "compressedTensors"),
)  # fmt: skip
_PRECISIONS = (("mxfp4", "mxfp4"), ("fp8", "fp8"), ("int8", "int8"), ("int4", "int4"), ("4-bit", "int4"))
# Converted from Q4_0, whose groups are of 32; its config.json says so.
_GROUPS = {"gaunernst/gemma-3-27b-it-int4-awq": 32}


def model(model_id: str, **stored: str) -> Architecture:
    return resolve_architecture(model_id=model_id, parameters=None, config=None, **stored)


def own(**changes: Any) -> Architecture:
    return from_config("acme/own", LLAMA | changes)


def gib(architecture: Architecture, precision: str, degree: int = 1, version: tuple[int, ...] = (0, 19)) -> float:
    return weights_bytes_per_gpu(architecture, precision, degree, version) / GIB


class Logged(NamedTuple):
    """The weights that a log has, and those that the planner computes for it."""

    model: str
    logged_gib: float
    found_gib: float

    @property
    def error(self) -> float:
        return abs(self.found_gib / self.logged_gib - 1)


def _logged(row: dict[str, str]) -> Logged | None:
    model_id, said = SAME_SIZES.get(row["model_id"], row["model_id"]), row["quantization"].casefold()
    if row["engine"] != "vLLM" or not row["weights_gib_per_gpu"] or known_model(model_id) is None:
        return None
    dtypes = {"float16": "fp16", "float32": "fp32"}
    precision = next((n for mark, n in _PRECISIONS if mark in said), dtypes.get(row["weight_dtype"], "bf16"))
    method = next((name for mark, name in _METHODS if mark in said), None)
    stored: dict[str, str] = {"precision": precision} | ({"quantization": method} if method else {})
    found = model(model_id, **stored)
    if group := _GROUPS.get(row["model_id"]):
        found = found._replace(quantization_group=group)
    stage = pipeline_stages(found, int(row["pp"] or 1))[0]
    version = (0, 7) if "V0" in row["engine_version"] + row["notes"] or not row["engine_version"] else (0, 19)
    return Logged(
        f"{model_id} {precision}",
        float(row["weights_gib_per_gpu"]),
        gib(stage, precision, int(row["tp"] or 1), version),
    )


class TestAgainstLogs:
    def test_all_rows_whose_model_is_known(self) -> None:
        with SHARED.open(encoding="utf-8", newline="") as file:
            rows = [found for row in csv.DictReader(file) if (found := _logged(row)) is not None]
        assert len(rows) >= 75
        by_model = defaultdict(list)
        for row in rows:
            by_model[row.model].append(row.error)
        assert statistics.median(statistics.median(errors) for errors in by_model.values()) <= 0.002
        assert sum(row.error <= 0.01 for row in rows) / len(rows) >= 0.95
        assert sum(row.error <= 0.03 for row in rows) / len(rows) == 1

    @pytest.mark.parametrize(("stages", "logged"), [(2, (7.51, 7.51)), (4, (4.26, 3.28, 4.26))])
    def test_stages_of_an_8b(self, stages: int, logged: tuple[float, ...]) -> None:
        found = pipeline_stages(model("meta-llama/Llama-3.1-8B"), stages)
        assert tuple(round(gib(stage, "bf16"), 2) for stage in found) == logged

    @pytest.mark.parametrize(("version", "logged"), [((0, 14), 13.47), ((0, 19), 13.64)])
    def test_padding_of_mxfp4_experts_grew(self, version: tuple[int, ...], logged: float) -> None:
        assert gib(model("openai/gpt-oss-20b"), "mxfp4", 1, version) == pytest.approx(logged, rel=0.003)

    def test_nested_scales_of_bitsandbytes_are_undone_from_0_9_2_on(self) -> None:
        """Phi-4, logged with adapters of 0.12 GiB: 8.63 GiB."""
        phi = model("microsoft/phi-4", precision="int4", quantization="bitsandbytes")
        old, new = (gib(phi, "int4", 1, version) for version in ((0, 9, 1), (0, 9, 2)))
        assert old == pytest.approx(8.63 - 0.12, rel=0.005)
        assert new - old == pytest.approx(13.63e9 * (4 - 1 - 4 / 256) / 64 / GIB, rel=0.02)


class TestFormats:
    @pytest.mark.parametrize(
        ("quantization", "bytes_per_parameter"),
        [
            ({"quant_method": "fp8"}, 1 + 4 / 128**2),
            ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 1 + 4 / 128**2),
            ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, 0.5 + 2 / 128),
            ({"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False}, 0.5 + 2.5 / 32),
            ({"quant_method": "gptq", "bits": 4, "group_size": -1}, 0.5 + 2 / 128),
            ({"quant_method": "gptq", "bits": 8, "group_size": 128}, 1 + 2 / 128),
            ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, 0.5 + 2.5 / 128),
            ({"quant_method": "awq", "w_bit": 4, "group_size": 64}, 0.5 + 2.5 / 64),
            ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}, 0.5 + 2 / 128),
            ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 0.5 + 4 / 64),
            ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 1.0),
            ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 0.5 + 1 / 16),
            ({"quant_method": "modelopt", "quant_algo": "FP8"}, 1 + 4 / 128**2),
            ({"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"}, 0.5 + 1 / 32),
            (
                {"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig"}}},
                1 + 4 / 128**2,
            ),
            ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, 1 + 4 / 128**2),
        ],
    )
    def test_what_is_quantised_and_what_its_scales_cost(
        self, quantization: dict[str, Any], bytes_per_parameter: float
    ) -> None:
        found = own(quantization_config=quantization)
        assert found.checkpoint_format is not None
        expected = LINEAR * bytes_per_parameter + (found.parameters - LINEAR) * 2
        assert checkpoint_bytes(found) == pytest.approx(expected, rel=1e-4)

    def test_whole_types(self) -> None:
        sizes = {name: gib(own(), name) for name in ("fp32", "bf16", "fp16")}
        assert sizes["bf16"] == sizes["fp16"] == pytest.approx(14.96, abs=0.01)
        assert sizes["fp32"] == pytest.approx(2 * sizes["bf16"], rel=0.001)


class TestWhatACheckpointStoresOtherwise:
    ATTENTION = 32 * (4096 * 4096 * 2 + 2 * 4096 * 1024)

    def saved(self, quantization: dict[str, Any]) -> int:
        """Parameters that take two bytes instead of one."""
        plain = checkpoint_bytes(own(quantization_config={"quant_method": "fp8"}))
        return round(checkpoint_bytes(own(quantization_config={"quant_method": "fp8"} | quantization)) - plain)

    @pytest.mark.parametrize(
        ("quantization", "share"),
        [
            ({"ignore": ["lm_head"]}, 0.0),
            ({"modules_to_not_convert": ["re:.*self_attn.*"]}, 1.0),
            ({"ignored_layers": ["model.layers.0.self_attn.q_proj", "model.layers.31.self_attn.o_proj"]}, 2 / 32),
            ({"exclude_modules": [r"re:.*layers\.(0|1|2|3)\..*attn.*"]}, 4 / 32),
            ({"ignore": ["model.layers.7.mlp.gate", "model.vision_tower.blocks.0.attn"]}, 0.0),
        ],
    )
    def test_parts_and_layers_left_in_16_bits(self, quantization: dict[str, Any], share: float) -> None:
        assert self.saved(quantization) == pytest.approx(share * self.ATTENTION, rel=1e-3, abs=1e5)

    def test_a_whole_layer(self) -> None:
        assert self.saved({"ignore": ["model.layers.3"]}) == pytest.approx(LINEAR / 32, rel=1e-3)

    def test_layers_in_another_format(self) -> None:
        plain = {"quant_method": "auto-round", "bits": 4, "group_size": 128}
        mixed = plain | {"extra_config": {f"model.layers.{i}.mlp.down_proj": {"bits": 8} for i in range(4)}}
        more = checkpoint_bytes(own(quantization_config=mixed)) - checkpoint_bytes(own(quantization_config=plain))
        assert more == pytest.approx(4 * 3 * 4096 * 14336 * 0.5, rel=1e-3)

    def test_gptqmodel_leaves_modules_alone(self) -> None:
        plain = {"quant_method": "gptq", "bits": 4, "group_size": 128}
        dynamic = plain | {"dynamic": {"-:.*attn.*": {}}}
        more = checkpoint_bytes(own(quantization_config=dynamic)) - checkpoint_bytes(own(quantization_config=plain))
        assert more == pytest.approx(self.ATTENTION * (1.5 - 2 / 128), rel=1e-3)


class TestMethodOfTheDocument:
    @pytest.mark.parametrize(
        ("stored", "expected"),
        [
            ({"quantization": "awq"}, ("int4", "awq", 128, True)),
            ({"quantization": "gptq", "precision": "int8"}, ("int8", "gptq", 128, False)),
            ({"quantization": "bitsandbytes", "precision": "int4"}, ("int4", "bitsandbytes", 0, False)),
            ({"quantization": "compressedTensors", "precision": "int8"}, ("int8", "compressed-tensors", 0, False)),
            ({"quantization": "autoRound", "precision": "int4"}, ("int4", "auto-round", 128, False)),
            ({"precision": "nvfp4"}, ("nvfp4", "compressed-tensors", 0, False)),
            ({"precision": "mxfp4"}, ("mxfp4", "mxfp4", 0, False)),
        ],
    )
    def test_a_publication_is_assumed_and_said(self, stored: dict[str, str], expected: tuple[Any, ...]) -> None:
        found = model("Qwen/Qwen2.5-7B-Instruct", **stored)
        assert (
            found.checkpoint_format, found.quantization_method, found.quantization_group, found.has_zero_points
        ) == expected  # fmt: skip
        assert "taken as published" in found.storage_notes[-1]

    @pytest.mark.parametrize(("precision", "made"), [("int4", "NF4"), ("fp8", "fp8")])
    def test_what_a_server_makes_at_load_is_said(self, precision: str, made: str) -> None:
        found = model("Qwen/Qwen2.5-7B-Instruct", precision=precision)
        assert found.checkpoint_format == "bf16"
        assert made in found.storage_notes[-1]

    def test_a_checkpoint_that_says_it_is_taken_at_its_word(self) -> None:
        found = model("Qwen/Qwen2.5-7B-Instruct-AWQ", precision="int4", quantization="awq")
        assert found == model("Qwen/Qwen2.5-7B-Instruct-AWQ")

    @pytest.mark.parametrize(
        ("model_id", "stored", "said"),
        [
            ("Qwen/Qwen2.5-7B-Instruct", {"quantization": "awq", "precision": "int8"}, "makes no int8"),
            ("Qwen/Qwen2.5-7B-Instruct-AWQ", {"quantization": "gptq"}, "contradicts the checkpoint"),
        ],
    )
    def test_what_contradicts_is_refused(self, model_id: str, stored: dict[str, str], said: str) -> None:
        problem = _refusal(model_id, stored)
        assert problem.path == "model.quantization"
        assert said in problem.message


def _refusal(model_id: str, stored: dict[str, str]) -> Problem:
    with pytest.raises(RequirementError) as caught:
        model(model_id, **stored)
    return caught.value.problems[0]


class TestStages:
    @pytest.mark.parametrize(
        ("layers", "stages", "expected"),
        [
            (32, 4, [8] * 4),
            (32, 3, [11, 11, 10]),
            (30, 4, [7, 8, 8, 7]),
            (61, 8, [7, 7, 8, 8, 8, 8, 8, 7]),
            (5, 2, [3, 2]),
        ],
    )
    def test_layers_are_dealt_as_vllm_does(self, layers: int, stages: int, expected: list[int]) -> None:
        assert layers_by_stage(layers, stages) == expected

    def test_a_stage_has_what_lies_in_its_layers(self) -> None:
        first, last = pipeline_stages(model("google/gemma-3-27b-it"), 2)
        assert first.parameters_of("vision") == last.parameters_of("vision") > 0
        assert [g.layers for g in first.cache] == [26, 5]
        assert (first.vocab_size, last.vocab_size) == (0, 262_208)

    def test_dense_layers_lie_in_the_first(self) -> None:
        first, *_, last = pipeline_stages(model("deepseek-ai/DeepSeek-V3"), 4)
        assert first.parameters_of("mlp") > 0
        assert last.parameters_of("mlp") == 0

    @settings(max_examples=200)
    @given(st.sampled_from(known_ids()), st.integers(1, 16))
    def test_all_of_the_model_lies_in_some_stage(self, model_id: str, stages: int) -> None:
        whole = model(model_id)
        stages = min(stages, max(whole.num_hidden_layers, 1))
        counts = layers_by_stage(whole.num_hidden_layers, stages)
        assert sum(counts) == whole.num_hidden_layers
        assert max(counts) - min(counts) <= 1
        found = pipeline_stages(whole, stages)
        assert len(found) <= stages
        assert sum(stage.parameters for stage in found) <= stages * whole.parameters
        assert max(stage.parameters for stage in found) >= whole.parameters / stages
        assert max(gib(stage, "bf16") for stage in found) <= gib(whole, "bf16") * 1.001 + 1e-9


class TestDegrees:
    @pytest.mark.parametrize(
        ("model_id", "degrees"),
        [
            ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", (1, 2, 4, 8)),  # whose MLP is padded to 128 × 232
            ("Qwen/Qwen3-30B-A3B-FP8", (1, 2)),  # experts of 768 in blocks of 128
            ("openai/gpt-oss-20b", (1, 2, 4, 8)),  # padded, whatever the width
            ("deepseek-ai/DeepSeek-V3", (1, 2, 4, 8)),
        ],
    )
    def test_groups_and_experts_divide(self, model_id: str, degrees: tuple[int, ...]) -> None:
        assert valid_tensor_parallelism(model(model_id), 8) == degrees


@settings(max_examples=300)
@given(st.sampled_from(known_ids()), st.sampled_from(sorted(PRECISIONS)), st.sampled_from((1, 2, 4, 8)))
def test_a_quantised_model_is_smaller(model_id: str, precision: str, degree: int) -> None:
    found = model(model_id)
    sizes = {name: gib(found, name, degree) for name in ("fp32", "bf16", precision)}
    assert 0 < sizes[precision] <= sizes["fp32"]
    if PRECISIONS[precision].is_quantized:
        assert sizes[precision] <= sizes["bf16"] * 1.001
