"""The policies that a plan has: by default, as asked for, and what is refused with its reason."""

from __future__ import annotations

from itertools import pairwise

import pytest
from documents import plan
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.cron import FIELDS
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.requirements import TARGETS
from gpufleet.planner.scaling_keys import Schedule, recurrence

DIFFUSION = {
    "model": {"id": "stabilityai/stable-diffusion-xl-base-1.0", "architecture": None, "precision": None},
    "serving": {"image": "registry.example.com/sdxl-server:1.4", "maxNumSeqs": None},
}
ENCODER = {
    "model": {
        "id": "example/encoder", "parameters": None,
        "architecture": {
            "model_type": "bert", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
            "intermediate_size": 4096, "vocab_size": 30522, "max_position_embeddings": 512,
        },
    },
    "serving": {"maxNumSeqs": 16, "maxModelLen": 512},
}  # fmt: skip


def targets(**sections):
    scaling = plan(**sections).scaling
    return {name: getattr(scaling, name) for name in TARGETS if getattr(scaling, name) is not None}


def refused(**sections):
    with pytest.raises(RequirementError) as caught:
        plan(**sections)
    (problem,) = caught.value.problems
    return problem


def schedules(*given, **scaling):
    return {"scaling": {"min": 1, "max": 4, **scaling, "schedules": list(given)}}


DAY = {"name": "day", "time": "07:30", "timeZone": "Europe/Dublin", "min": 2}


def test_a_server_that_tells_its_load_is_scaled_on_it():
    assert targets() == {"requests_in_flight": 9, "kv_cache_utilization_percent": 50}
    assert targets(serving={"maxNumSeqs": 1}) == {"requests_in_flight": 1, "kv_cache_utilization_percent": 50}


def test_a_model_without_a_cache_has_none_to_hold():
    assert targets(**ENCODER) == {"requests_in_flight": 9}
    problem = refused(**ENCODER, scaling={"kvCacheUtilization": 75})
    assert problem.path == "scaling.kvCacheUtilization"
    assert "no KV cache" in problem.message


def test_a_server_of_ones_own_is_scaled_on_its_gpus():
    assert targets(**DIFFUSION) == {"gpu_utilization_percent": 70}


@pytest.mark.parametrize(
    ("given", "planned"),
    [
        ({"gpuUtilization": 60}, {"gpu_utilization_percent": 60}),
        ({"requestsPerTarget": 90}, {"requests_per_target": 90}),
        ({"requestsInFlight": 9, "requestsPerTarget": 90}, {"requests_per_target": 90, "requests_in_flight": 9}),
        ({"requestsInFlight": "off"}, {"kv_cache_utilization_percent": 50}),
        ({"kvCacheUtilization": False}, {"requests_in_flight": 9}),
        ({"latency": {"target": "2s"}}, {"requests_in_flight": 9, "kv_cache_utilization_percent": 50}),
    ],
)
def test_defaults_hold_only_where_no_target_is_given(given, planned):
    assert targets(scaling=given) == planned


