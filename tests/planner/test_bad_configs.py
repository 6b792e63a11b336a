"""Configs that are damaged: refused by the name of the field, or sized; never another error, and never a hang."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from documents import document
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.architecture import Architecture, from_config
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError, Problem, RequirementError
from gpufleet.planner.models import known_ids, known_model
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from gpufleet.planner.size import Size, parse_size_requirements, size_replica
from gpufleet.planner.weights import checkpoint_bytes, valid_tensor_parallelism, weights_bytes_per_gpu

COUNTS = json.loads((Path(__file__).parent.parent / "data" / "transformers_counts.json").read_text(encoding="utf-8"))
CONFIGS = [*(m["config"] for m in COUNTS["models"]), *(dict(k.config) for i in known_ids() if (k := known_model(i)))]
"""Every config of the registry, and one of every type that transformers counts."""

VALUES: tuple[Any, ...] = (
    None, 0, -1, -(10**15), 10**15, 1e400, float("nan"), 0.5, "", "x", "12", True, False, [], {}, [1], ["a"], {"a": 1}, 7,
)  # fmt: skip
NO_HANG = timedelta(seconds=20)
"""Far more than a busy machine takes for one of them."""
LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip


def paths_of(config: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field."""
    for name, value in config.items():
        yield (*before, name)
        if isinstance(value, dict):
            yield from paths_of(value, (*before, name))


def near(value: Any) -> list[Any]:
    """Values of the same kind that may contradict the other fields."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1, -value, value * 2, value * 1000, value / 7, float(value), str(value), [value]]
    if isinstance(value, list):
        return [value[:-1], value * 2, [*value, None], [*value, -1], [*value, 10**9], [*value, "x"], [{}]]
    return [f"{value}x"]


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A published config of which one to three fields are dropped or have another value."""
    config: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(CONFIGS)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths_of(config)) or [("model_type",)]))
        place = config
        for name in path[:-1]:
            place = place[name]
        kind = draw(st.sampled_from(("drop", "near", "any")))
        if kind == "drop":
            place.pop(path[-1], None)
        else:
            values = near(place.get(path[-1])) if kind == "near" else VALUES
            place[path[-1]] = copy.deepcopy(draw(st.sampled_from(list(values))))
    return config


def sized(config: dict[str, Any]) -> Size:
    asked = {"model": {"id": "acme/own", "architecture": config}, "gpu": {"name": "H100"}}
    return size_replica(parse_size_requirements(asked), load_catalog())


def check(error: PlanningError) -> None:
    """A refusal names a key, what is wrong with it, and what would be right."""
    for problem in error.problems:
        assert problem.path.startswith("model."), problem
        assert problem.message
        assert problem.allowed or problem.next_step
        assert "cannot be read" not in problem.message, problem


@settings(max_examples=3000, deadline=NO_HANG)
@given(damaged())
def test_a_damaged_config_is_refused_by_name_or_sized(config: dict[str, Any]) -> None:
    try:
        found = sized(config)
    except RequirementError as error:
        check(error)
        return
    assert 0 < found.model.parameters <= 10**14
    assert json.loads(found.to_json())
    if found.memory is not None:
        assert found.memory.per_gpu.weights_gib >= 0
        assert found.memory.kv_cache_tokens >= 0


@settings(max_examples=800, deadline=NO_HANG)
@given(damaged())
def test_what_is_counted_of_it_has_a_size_in_every_sense(config: dict[str, Any]) -> None:
    try:
        found = from_config("acme/own", config)
    except RequirementError as error:
        check(error)
        return
    for format_ in {"bf16", found.checkpoint_format or "bf16"}:
        assert 0 < weights_bytes_per_gpu(found, format_, 1) < float("inf")
    assert 0 < checkpoint_bytes(found) < float("inf")
    assert valid_tensor_parallelism(found, 8)[0] == 1
    assert caches_are_bounded(found)


def caches_are_bounded(architecture: Architecture) -> bool:
    return all(group.token_bytes(2.0, 1) >= 0 and group.state_bytes >= 0 for group in architecture.cache)


@settings(max_examples=300, deadline=NO_HANG)
@given(damaged())
def test_a_fleet_of_it_is_refused_or_planned(config: dict[str, Any]) -> None:
    asked = document(model={"architecture": config, "precision": None})
    asked["serving"] = {"image": "registry.example/server:0.19.0"}
    problems: tuple[Problem, ...] = ()
    try:
        assert plan_deployment(parse_requirements(asked), load_catalog(), None).to_json()
    except PlanningError as error:
        problems = error.problems
    assert all(problem.path and problem.message for problem in problems)


@pytest.mark.parametrize(
    ("changes", "field", "given_", "allowed"),
    [
        ({"hidden_size": None}, "hidden_size", None, "a whole number, under one of: hidden_size, n_embd"),
        ({"num_attention_heads": 30}, "num_attention_heads", 30, "a divisor of 4096, or head_dim beside it"),
        ({"num_key_value_heads": 5}, "num_key_value_heads", 5, "a divisor of 32"),
        ({"layer_types": ["full_attention"] * 31}, "layer_types", 31, "a list of 32"),
        ({"num_local_experts": 8, "num_experts_per_tok": 9}, "num_experts_per_tok", 9, "1 to 8"),
        ({"num_hidden_layers": -1}, "num_hidden_layers", -1, "a whole number above 0"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers", 10**6, "up to 1,000"),
        ({"vocab_size": 0.5}, "vocab_size", 0.5, "a whole number above 0"),
        (
            {"quantization_config": {"quant_method": "magic"}},
            "quantization_config",
            "magic",
            "quant_method (auto-round",
        ),
        ({"model_type": "rwkv"}, "model_type", "rwkv", "a model of another type"),
    ],
)
def test_the_field_the_value_and_what_is_allowed_are_said(
    changes: dict[str, Any], field: str, given_: Any, allowed: str
) -> None:
    with pytest.raises(RequirementError) as caught:
        sized(LLAMA | changes)
    problem = caught.value.problems[0]
    assert problem.path == f"model.architecture.{field}"
    assert problem.given == given_
    assert allowed in problem.allowed
    assert problem.next_step
