"""What is told of a replay, and the one line on what to change."""

from __future__ import annotations

from functools import partial

import pytest

from gpufleet.simulation import judgement
from gpufleet.simulation.advice import advise
from gpufleet.simulation.model import Action, Bounds, Tracking
from gpufleet.simulation.report import make_report, reversals
from gpufleet.simulation.settling import settled
from gpufleet.simulation.simulate import replay, simulate
from gpufleet.simulation.yardsticks import Yardstick, Yardsticks, find_yardsticks
from tests.simulation.outcomes import SPEED, moment, outcome, settings, stepping, trace

NONE = Yardsticks(None, None)


def report_of(made, yardsticks=NONE, target_seconds=2.0, run=None):
    return make_report(made, yardsticks, target_seconds, 0.99, run)


# Judgement ------------------------------------------------------------------------------------------------------------


def test_shares_and_percentiles_count_what_was_never_answered():
    made = outcome(latencies=[(1.0, 90.0), (2.0, 5.0), (9.0, 3.0)], unanswered=2.0)
    assert judgement.share_within(made, 2.0) == pytest.approx(0.95)
    found = report_of(made)
    assert found.percentiles_seconds == {"p50": 1.0, "p90": 1.0, "p95": 2.0, "p99": None}
    assert (found.requests, found.unanswered, found.keeps) == (100.0, 2.0, False)


def test_hours_are_of_gpus_and_an_unknown_price_stays_unknown():
    assert report_of(outcome(instance_seconds=7200)).fleet[:2] == (4.0, 6.0)
    assert report_of(outcome(price_usd_per_hour=None)).fleet.price_usd is None


def test_over_and_under_provisioning_do_not_cancel_out():
    moments = [moment(10 * (i + 1), in_service=n) for i, n in enumerate((1, 1, 5, 5))]
    found = report_of(outcome(moments=moments), Yardsticks(None, Yardstick((3, 3, 3, 2), 110.0, 1.0)))
    assert found.over_provisioned_hours == pytest.approx(5 * 10 / 3600)
    assert found.under_provisioned_hours == pytest.approx(4 * 10 / 3600)


def test_a_reversal_is_a_change_of_direction_that_comes_too_soon():
    actions = tuple(
        Action(s, "p", b, a, "") for s, b, a in ((0, 1, 2), (100, 2, 3), (200, 3, 2), (900, 2, 3), (1000, 3, 2))
    )
    assert reversals(actions, 360) == 2
    found = report_of(outcome(actions=actions))
    assert (found.scale_outs, found.scale_ins, found.reversals) == (3, 2, 2)


def test_time_at_the_maximum_counts_what_starts_too_and_follows_a_schedule():
    bounds = (Bounds(0.0, 1, 2), Bounds(25.0, 1, 4), Bounds(45.0, 3, 3))
    moments = [
        moment(10, in_service=2),
        moment(20, starting=1),
        moment(30, in_service=3),
        moment(40, in_service=4),
        moment(50, in_service=3),
    ]
    assert report_of(outcome(moments=moments, bounds=bounds)).minutes_at_max == pytest.approx(30 / 60)


def test_the_largest_step_and_the_worst_after_it():
    rates = [1.0] * 60 + [5.0] * 6 + [30.0] * 100
    moments = [moment(10 * (i + 1), p95=50.0 if i in (20, 80) else 1.0 + (i == 90)) for i in range(len(rates))]
    found = report_of(outcome(moments=moments, arrivals=trace(rates))).after_step
    assert (found.second, found.requests_per_second_before, found.requests_per_second_after) == pytest.approx(
        (660, 5, 30)
    )
    assert found.p95_seconds == 50.0
    assert report_of(outcome(moments=moments[:3])).after_step is None


def test_a_slower_start_is_shown_beside_the_report():
    rates = [4.0] * 120 + [30.0] * 120
    run = partial(simulate, trace=trace(rates), speed=SPEED)
    quick, slow = report_of(run(settings()), target_seconds=4.0, run=run).delays
    assert (quick.start_seconds, slow.start_seconds) == (150.0, 600.0)
    assert quick.share_within > slow.share_within