@pytest.mark.parametrize(
    ("sections", "path", "says"),
    [
        ({**DIFFUSION, "scaling": {"requestsInFlight": 4}}, "scaling.requestsInFlight", "no metric is known"),
        ({**DIFFUSION, "scaling": {"waitingRequests": 4}}, "scaling.waitingRequests", "no metric is known"),
        ({**DIFFUSION, "scaling": {"gpuUtilization": "off"}}, "scaling.gpuUtilization", "nothing would move the fleet"),
        (
            {"scaling": {"requestsInFlight": "off", "kvCacheUtilization": "off", "latency": {"target": 2}}},
            "scaling.latency",
            "nothing would remove it",
        ),
        ({"scaling": {"requestsInFlight": 0}}, "scaling.requestsInFlight", "or off"),
        (
            {"scaling": {"latency": {"target": 2, "steps": [{"above": "1s", "add": 20}]}}},
            "scaling.latency.steps",
            "above: 0s",
        ),
        (
            {"scaling": {"latency": {"target": 2, "steps": [{"above": 0, "add": 50}, {"above": 1, "add": 20}]}}},
            "scaling.latency.steps",
            "fewer instances",
        ),
        (
            {"scaling": {"latency": {"target": 2, "datapointsToAlarm": 4}}},
            "scaling.latency.datapointsToAlarm",
            "1 to 3",
        ),
        (schedules(DAY, {**DAY, "time": "09:00"}), "scaling.schedules", "of one name"),
        (schedules(DAY, {**DAY, "name": "other"}), "scaling.schedules", "at one time"),
        (schedules({**DAY, "min": 5}), "scaling.schedules.0.min", "more than its max"),
        (schedules({**DAY, "max": 9}), "scaling.schedules.0.max", "1 to 4"),
        (schedules({**DAY, "min": 0}), "scaling.schedules.0.min", "outside of scaling.min"),
        (schedules({**DAY, "desired": 1}), "scaling.schedules.0.desired", "2 to 4"),
        (schedules({**DAY, "timeZone": "Europe/Dubln"}), "scaling.schedules.0.timeZone", "did you mean Europe/Dublin?"),
        (schedules({**DAY, "cron": "0 7 * * *"}), "scaling.schedules.0", "either cron, or a time"),
        (schedules({"name": "x", "cron": "0 7 * *"}), "scaling.schedules.0.cron", "this has 4"),
        (schedules({"name": "x", "cron": "0 25 * * *"}), "scaling.schedules.0.cron", "25 is no hour"),
        (schedules({"name": "x", "min": 2}), "scaling.schedules.0", "either cron, or a time"),
        ({"alarms": {"topicArn": "arn:aws:sns:eu-west-1:123456789012:x"}}, "alarms.topicArn", "another region"),
        ({"alarms": {"emails": ["a@example.com"] * 2}}, "alarms.emails", "named twice"),
        ({"alarms": {"emails": ["nobody"]}}, "alarms.emails.0", "an e-mail address"),
        (
            {"alarms": {"emails": ["a@example.com"], "topicArn": "arn:aws:sns:us-east-1:123456789012:x"}},
            "alarms.emails",
            "given with alarms.topicArn",
        ),
        (
            {"alarms": {"kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1234"}},
            "alarms.kmsKeyArn",
            "none without alarms.emails",
        ),
    ],
)
def test_a_contradiction_is_refused_with_its_reason(sections, path, says):
    problem = refused(**sections)
    assert problem.path == path
    assert says in problem.describe()


def test_a_schedule_or_one_size_needs_no_signal():
    off = {**DIFFUSION, "scaling": {"min": 1, "max": 4, "gpuUtilization": "off"}}
    assert targets(**{**off, "scaling": {**off["scaling"], "min": 4}}) == {}
    assert targets(**{**off, "scaling": {**off["scaling"], "schedules": [DAY]}}) == {}


def test_steps_and_evaluation_are_the_users():
    latency = {"target": "2s", "percentile": "p99", "evaluationPeriods": 5, "datapointsToAlarm": 3,
               "steps": [{"above": "0s", "add": 10}, {"above": "4s", "add": 200}]}  # fmt: skip
    policy = plan(scaling={"latency": latency}).scaling.latency
    assert [(s.lower_bound_seconds, s.upper_bound_seconds, s.adjustment_percent) for s in policy.steps] == [
        (0, 4, 10),
        (4, None, 200),
    ]
    assert (policy.evaluation_periods, policy.datapoints_to_alarm, policy.min_requests) == (5, 3, 100)


@settings(max_examples=50)
@given(st.floats(0.1, 1000))
def test_steps_lie_side_by_side_and_never_fall(threshold):
    steps = plan(scaling={"waitingRequests": threshold}).scaling.waiting_requests.steps
    assert steps[0].lower_bound_requests == 0
    assert steps[-1].upper_bound_requests is None
    for step, after in pairwise(steps):
        assert step.upper_bound_requests == after.lower_bound_requests > step.lower_bound_requests
        assert step.adjustment_percent < after.adjustment_percent


# Schedules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "field"),
    [
        ([], "*"),
        (["mon-fri"], "1,2,3,4,5"),
        (["sat", "SUN"], "0,6"),
        (["fri-mon"], "0,1,5,6"),
        (["wed", "mon-wed"], "1,2,3"),
    ],
)
def test_days_and_time_are_cron(days, field):
    schedule = Schedule.model_validate({"name": "x", "days": days, "time": "7:05"})
    assert recurrence(schedule) == f"5 7 * * {field}"


@settings(max_examples=200)
@given(st.tuples(*(st.sampled_from(
    ["*", str(low), f"{low}-{high}", f"*/{max(1, high // 2)}", f"{low},{high}", f"{low}-{high}/{max(1, high // 3)}", *names]
) for _, low, high, names in FIELDS)))  # fmt: skip
def test_five_fields_of_cron_are_taken_as_they_are(fields):
    schedule = Schedule.model_validate({"name": "x", "cron": " ".join(fields)})
    assert recurrence(schedule) == " ".join(fields).upper()


def test_bounds_default_to_the_fleets():
    planned = plan(**schedules(DAY, {"name": "night", "cron": "0 20 * * *"})).scaling.schedules
    assert [(s.name, s.min, s.max, s.desired, s.time_zone) for s in planned] == [
        ("day", 2, 4, None, "Europe/Dublin"),
        ("night", 1, 4, None, "UTC"),
    ]
