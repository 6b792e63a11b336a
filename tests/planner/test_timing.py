"""From launch to the first answer: bytes over their path, the time-outs that follow, and what a user sets instead."""

from __future__ import annotations

import pytest
from documents import plan
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.storage import FREE_MIBS, MIBS_PER_IOPS, MOST_MIBS, plan_storage
from gpufleet.planner.units import GIB

CATALOG = load_catalog()
TYPES = [
    CATALOG.instance_type(name)
    for name in sorted({o.instance_type.name for r in CATALOG.regions for o in CATALOG.offers(r)})
]
GRAVITON = {"families": ["g5g"], "architecture": "arm64", "type": "g5g.xlarge"}
"""g5g has no instance store."""
SMALL = {"id": "example/Llama-3B", "parameters": "3B", "precision": "fp16"}


def test_the_load_is_the_sum_of_its_parts_and_every_part_says_where_it_comes_from():
    timing = plan().timing
    parts = (timing.boot_seconds, timing.image_pull_seconds, timing.weights_seconds, timing.engine_start_seconds)
    assert timing.load_seconds == sum(parts)
    own = timing.path[:4]
    assert [int(line.split(": ")[1].split(" s,")[0]) for line in own] == list(parts)
    assert "instance store" in own[2]


def test_the_time_outs_are_those_of_the_slowest_type():
    timing = plan().timing
    assert timing.slowest_load_seconds >= timing.load_seconds
    assert timing.health_check_grace_period_seconds >= 1.5 * timing.slowest_load_seconds
    assert timing.lifecycle_timeout_seconds >= 1.5 * timing.slowest_load_seconds
    assert timing.instance_warmup_seconds == 240, "behind the hook the load is over when it begins"


def test_a_slower_fallback_is_told_apart_from_the_choice():
    slow = plan(instance={"families": ["g7e"]}).timing
    assert not slow.slowest_type.startswith("g7e.")
    assert len(slow.path) == 8
    assert slow.slowest_load_seconds > slow.load_seconds


def test_weights_in_the_image_are_pulled_with_it():
    baked, fetched = plan(model={"source": "image"}).timing, plan().timing
    assert baked.weights_seconds == 0
    assert baked.image_pull_seconds > fetched.image_pull_seconds


def test_a_stack_says_what_it_knows_better():
    given_ = {
        "boot": "30s", "imagePull": "2m", "weights": "90s", "engineStart": "1m", "healthCheckGracePeriod": "20m",
        "instanceWarmup": "5m", "lifecycleTimeout": "30m", "longestRequest": "10m",
    }  # fmt: skip
    planned = plan(timing=given_)
    timing = planned.timing
    assert timing.load_seconds == timing.slowest_load_seconds == 30 + 120 + 90 + 60
    assert timing.path[1].endswith("120 s, timing.imagePull")
    assert timing.health_check_grace_period_seconds == 1200
    assert timing.instance_warmup_seconds == 300
    assert timing.lifecycle_timeout_seconds == 1800
    assert timing.longest_request_seconds == 600
    assert planned.server.environment["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"] == "610"


def test_measured_parts_move_the_time_outs():
    assert plan(timing={"weights": "1h"}).timing.health_check_grace_period_seconds > 1.5 * 3600
    assert plan(timing={"weights": "2h"}).timing.lifecycle_timeout_seconds == 7200


@pytest.mark.parametrize(
    ("timing", "path"),
    [
        ({"imagePul": "2m"}, "timing.imagePul"),
        ({"instanceWarmup": "2h"}, "timing.instanceWarmup"),
        ({"lifecycleTimeout": "3h"}, "timing.lifecycleTimeout"),
        ({"longestRequest": "soon"}, "timing.longestRequest"),
    ],
)
def test_what_aws_does_not_take_is_refused_with_its_key(timing, path):
    with pytest.raises(RequirementError) as caught:
        plan(timing=timing)
    assert [problem.path for problem in caught.value.problems] == [path]


def test_a_faster_volume_is_bought_where_the_weights_are_written_to_it():
    g5g, g6 = plan(instance=GRAVITON, model=SMALL | {"architecture": None}), plan()
    assert g6.storage.root_throughput_mibs == FREE_MIBS
    assert "root volume" in g5g.timing.path[2]


@given(kind=st.sampled_from(TYPES), weights_gib=st.floats(0, 2000), baked_in=st.booleans())
def test_a_volume_is_never_faster_than_the_type_and_never_more_than_ec2_takes(kind, weights_gib, baked_in):
    storage = plan_storage([kind], weights_bytes=weights_gib * GIB, image_bytes=17e9, baked_in=baked_in)
    assert FREE_MIBS <= storage.root_throughput_mibs <= MOST_MIBS
    assert storage.root_iops >= 3000
    assert storage.root_throughput_mibs <= MIBS_PER_IOPS * storage.root_iops
    if storage.root_throughput_mibs > FREE_MIBS:
        assert not kind.instance_store_gb
        assert not baked_in
        assert storage.root_throughput_mibs * 1024**2 <= kind.ebs_max_mb_per_second * 1e6


@given(
    first=st.floats(0, 500),
    more=st.floats(0, 500),
    kind=st.sampled_from([kind for kind in TYPES if not kind.instance_store_gb]),
)
def test_more_weights_never_buy_a_slower_volume(first, more, kind):
    small, large = (
        plan_storage([kind], weights_bytes=size * GIB, image_bytes=17e9, baked_in=False)
        for size in (first, first + more)
    )
    assert small.root_throughput_mibs <= large.root_throughput_mibs
