"""Whole runs: when instances come and go, what alarms see, and what is paid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as config
from hypothesis import strategies as st

from gpufleet.simulation.model import Bin, Bounds, Trace, Tracking
from gpufleet.simulation.simulate import replay, simulate
from gpufleet.simulation.trace import read_trace
from tests.simulation.fleets import SPEED, TRACES, settings, slow, steady, then

IN_FLIGHT = Tracking("requestsInFlight", 5)
"""Half of a batch; requests of 100 tokens take 10 s, so one in flight for each that arrives in a bin."""


def run(fleet, trace, speed=SPEED):
    return simulate(fleet, trace, speed)


def calm(minutes):
    return steady(4.5, minutes, output_tokens=100)


def busy(minutes):
    return steady(9, minutes, output_tokens=100)


def at(outcome, second):
    """The fleet at the end of the bin that ends then."""
    return next(m for m in outcome.moments if m.second == second)


def test_a_fleet_at_its_target_is_left_alone():
    outcome = run(settings(IN_FLIGHT, desired=1), calm(60))
    assert outcome.actions == ()
    assert outcome.instance_seconds == 3600
    assert {m.in_service for m in outcome.moments} == {1}


def test_it_scales_out_after_three_minutes_above_the_target_and_one_until_they_are_known():
    outcome = run(settings(IN_FLIGHT), then(calm(20), busy(20)))
    (action,) = outcome.actions
    assert (action.second, action.policy, action.before, action.after) == (24 * 60, "requestsInFlight", 1, 2)


def test_an_instance_serves_after_its_start_and_is_paid_from_its_launch():
    outcome = run(settings(IN_FLIGHT, start_seconds=300), then(calm(20), busy(20)))
    launched = outcome.actions[0].second
    assert (at(outcome, launched + 10).in_service, at(outcome, launched + 10).starting) == (1, 1)
    assert (at(outcome, launched + 300).in_service, at(outcome, launched + 300).starting) == (2, 0)
    assert outcome.instance_seconds == pytest.approx(2400 + 2400 - launched)


def test_the_group_is_not_grown_twice_for_one_breach():
    """The alarm stays in ALARM while the instance starts and warms up."""
    outcome = run(settings(IN_FLIGHT, start_seconds=900, warmup_seconds=300), then(calm(20), busy(40)))
    assert "requestsInFlight high" in at(outcome, outcome.actions[0].second + 600).alarms
    assert [a.after for a in outcome.actions] == [2]


def test_it_scales_in_after_fifteen_minutes_below_nine_tenths_of_the_target():
    outcome = run(settings(IN_FLIGHT, min=1, desired=2), then(busy(30), calm(40)))
    (action,) = outcome.actions
    assert (action.second, action.before, action.after) == ((30 + 15 + 1) * 60, 2, 1)


def test_what_is_left_must_do_for_the_busiest_of_the_fifteen_minutes():
    quiet, less_quiet = steady(2, 1, output_tokens=100), steady(8, 1, output_tokens=100)
    trace = then(*[quiet] * 8, less_quiet, *[quiet] * 9)
    first = run(settings(IN_FLIGHT, desired=4), trace).actions[0]
    assert (first.second, first.before, first.after) == (16 * 60, 4, 2)


def test_between_nine_tenths_and_the_target_nothing_moves():
    outcome = run(settings(Tracking("requestsInFlight", 4.9), desired=1), calm(60))
    assert outcome.actions == ()


def test_no_scale_in_before_the_new_instances_have_warmed_up():
    trace = then(calm(20), busy(6), steady(1, 90, output_tokens=100))
    soon, late = (run(settings(IN_FLIGHT, warmup_seconds=seconds), trace).actions for seconds in (180, 3000))
    assert [a.after for a in soon] == [a.after for a in late] == [2, 1]
    assert soon[1].second == (26 + 15 + 1) * 60
    assert late[1].second == late[0].second + 120 + 3000


def test_a_warm_up_shorter_than_metrics_take_to_arrive_grows_the_group_twice():
    """Its end comes before the datapoint that shows what the new instance does: once more what the old one asks for."""
    trace = then(calm(20), busy(20))
    assert [a.after for a in run(settings(IN_FLIGHT, warmup_seconds=0), trace).actions] == [2, 4]
    assert [a.after for a in run(settings(IN_FLIGHT, warmup_seconds=120), trace).actions] == [2]


def test_a_draining_instance_ends_its_requests_and_is_paid_until_then():
    """Ten requests of 100 s run when the fleet is told to shrink."""
    trace = Trace("burst", 10, (Bin(10, 0, 10000),) + (Bin(0, 0, 0),) * 29)
    bounds = (Bounds(0, 2, 2), Bounds(20, 1, 1))
    outcome = run(settings(bounds=bounds, desired=2), trace)
    assert at(outcome, 30).in_service == 1
    assert sum(count for _, count in outcome.latencies) == 10
    assert 300 + 100 <= outcome.instance_seconds <= 300 + 110
    assert run(settings(bounds=bounds, desired=2, longest_request_seconds=1000), trace).instance_seconds < 410


def test_a_schedule_moves_the_group_into_its_bounds():
    bounds = (Bounds(0, 1, 20), Bounds(600, 4, 20), Bounds(1800, 1, 2))
    outcome = run(settings(bounds=bounds, desired=1), calm(60))
    assert [(a.second, a.policy, a.before, a.after) for a in outcome.actions] == [
        (600, "schedule", 1, 4),
        (1800, "schedule", 4, 2),
    ]


def test_a_schedule_may_say_how_many():
    bounds = (Bounds(0, 1, 20), Bounds(600, 1, 20, 5), Bounds(1800, 1, 3, 9))
    actions = run(settings(bounds=bounds, desired=1), calm(60)).actions
    assert [(a.second, a.before, a.after) for a in actions] == [(600, 1, 5), (1800, 5, 3)]


def test_no_policy_leads_out_of_the_bounds():
    outcome = run(settings(IN_FLIGHT, max=3), then(calm(10), steady(100, 30, output_tokens=100)))
    assert max(m.in_service + m.starting for m in outcome.moments) == 3


def test_of_an_empty_fleet_nothing_is_measured_and_nothing_scales_it_out():
    outcome = run(settings(IN_FLIGHT, min=0, desired=0), busy(30))
    assert (outcome.actions, outcome.latencies) == ((), ())
    assert outcome.unanswered == pytest.approx(9 * 180)


def test_the_latency_policy_adds_the_step_that_the_excess_falls_in():
    """A replica ends one request a second: a little more than that makes its queue grow slowly, a lot more fast."""
    steps = slow((0, 20, 100), (20, None, 300), target=15, percentile="p50")
    outcome = run(settings(stepping=steps), then(calm(20), steady(10.5, 30, output_tokens=100)))
    first = outcome.actions[0]
    assert (first.policy, first.before) == ("latency", 1)
    assert first.after == 2
    worse = run(settings(stepping=steps), then(calm(20), steady(30, 30, output_tokens=100)))
    assert worse.actions[0].after == 4


def test_minutes_with_few_requests_do_not_move_the_latency_alarm():
    """Thirty requests a minute end, each after 20 s."""
    steps = slow((0, None, 100), target=15)
    trace = steady(5, 60, output_tokens=200)
    assert run(settings(stepping=steps._replace(min_requests=31), desired=2), trace).actions == ()
    assert run(settings(stepping=steps._replace(min_requests=30), desired=2), trace).actions != ()


def test_waiting_requests_add_capacity():
    steps = slow((0, None, 100), target=5, percentile="", signal="waitingRequests")
    outcome = run(settings(waiting=steps), steady(30, 30, output_tokens=100))
    assert outcome.actions[0].policy == "waitingRequests"
    assert run(settings(waiting=steps), calm(30)).actions == ()


@pytest.mark.parametrize(
    ("signal", "value"),
    [
        ("gpuUtilization", 100),
        ("requestsPerTarget", 27),
        ("requestsInFlight", 4.5),
        ("waitingRequests", 0),
        ("kvCacheUtilization", 22.5),
    ],
)
def test_signals_of_a_steady_load(signal, value):
    """Two replicas on one instance: 9 requests in 10 s of 100 tokens each, which take 10 s and hold half of their tokens."""
    fleet = settings(replicas_per_instance=2, gpus_per_instance=2, kv_cache_tokens=1000)
    assert at(run(fleet, busy(30)), 1200).metrics[signal] == pytest.approx(
        value * (2 if signal == "requestsPerTarget" else 1)
    )


def test_gpus_that_no_replica_uses_and_those_of_loading_instances_are_idle():
    fleet = settings(replicas_per_instance=1, gpus_per_instance=4, gpus_per_replica=2)
    assert at(run(fleet, busy(30)), 1200).metrics["gpuUtilization"] == pytest.approx(50)
    growing = settings(bounds=(Bounds(0, 1, 4), Bounds(600, 4, 4)), desired=1, start_seconds=600)
    assert at(run(growing, busy(30)), 1000).metrics["gpuUtilization"] == pytest.approx(25)


def test_without_a_known_cache_there_is_no_signal_of_it():
    assert at(run(settings(), busy(30)), 1200).metrics["kvCacheUtilization"] is None


def test_the_same_in_gives_the_same_out():
    trace = read_trace(TRACES / "azure2023_code_10s.csv")
    fleet = settings(IN_FLIGHT, stepping=slow((0, None, 50), target=20))
    assert run(fleet, trace) == run(fleet, trace)


@pytest.mark.parametrize("bin_seconds", [1, 7, 30, 60, 300])
def test_bins_of_any_length_give_much_the_same(bin_seconds):
    def load(minutes, each_second):
        return steady(each_second * bin_seconds, minutes, output_tokens=100, bin_seconds=bin_seconds)

    outcome = run(settings(IN_FLIGHT), then(load(21, 0.45), load(42, 0.9)))
    (action,) = outcome.actions
    assert action.after == 2
    assert action.second == pytest.approx(25 * 60, abs=60)


def test_a_replay_of_what_the_policies_did_serves_the_same():
    trace = read_trace(TRACES / "azure2023_conv_10s.csv")
    outcome = run(settings(IN_FLIGHT, warmup_seconds=0), trace)
    capacity = [settings().desired, *(m.in_service for m in outcome.moments[:-1])]
    again = replay(capacity, outcome.settings, trace, SPEED)
    assert sum(c for _, c in again.latencies) == pytest.approx(sum(c for _, c in outcome.latencies))
    late, late_again = (sum(c for s, c in o.latencies if s > 60) for o in (outcome, again))
    assert late_again == pytest.approx(late, rel=0.1, abs=20)


loads = st.lists(st.integers(0, 200), min_size=30, max_size=120)


@config(max_examples=40)
@given(loads, st.integers(0, 3), st.integers(0, 600), st.integers(0, 600))
def test_whatever_comes_the_group_stays_within_its_bounds_and_every_request_is_accounted_for(
    load, least, start, warmup
):
    trace = Trace("any", 30, tuple(Bin(n, 0, n * 50) for n in load))
    fleet = settings(
        IN_FLIGHT, min=least, max=8, start_seconds=start, warmup_seconds=warmup, stepping=slow((0, None, 50), target=10)
    )
    outcome = run(fleet, trace)
    assert all(least <= a.after <= 8 and a.after != a.before for a in outcome.actions)
    assert all(m.in_service + m.starting <= 8 for m in outcome.moments)
    assert sum(c for _, c in outcome.latencies) + outcome.unanswered == pytest.approx(sum(load))
    served = sum(m.in_service for m in outcome.moments) * 30
    assert outcome.instance_seconds >= served - 8 * 30
