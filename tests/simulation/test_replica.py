"""How long requests take on a replica, against arithmetic by hand and laws that hold for every queue."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.simulation.model import Bin, Speed, Trace
from gpufleet.simulation.simulate import percentile, replay
from gpufleet.simulation.trace import read_trace
from tests.simulation.fleets import SPEED, TRACES, settings, steady, then


def latencies(capacity, trace, speed=SPEED, **others):
    """(seconds, requests) of a fleet of one replica per instance."""
    counts = [capacity] * len(trace.bins) if isinstance(capacity, int) else capacity
    return replay(counts, settings(max=100, **others), trace, speed)


def seconds(outcome, percent=100.0):
    return percentile(outcome.latencies, percent)


def test_a_request_alone_decodes_at_its_rate_of_a_full_batch():
    assert seconds(latencies(1, steady(1, 1, output_tokens=50))) == pytest.approx(5.0)


def test_where_the_speed_alone_was_measured_a_request_alone_has_it_and_one_in_a_full_batch_has_not():
    speed = SPEED._replace(decode_tokens_per_second_alone=50.0)
    assert seconds(latencies(1, steady(1, 1, output_tokens=50), speed)) == pytest.approx(1.0)
    full = latencies(1, steady(100, 1, output_tokens=50), speed)
    assert seconds(full, 100) > 5.0


def test_a_prompt_is_read_before_the_first_token():
    outcome = latencies(
        1, steady(1, 1, input_tokens=2000, output_tokens=50), SPEED._replace(prefill_tokens_per_second=1000)
    )
    assert percentile(outcome.first_token_latencies, 100) == pytest.approx(2.0)
    assert seconds(outcome) >= 7.0


def test_a_streaming_server_is_judged_by_its_first_token():
    trace = steady(1, 1, input_tokens=2000, output_tokens=50)
    speed = SPEED._replace(prefill_tokens_per_second=1000)
    assert seconds(latencies(1, trace, speed, judges="firstToken")) == pytest.approx(2.0)


def test_the_eleventh_request_waits_for_a_place_of_ten():
    """Twenty at once, five seconds each: half of them wait for the other half."""
    trace = Trace("burst", 0.001, (Bin(20, 0, 1000),))
    assert sorted({round(s, 1) for s, _ in latencies(1, trace).latencies}) == [5.0, 10.0]
    assert [round(s, 1) for s, _ in latencies(2, trace).latencies] == [5.0]


def test_a_request_that_needs_more_of_the_cache_takes_more_places():
    trace = Trace("burst", 0.001, (Bin(10, 1000, 500),))
    assert seconds(latencies(1, trace, kv_cache_tokens=1500)) == pytest.approx(5.0, abs=0.01)
    assert seconds(latencies(1, trace, kv_cache_tokens=750)) == pytest.approx(10.0, abs=0.01)
    assert seconds(latencies(1, trace, kv_cache_tokens=150)) == pytest.approx(50.0, abs=0.01)


@pytest.mark.parametrize("input_tokens", [0, 500, 4000])
def test_a_full_replica_does_as_much_as_both_rates_allow(input_tokens):
    """Requests per second of a full replica: 1 / (input / prefill rate + output / decode rate)."""
    speed = Speed(prefill_tokens_per_second=1000, decode_tokens_per_second=100, max_concurrency=16)
    allowed = 1 / (input_tokens / 1000 + 100 / 100)
    hour = steady(allowed * 10 * 4, 60, input_tokens=input_tokens, output_tokens=100)
    served = len(hour.bins) * 40 * allowed / (3600 + seconds(latencies(1, hour, speed)))
    assert served == pytest.approx(allowed, rel=0.05)


def test_below_what_it_can_do_no_queue_grows():
    speed = Speed(prefill_tokens_per_second=1000, decode_tokens_per_second=100, max_concurrency=16)
    hour = steady(0.8 * 10 / 1.5, 60, input_tokens=500, output_tokens=100)
    assert seconds(latencies(1, hour, speed)) < 60


def test_new_replicas_take_what_arrives_but_not_what_waits_already():
    """The load balancer has given the waiting requests away when the new instances come."""
    burst, calm = steady(40, 10, output_tokens=50), steady(5, 30, output_tokens=50)
    trace = then(burst, calm)
    alone = latencies(1, trace)
    grown = latencies([1] * 60 + [10] * 180, trace)
    assert seconds(grown) == pytest.approx(seconds(alone), rel=0.2)
    assert at_once(grown) > 900 > 600 > at_once(alone)


def at_once(outcome):
    """Requests that waited for nobody."""
    return sum(count for s, count in outcome.latencies if s < 5.1)


def test_nobody_in_service_is_unanswered():
    outcome = latencies([0] * 6 + [1] * 6, steady(1, 2))
    assert outcome.unanswered == 6
    assert sum(count for _, count in outcome.latencies) == pytest.approx(6)


def test_what_takes_longer_than_the_load_balancer_waits_is_unanswered():
    outcome = latencies(1, steady(1, 1, output_tokens=500), longest_request_seconds=40)
    assert (outcome.unanswered, outcome.latencies) == (6, ())


def one_by_one(trace, replicas, places, seconds_each):
    """Every request by itself: to the replica with the fewest outstanding, first in, first out. Seconds of each, ascending."""
    free = [[0.0] * places for _ in range(replicas)]
    ends = [[] for _ in range(replicas)]
    latencies = []
    for place, arrivals in enumerate(trace.bins):
        for i in range(int(arrivals.requests)):
            now = place * trace.bin_seconds + (i + 0.5) * trace.bin_seconds / arrivals.requests
            ends = [[end for end in of_replica if end > now] for of_replica in ends]
            chosen = min(range(replicas), key=lambda r: len(ends[r]))
            first_free = heapq.heappop(free[chosen])
            end = max(now, first_free) + seconds_each
            heapq.heappush(free[chosen], end)
            ends[chosen].append(end)
            latencies.append(end - now)
    return sorted(latencies)


@pytest.mark.parametrize("replicas", [2, 3, 5, 8])
def test_cohorts_wait_as_their_requests_would_one_by_one(replicas):
    """The bursts of a recorded trace, on fleets that are far too small to large enough."""
    recorded = read_trace(TRACES / "azure2023_code_10s.csv")
    trace = recorded._replace(bins=tuple(Bin(b.requests, 0, b.requests * 80) for b in recorded.bins))
    exact = one_by_one(trace, replicas, 10, 8.0)
    outcome = latencies(replicas, trace)
    for percent in (10, 50, 90, 99, 100):
        expected = exact[min(len(exact) - 1, int(len(exact) * percent / 100))]
        assert seconds(outcome, percent) == pytest.approx(expected, rel=0.05, abs=1.5)


bins = st.lists(st.integers(0, 60), min_size=1, max_size=60)
capacities = st.lists(st.integers(0, 5), min_size=60, max_size=60)


@given(bins, capacities, st.integers(1, 300), st.integers(0, 3000))
def test_every_request_is_answered_or_not_once(arrivals, capacity, output_tokens, input_tokens):
    trace = Trace("any", 10, tuple(Bin(n, n * input_tokens, n * output_tokens) for n in arrivals))
    outcome = latencies(capacity[: len(arrivals)], trace, SPEED._replace(prefill_tokens_per_second=2000))
    assert sum(count for _, count in outcome.latencies) + outcome.unanswered == pytest.approx(sum(arrivals))
    assert all(s >= output_tokens / 10 + input_tokens / 2000 - 1e-9 for s, _ in outcome.latencies)
    assert list(outcome.latencies) == sorted(outcome.latencies)


@given(bins, st.integers(1, 4), st.integers(1, 300))
def test_more_instances_are_not_slower(arrivals, instances, output_tokens):
    trace = Trace("any", 10, tuple(Bin(n, 0, n * output_tokens) for n in arrivals))
    few, many = latencies(instances, trace), latencies(instances + 1, trace)
    for percent in (50, 90, 99):
        if few.latencies:
            assert seconds(many, percent) <= seconds(few, percent) + 0.5
