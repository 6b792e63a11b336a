"""What a plan and a size say of laws without a measurement behind them, and the terms that a user gives instead."""

from __future__ import annotations

from typing import Any

import pytest

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.size import Size, parse_size_requirements, size_replica

CATALOG = load_catalog()


def sized(*, card: str = "H100", serving: dict[str, Any] | None = None, **model: Any) -> Size:
    document = {"model": {"id": "Qwen/Qwen3-8B", **model}, "gpu": {"name": card}, "serving": serving or {}}
    return size_replica(parse_size_requirements(document), CATALOG)


def test_nothing_is_said_where_logs_exist() -> None:
    assert sized().warnings == ()
    assert sized(tensorParallelism=4).warnings == ()


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        ("the A10G (compute capability 8.6)", {"card": "A10G"}),
        ("8 GPUs: NCCL's memory is taken as on 4", {"tensorParallelism": 8}),
        ("NCCL without NVLink", {"card": "L4", "tensorParallelism": 2}),
        ("vllm 0.22.0: its source was read", {"serving": {"engineVersion": "0.22.0"}}),
    ],
)
def test_a_gap_is_told(said: str, changes: dict[str, Any]) -> None:
    assert any(said in warning for warning in sized(**changes).warnings)


def test_older_engines_have_logs_of_more_cards() -> None:
    assert sized(card="A10G", serving={"engineVersion": "0.7.3"}).warnings == ()


def test_a_given_term_replaces_the_law_and_is_told() -> None:
    given = {"weights": "15GiB", "activations": "2GiB", "nonTorch": "512MiB", "cudaGraphs": "1GiB", "outside": "1.5GiB"}
    size = sized(card="A10G", serving={"memory": given, "maxModelLen": 2048})
    memory = size.memory.per_gpu
    assert (memory.weights_gib, memory.activations_gib, memory.non_torch_gib, memory.cuda_graphs_gib) == (15, 2, 0.5, 1)
    assert "serving.memory.nonTorch is 0.50 GiB per GPU, as given" in size.model.assumptions
    assert len(size.model.assumptions) == 5
    assert size.warnings == ()  # whoever knows the terms needs no logs of others


def test_one_given_term_leaves_the_others_to_their_laws() -> None:
    known, by_law = sized(serving={"memory": {"nonTorch": "3GiB"}}).memory, sized().memory
    assert known.per_gpu.non_torch_gib == 3
    assert known.per_gpu.activations_gib == by_law.per_gpu.activations_gib
    assert known.kv_cache_tokens < by_law.kv_cache_tokens


def test_an_eager_server_keeps_no_graphs() -> None:
    assert sized(serving={"args": ["--enforce-eager"]}).memory.per_gpu.cuda_graphs_gib == 0
