"""A replica on one card, through the public way in: the document, the card it means, the engine's own defaults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.size import SAME_CARD, parse_size_requirements, size_on_cards, size_replica

CATALOG = load_catalog()
QWEN = {"id": "Qwen/Qwen3-8B"}


def sized(**sections):
    return size_replica(parse_size_requirements({"model": QWEN, "gpu": {"name": "L4"}, **sections}), CATALOG)


def problems(**sections):
    with pytest.raises(PlanningError) as caught:
        sized(**sections)
    return {problem.path: problem for problem in caught.value.problems}


def test_the_answer_has_the_plans_names():
    found = sized().to_json_object()
    assert set(found) == {
        "model", "gpu", "tensorParallelism", "pipelineParallelism", "dataParallelism", "server", "memory", "sequences",
        "host", "fits", "reasons", "warnings",
    }  # fmt: skip
    assert set(found["memory"]) == {"perGpu", "kvBytesPerToken", "kvCacheTokens", "fullContexts", "longestContext"}
    assert {"weightsGiB", "activationsGiB", "nonTorchGiB", "kvCacheGiB", "budgetGiB"} <= set(found["memory"]["perGpu"])


def test_it_needs_neither_region_nor_scaling_and_takes_a_whole_document():
    whole = {"region": "us-east-1", "scaling": {"min": 1, "max": 2}, "tags": {"a": "b"}, "network": {}}
    assert sized(**whole) == sized()


def test_an_absent_key_means_what_the_engine_does_by_itself():
    server = sized().server
    assert server.max_model_len == 40960  # the model's own
    assert server.max_num_seqs == 256
    assert server.gpu_memory_utilization == 0.9
    large = sized(gpu={"name": "H100"}).server
    assert (large.max_num_seqs, large.max_num_batched_tokens) == (1024, 8192)
    newer = sized(serving={"engineVersion": "0.22.0"}).server
    assert newer.gpu_memory_utilization == 0.92


def test_given_keys_win():
    serving = {"maxModelLen": 4096, "maxNumSeqs": 8, "maxNumBatchedTokens": 4096, "gpuMemoryUtilization": "80%"}
    server = sized(serving=serving).server
    assert server.max_model_len == server.max_num_batched_tokens == 4096
    assert (server.max_num_seqs, server.gpu_memory_utilization) == (8, 0.8)
    assert sized(serving=serving).memory.per_gpu.budget_gib == pytest.approx(0.8 * 22.05, abs=0.01)


def test_how_many_sequences_and_how_long_a_one():
    found = sized(gpu={"name": "H100"})
    counts = {each.tokens: each.count for each in found.sequences}
    assert list(counts) == [1024, 4096, 16384, 40960]
    assert counts[40960] == found.memory.full_contexts
    assert sorted(counts.values(), reverse=True) == list(counts.values())
    assert counts[1024] * 1024 <= found.memory.kv_cache_tokens < (counts[1024] + 1) * 1024
    assert found.memory.longest_context == found.memory.kv_cache_tokens  # no window, no state


def test_a_context_beyond_the_models_own_is_sized_with_a_warning():
    found = sized(gpu={"name": "H100"}, serving={"maxModelLen": 131_072})
    assert found.server.max_model_len == 131_072
    assert any("longer than the model's own context of up to 40960" in warning for warning in found.warnings)


def test_a_card_by_its_memory_is_the_one_that_is_like_it():
    l4 = sized(gpu={"memoryMiB": 22579})
    assert l4.gpu.name == "L4"
    assert l4.memory == sized().memory
    assert any("taken for a L4" in warning for warning in l4.warnings)
    none = sized(gpu={"memoryMiB": 50_000})
    assert none.gpu.name is None
    assert any("no known card has 50,000 MiB" in warning for warning in none.warnings)
    both = sized(gpu={"name": "H100", "memoryMiB": 50_000})
    assert (both.gpu.name, both.gpu.memory_mib, both.warnings) == ("H100", 50_000, ())


@given(st.floats(4_000, 400_000))
def test_any_memory_is_sized_and_never_for_an_unlike_card(memory_mib):
    found = sized(gpu={"memoryMiB": memory_mib})
    assert found.gpu.memory_mib == int(memory_mib)
    if found.gpu.name:
        usable = CATALOG.gpu(found.gpu.name).usable_memory_mib
        assert abs(usable - memory_mib) <= SAME_CARD * memory_mib + 1


def test_auto_takes_the_smallest_degree_that_fits():
    assert sized(gpu={"name": "L4"}).tensor_parallelism == 2
    assert sized(gpu={"name": "L4"}, serving={"maxModelLen": 8192, "maxNumSeqs": 16}).tensor_parallelism == 1
    none = sized(gpu={"name": "L4"}, instance={"maxGpus": 1})
    assert not none.fits
    assert "KV cache needs" in none.reasons[0]


def test_a_degree_that_is_asked_for_is_kept():
    four = sized(model={**QWEN, "tensorParallelism": 4})
    assert (four.tensor_parallelism, four.fits) == (4, True)
    staged = sized(model={**QWEN, "tensorParallelism": 2, "pipelineParallelism": 2})
    assert (staged.tensor_parallelism, staged.pipeline_parallelism) == (2, 2)


def test_what_a_card_cannot_compute_is_a_reason():
    refused = sized(model={**QWEN, "precision": "bf16"}, gpu={"name": "T4"})
    assert (refused.fits, refused.memory, refused.server) == (False, None, None)
    assert "bf16 needs compute capability 8.0" in refused.reasons[0]


def test_every_card_is_answered_from_the_smallest_to_the_largest():
    sizes = size_on_cards(parse_size_requirements({"model": QWEN}), CATALOG)
    assert {size.gpu.name for size in sizes} == set(CATALOG.gpu_names)
    memories = [size.gpu.memory_mib for size in sizes]
    assert memories == sorted(memories)


def test_problems_of_the_card_and_of_the_model_are_told_together():
    found = problems(gpu={"name": "L5"}, model={**QWEN, "tensorParallelism": 7})
    assert "L4" in found["gpu.name"].next_step
    assert "model.tensorParallelism" in found


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"gpu": {}}, "gpu"),
        ({"gpu": {"memory": 1}}, "gpu.memory"),
        ({"gpu": {"memoryMiB": 12}}, "gpu.memoryMiB"),
        ({"gpu": {"memoryMiB": True}}, "gpu.memoryMiB"),
        ({"gpu": "L4"}, "gpu"),
        ({"model": {"id": "no/such-model"}}, "model.parameters"),
        ({"model": {**QWEN, "pipelineParallelism": 99}}, "model.pipelineParallelism"),
        ({"serving": {"fullContexts": 8, "maxNumSeqs": 4}}, "serving.fullContexts"),
        ({"model": {"id": "black-forest-labs/FLUX.1-dev"}, "serving": {"maxModelLen": 8}}, "serving.maxModelLen"),
    ],
)
def test_a_mistake_names_its_key(sections, path):
    assert path in problems(**sections)