def test_the_report_in_json_has_everything():
    document = report_of(outcome(latencies=[(1.0, 5.0)], moments=[moment(10)])).to_json_object()
    assert document["percentilesSeconds"]["p99"] == 1.0
    assert document["fleet"]["gpuHours"] == 2.0
    assert document["gpuHoursOverClairvoyant"] is None
    assert document["keepsTheShare"] is True


# The beginning --------------------------------------------------------------------------------------------------------


def test_a_fleet_begins_as_large_as_its_policies_hold_it():
    rates = [40.0] * 120
    begins = settled(settings(), trace(rates), SPEED)
    assert 5 <= begins.desired <= 9
    outcome_of = simulate(begins, trace(rates), SPEED)
    assert judgement.share_within(outcome_of, 4.0) == pytest.approx(1.0)
    assert settled(settings(bounds=(Bounds(0.0, 1, 3),)), trace(rates), SPEED).desired == 3


# Advice ---------------------------------------------------------------------------------------------------------------


def advice_for(rates, target_seconds=4.0, goal=0.99, **changed):
    fleet, arrivals = settings(**changed), trace(rates)
    run = partial(simulate, trace=arrivals, speed=SPEED)
    yardsticks = find_yardsticks(
        fleet, arrivals, SPEED, partial(replay, settings=fleet, trace=arrivals, speed=SPEED), target_seconds, goal
    )
    return advise(run(fleet), yardsticks, run, target_seconds, goal)


BURSTS = ([2.0] * 60 + [60.0] * 20) * 4
"""Shorter than an instance starts."""
TWO_AT_MOST, SIX_AT_MOST = (Bounds(0.0, 1, 2),), (Bounds(0.0, 1, 6),)
RAMP = [4.0 + i / 20 for i in range(600)]


@pytest.mark.parametrize(
    ("says", "rates", "changed"),
    [
        ("change nothing", [4.0] * 200, {}),
        ("lower scaling.min from 6 to", [4.0] * 200, {"bounds": (Bounds(0.0, 6, 20),), "desired": 6}),
        ("raise scaling.max from 2 to", RAMP, {"bounds": TWO_AT_MOST}),
        ("raise scaling.min from 1 to", BURSTS, {}),
        ("lower scaling.requestsInFlight from 24 to", RAMP, {"tracking": (Tracking("requestsInFlight", 24.0),)}),
        ("raise scaling.requestsInFlight from 3 to", RAMP, {"tracking": (Tracking("requestsInFlight", 3.0),)}),
        ("no policy moves this fleet", RAMP, {"tracking": ()}),
        ("scaling.kvCacheUtilization has no data", RAMP, {"tracking": (Tracking("kvCacheUtilization", 70.0),)}),
        ("scaling.gpuUtilization is above 50", [20.0] * 300, {"tracking": (Tracking("gpuUtilization", 50.0),), "bounds": SIX_AT_MOST, "desired": 3}),  # noqa: E501
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_advice(says, rates, changed):
    text = advice_for(rates, **changed)
    assert text.startswith(says), text
    assert "\n" not in text


def test_advice_on_a_target_that_no_replica_keeps(monkeypatch):
    monkeypatch.setattr("gpufleet.simulation.yardsticks.MOST_INSTANCES", 16)
    assert advice_for([4.0] * 60, target_seconds=1.0).startswith("no number of instances keeps 99.00%")


def test_what_the_advice_promises_comes_true():
    text = advice_for(BURSTS)
    fewest = int(text.split(" to ")[1].split(":")[0])
    fleet = settings(bounds=(Bounds(0.0, fewest, 20),), desired=fewest)
    share = judgement.share_within(simulate(fleet, trace(BURSTS), SPEED), 4.0)
    assert share >= 0.99
    assert f"then {share:.2%} are within 4 s" in text


def test_a_latency_policy_alone_counts_as_a_policy():
    assert not advice_for(RAMP, tracking=(), stepping=stepping()).startswith("no policy")
