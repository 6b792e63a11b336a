"""What a fleet is measured against."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.simulation.judgement import share_within
from gpufleet.simulation.simulate import replay, simulate
from gpufleet.simulation.yardsticks import cover, find_yardsticks, instances_of_load, trailing_mean
from tests.simulation.outcomes import SPEED, settings, trace

DAY = [4.0] * 90 + [34.0] * 60 + [4.0] * 90 + [24.0] * 60
"""Two busy spells with a quiet one between, longer than an instance starts."""


def yardsticks(rates, target_seconds=5.0, goal=0.99, **changed):
    fleet, arrivals = settings(**changed), trace(rates)
    return find_yardsticks(
        fleet, arrivals, SPEED, partial(replay, settings=fleet, trace=arrivals, speed=SPEED), target_seconds, goal
    )


def test_a_constant_fleet_is_the_smallest_that_keeps_the_share():
    fleet, arrivals = settings(), trace(DAY)
    found = yardsticks(DAY).static
    instances = found.capacity[0]
    assert set(found.capacity) == {instances}
    for count, keeps in ((instances, True), (instances - 1, False)):
        share = share_within(replay([count] * len(DAY), fleet, arrivals, SPEED), 5.0)
        assert (share >= 0.99) is keeps
    assert found.instance_seconds == instances * len(DAY) * 10


def test_a_clairvoyant_keeps_the_share_for_less_and_is_ready_in_time():
    found = yardsticks(DAY)
    assert found.clairvoyant.share_within >= 0.99
    assert found.clairvoyant.instance_seconds < 0.8 * found.static.instance_seconds
    assert found.clairvoyant.capacity[100] > found.clairvoyant.capacity[30]
    assert found.clairvoyant.capacity[200] < found.clairvoyant.capacity[100]


def test_a_clairvoyant_costs_no_more_than_a_fleet_that_keeps_the_share():
    outcome = simulate(
        settings(bounds=settings().bounds, desired=2, tracking=settings().tracking), trace([4.0] * 300), SPEED
    )
    assert share_within(outcome, 5.0) >= 0.99
    assert yardsticks([4.0] * 300).clairvoyant.instance_seconds <= outcome.instance_seconds


def test_a_target_that_no_idle_replica_keeps_has_no_yardstick(monkeypatch):
    monkeypatch.setattr("gpufleet.simulation.yardsticks.MOST_INSTANCES", 16)
    assert yardsticks([4.0] * 30, target_seconds=1.0) == (None, None)


def test_load_in_instances_counts_prompts_and_answers():
    assert instances_of_load(trace([10.0]), SPEED, 1) == pytest.approx([1.1])
    assert instances_of_load(trace([10.0]), SPEED, 2) == pytest.approx([0.55])


@pytest.mark.parametrize(
    ("need", "start_seconds", "capacity", "instance_seconds"),
    [
        # A gap that lasts no longer than a start is kept; a longer one is not, and pays the next start.
        ((2, 1, 2), 10, (2, 2, 2), 60),
        ((2, 1, 1, 2), 10, (2, 1, 1, 2), 70),
        ((2, 1, 1, 2), 20, (2, 2, 2, 2), 80),
        # What is needed before an instance could have started is there from the first second on.
        ((0, 0, 3), 20, (3, 3, 3), 90),
        ((0, 0, 0, 3), 20, (0, 0, 0, 3), 90),
        ((), 20, (), 0),
    ],
)  # fmt: skip
def test_the_cheapest_capacity_that_covers_a_need(need, start_seconds, capacity, instance_seconds):
    assert cover(need, 10, start_seconds) == (capacity, instance_seconds)


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(0, 12))
def test_a_cover_is_never_short_and_never_dearer_than_the_peak_all_the_time(need, bins_to_start):
    capacity, instance_seconds = cover(need, 1, bins_to_start)
    assert all(c >= n for c, n in zip(capacity, need, strict=True))
    assert sum(need) <= instance_seconds <= max(need, default=0) * len(need)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(1, 10))
def test_a_trailing_mean_lies_between_what_it_is_of(values, width):
    for place, mean in enumerate(trailing_mean(values, width)):
        window = values[max(0, place + 1 - width) : place + 1]
        assert min(window) - 1e-6 <= mean <= max(window) + 1e-6
