"""vCPUs and RAM that a replica needs, and the sizes within a family that follow."""

from __future__ import annotations

import pytest
from documents import plan
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.size import parse_size_requirements, size_replica


def host(**sections):
    document = {"model": {"id": "Qwen/Qwen3-8B"}, "gpu": {"name": "L40S"}, **sections}
    return size_replica(parse_size_requirements(document), load_catalog()).host


def parts(**sections):
    return {part.name: part.memory_mib for part in host(**sections).parts}


def test_memory_mapped_weights_take_no_ram_of_their_own():
    assert parts() == {"processes": 4096}
    assert host().vcpu == 2


def test_every_gpu_has_a_worker():
    four = host(model={"id": "Qwen/Qwen3-8B", "tensorParallelism": 2, "pipelineParallelism": 2})
    assert (four.vcpu, four.memory_mib) == (8, 4 * 4096)


@pytest.mark.parametrize(
    ("args", "name", "mib"),
    [
        (["--swap-space", "8"], "swap", 8192),
        (["--swap-space=2.5"], "swap", 2560),
        (["--cpu_offload_gb", "10"], "offloaded weights", 10240),
        (["--load-format", "pt"], "copied weights", 10240),
    ],
)
def test_arguments_that_cost_ram(args, name, mib):
    assert parts(serving={"args": args})[name] == mib


def test_a_small_checkpoint_is_copied_whole():
    small = parts(model={"id": "Qwen/Qwen3-0.6B"}, serving={"args": ["--load-format", "pt"]})
    assert 1024 < small["copied weights"] < 2048


def test_the_first_engine_pinned_swap_by_itself():
    assert parts(serving={"engineVersion": "0.7.2"})["swap"] == 4096
    assert "swap" not in parts(serving={"engineVersion": "0.8.0"})


@given(st.text(max_size=8))
def test_no_argument_is_a_traceback(value):
    value = "".join(c for c in value if ord(c) >= 32 and ord(c) != 127)
    assert host(serving={"args": ["--swap-space", value]}).memory_mib >= 4096


def test_larger_needs_take_a_larger_size_of_the_family():
    small, large = plan(), plan(serving={"args": ["--swap-space", "16"]})
    assert small.instance.type == "g6.xlarge"
    assert large.instance.family == "g6"
    assert large.instance.memory_mib > small.instance.memory_mib
    assert large.host.memory_mib == 4096 + 16384
    rejected = next(c for c in large.candidates if c.type == "g6.xlarge")
    assert rejected.reason == (
        "a container gets 13,107 MiB, and the server needs 20,480 (serving.minMemory for each of 1 worker and --swap-space, "
        "pinned)"
    )
