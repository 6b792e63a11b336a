"""Data parallelism: ranks that run the whole model and share its experts, on one instance."""

from __future__ import annotations

from typing import Any

import pytest
from documents import plan

from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.size import Size, parse_size_requirements, size_replica
from gpufleet.planner.stages import data_parallel_rank
from gpufleet.planner.weights import weights_bytes_per_gpu

MIXTRAL = "mistralai/Mixtral-8x7B-v0.1"


def mixtral() -> Architecture:
    return resolve_architecture(model_id=MIXTRAL, parameters=None, config=None)


def sized(model_id: str = MIXTRAL, **model: Any) -> Size:
    document = {"model": {"id": model_id, **model}, "gpu": {"name": "H200"}}
    return size_replica(parse_size_requirements(document), load_catalog())


def planned(**model: Any) -> DeploymentPlan:
    """Of Mixtral, without the architecture of the usual document."""
    keys = {"id": MIXTRAL, "source": "s3://models/mixtral/", "architecture": None, "precision": "bf16", **model}
    return plan(model=keys, instance={"maxGpus": 8, "families": ["p5"]})


@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_experts_are_shared_and_the_rest_is_each_ranks_own(degree: int) -> None:
    whole = mixtral()
    experts = whole.parameters_of("experts")
    expected = 2 * (whole.parameters - experts + experts / degree)
    assert weights_bytes_per_gpu(data_parallel_rank(whole, degree), "bf16", 1) == pytest.approx(expected, rel=0.01)


def test_both_degrees_divide_experts_and_only_one_the_rest() -> None:
    whole = mixtral()
    experts = whole.parameters_of("experts")
    expected = 2 * ((whole.parameters - experts) / 2 + experts / 8)
    assert weights_bytes_per_gpu(data_parallel_rank(whole, 4), "bf16", 2) == pytest.approx(expected, rel=0.01)


def test_each_rank_has_a_cache_of_its_own() -> None:
    alone, ranks = sized(tensorParallelism=1), sized(tensorParallelism=1, dataParallelism=4)
    assert ranks.data_parallelism == 4
    assert ranks.memory is not None
    assert alone.memory is not None
    assert ranks.memory.kv_bytes_per_token == alone.memory.kv_bytes_per_token
    assert ranks.memory.per_gpu.weights_gib < alone.memory.per_gpu.weights_gib / 2.5
    assert any("4 data-parallel ranks" in warning for warning in ranks.warnings)


def test_the_host_holds_processes_for_every_gpu() -> None:
    alone, ranks = sized(tensorParallelism=1), sized(tensorParallelism=1, dataParallelism=4)
    assert ranks.host is not None
    assert alone.host is not None
    assert ranks.host.vcpu > alone.host.vcpu


def test_a_plan_gives_the_server_all_the_gpus() -> None:
    found = planned(dataParallelism=4, tensorParallelism=2)
    assert (found.gpus_per_replica, found.replicas_per_instance) == (8, 1)
    command = " ".join(found.server.command)
    assert "--tensor-parallel-size 2 --data-parallel-size 4 --enable-expert-parallel" in command


def test_auto_takes_the_degree_that_the_ranks_leave_room_for() -> None:
    found = planned(dataParallelism=4)
    assert found.gpus_per_replica == 4 * found.tensor_parallelism <= found.instance.gpu.count


@pytest.mark.parametrize(
    ("model_id", "keys", "said"),
    [
        ("Qwen/Qwen3-8B", {"dataParallelism": 2}, "its data-parallel ranks are replicas"),
        (MIXTRAL, {"dataParallelism": 3}, "8 experts do not divide among 3 GPUs"),
        (MIXTRAL, {"dataParallelism": 4, "tensorParallelism": 4}, "8 experts do not divide among 16 GPUs"),
    ],
)
def test_what_cannot_be_shared_is_refused(model_id: str, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(RequirementError, match=said) as caught:
        sized(model_id, **keys)
    assert caught.value.problems[0].path == "model.dataParallelism"


@pytest.mark.parametrize("flag", ["--data-parallel-size", "-dp"])
def test_an_argument_with_further_gpus_is_refused(flag: str) -> None:
    with pytest.raises(RequirementError, match=r"model\.dataParallelism"):
        plan(serving={"args": [flag, "2"]})
