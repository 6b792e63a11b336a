"""Whom the alarms call, what pages a person, and bounds that go by the clock: as the program asks AWS for them."""

from __future__ import annotations

import json

TOPIC = "arn:aws:sns:us-east-1:123456789012:oncall"
SCHEDULES = [
    {"name": "day", "days": ["mon-fri"], "time": "07:30", "timeZone": "Europe/Dublin", "min": 2, "desired": 3},
    {"name": "night", "cron": "0 20 * * *", "timeZone": "Europe/Dublin"},
]
LATENCY = {"target": "2s"}


def actions(program):
    return {r.name.removeprefix("gpufleet-"): r.inputs.get("alarmActions") for r in program.of_type("MetricAlarm")}


def test_nobody_is_called_by_default(run):
    program = run(scaling={"min": 1, "max": 3, "latency": LATENCY})
    for kind in ("Topic", "TopicSubscription", "TopicPolicy", "EventRule", "EventTarget"):
        assert not program.of_type(kind)
    called = actions(program)
    assert called.pop("slow") == ["<gpufleet-latency.arn>"], "what adds instances calls nobody"
    assert set(called.values()) == {None}


def test_people_are_called_through_a_topic_of_the_stack(run):
    program = run(
        scaling={"min": 1, "max": 3, "latency": LATENCY},
        alarms={"emails": ["oncall@example.com", "second@example.com"]},
    )
    called = actions(program)
    called.pop("slow")
    assert set(map(tuple, called.values())) == {("<gpufleet-alarms.arn>",)}
    assert set(called) == {
        "no-healthy-instance", "unhealthy-instances", "server-errors", "gateway-errors", "slow-for-long", "at-maximum",
    }  # fmt: skip
    subscribed = [r.inputs for r in program.of_type("TopicSubscription")]
    assert [(s["protocol"], s["endpoint"]) for s in subscribed] == [
        ("email", "oncall@example.com"),
        ("email", "second@example.com"),
    ]
    publish, tls = json.loads(program.one("TopicPolicy")["policy"])["Statement"]
    assert publish["Principal"] == {"Service": ["cloudwatch.amazonaws.com", "events.amazonaws.com"]}
    assert publish["Action"] == "sns:Publish"
    assert set(publish["Condition"]["StringEquals"]) == {"aws:SourceAccount"}
    assert (tls["Effect"], tls["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_a_topic_of_the_users_is_taken_as_it_is(run):
    program = run(alarms={"topicArn": TOPIC})
    assert not program.of_type("Topic")
    assert set(map(tuple, actions(program).values())) == {(TOPIC,)}
    assert program.one("EventTarget")["arn"] == TOPIC


def test_a_launch_that_fails_is_told(run):
    program = run(alarms={"topicArn": TOPIC})
    assert json.loads(program.one("EventRule")["eventPattern"]) == {
        "source": ["aws.autoscaling"],
        "detail-type": ["EC2 Instance Launch Unsuccessful"],
        "detail": {"AutoScalingGroupName": ["<gpufleet-group.name>"]},
    }


def test_slow_for_long_means_longer_than_an_instance_takes_to_help(run):
    program = run(scaling={"min": 1, "max": 3, "latency": LATENCY}, timing={"weights": "30m"})
    timing, alarm = program.run.plan.timing, program.one("MetricAlarm", "slow-for-long")
    assert 60 * alarm["evaluationPeriods"] >= timing.slowest_load_seconds + timing.instance_warmup_seconds
    ending = program.one("Group")["instanceRefresh"]["preferences"]["alarmSpecification"]["alarms"]
    assert "<gpufleet-slow-for-long.name>" not in ending, "a rollout may be the cure"


def test_a_fleet_of_one_size_is_not_told_to_be_at_its_maximum(run):
    assert "at-maximum" not in actions(run(scaling={"min": 2, "max": 2}))


def test_schedules_move_the_bounds_and_an_update_leaves_them(run):
    program = run(scaling={"min": 1, "max": 4, "schedules": SCHEDULES})
    made = {r.inputs["scheduledActionName"]: r.inputs for r in program.of_type("Schedule")}
    assert {name: (s["recurrence"], s["timeZone"]) for name, s in made.items()} == {
        "day": ("30 7 * * 1,2,3,4,5", "Europe/Dublin"),
        "night": ("0 20 * * *", "Europe/Dublin"),
    }
    assert [(s["minSize"], s["maxSize"], s["desiredCapacity"]) for s in made.values()] == [(2, 4, 3), (1, 4, -1)]
    assert all(s["autoscalingGroupName"] == "<gpufleet-group.name>" for s in made.values())
    [group] = program.of_type("Group")
    assert {"minSize", "maxSize", "desiredCapacity"} <= set(group.ignore_changes)
    [without] = run().of_type("Group")
    assert not {"minSize", "maxSize"} & set(without.ignore_changes)


def test_a_queue_only_adds_capacity(run):
    program = run(scaling={"min": 1, "max": 3, "waitingRequests": 2})
    policy, alarm = program.one("Policy", "waiting"), program.one("MetricAlarm", "queue")
    assert policy["stepAdjustments"] == [
        {"metricIntervalLowerBound": "0", "metricIntervalUpperBound": "2", "scalingAdjustment": 20},
        {"metricIntervalLowerBound": "2", "metricIntervalUpperBound": "6", "scalingAdjustment": 50},
        {"metricIntervalLowerBound": "6", "scalingAdjustment": 100},
    ]
    assert (alarm["metricName"], alarm["statistic"], alarm["threshold"]) == ("WaitingRequests", "Average", 2)
    assert alarm["alarmActions"] == ["<gpufleet-waiting.arn>"]
