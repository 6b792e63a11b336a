"""Rollouts, reservations and protection of standing stacks, by the real engine in the emulator."""

from __future__ import annotations

from typing import Any

from tests.engine.conftest import Deploy
from tests.engine.deployment import Deployment
from tests.engine.test_lifecycle import group_of

RESERVATION = "cr-0123456789abcdef0"


def test_reservations_and_spot_come_into_a_standing_group_and_an_alarm_ends_a_rollout(deploy: Deploy) -> None:
    stack = deploy("dev-us-east-1")
    stack.configure(scaling={"min": 2, "max": 9})
    stack.run("up")
    before = standing(stack)
    assert "AlarmSpecification" not in group_of(stack)

    stack.configure(
        instance={"capacityReservations": [RESERVATION], "spotPercentage": 50, "families": ["g5"]},
        serving={"image": "vllm/vllm-openai:v0.19.0", "maxNumSeqs": 8},
    )
    stack.run("up")
    stack.run("up", "--expect-no-changes", "--diff")
    stack.run("refresh", "--expect-no-changes", "--diff")
    assert standing(stack) == before
    group = group_of(stack)
    assert group["CapacityReservationSpecification"] == {
        "CapacityReservationPreference": "capacity-reservations-first",
        "CapacityReservationTarget": {"CapacityReservationIds": [RESERVATION]},
    }
    assert group["CapacityRebalance"] is True

    refresh = look(stack)
    preferences = refresh["Preferences"]
    assert (preferences["MinHealthyPercentage"], preferences["MaxHealthyPercentage"]) == (100, 110)
    assert (preferences["CheckpointPercentages"], preferences["CheckpointDelay"]) == ([12, 50, 100], 600)
    alarms = preferences["AlarmSpecification"]["Alarms"]
    cloudwatch = stack.emulator.client("cloudwatch", stack.region)
    assert len(cloudwatch.describe_alarms(AlarmNames=alarms)["MetricAlarms"]) == len(alarms) == 3

    cloudwatch.set_alarm_state(AlarmName=alarms[0], StateValue="ALARM", StateReason="the new model answers with errors")
    statuses = [look(stack)["Status"] for _ in range(6)]
    assert statuses[-1] == "Failed"
    assert alarms[0] in look(stack)["StatusReason"]
    assert "1" in {instance["LaunchTemplate"]["Version"] for instance in group_of(stack)["Instances"]}
    stack.run("destroy")


def test_an_image_that_is_read_at_launch_rolls_every_instance(deploy: Deploy) -> None:
    stack = deploy("dev-us-east-1")
    stack.configure(instance={"ami": "launch"})
    stack.run("up")
    stack.configure(
        instance={"ami": "launch"}, scaling={"min": 1, "max": 2, "gpuUtilization": 60}, serving={"maxNumSeqs": 8}
    )
    stack.run("up")
    stack.run("refresh", "--expect-no-changes", "--diff")
    refresh = look(stack)
    assert "DesiredConfiguration" not in refresh
    assert refresh["Preferences"]["SkipMatching"] is False
    stack.run("destroy")


def test_a_protected_load_balancer_is_not_replaced_until_two_commands_allow_it(deploy: Deploy) -> None:
    stack = deploy("prod-ap-south-1")
    stack.run("up")
    before = standing(stack)
    urn = next(resource["urn"] for resource in stack.state() if resource["type"] == "aws:lb/loadBalancer:LoadBalancer")
    certificate = stack.emulator.client("acm", stack.region).request_certificate(DomainName="example.com")
    stack.configure(
        network={
            "internal": False, "certificateArn": certificate["CertificateArn"], "allowedCidrs": ["203.0.113.0/24"],
        }
    )  # fmt: skip
    said = stack.refused("up")
    assert "protect" in said
    assert urn in said
    assert standing(stack) == before

    stack.command(stack.directory, "state", "unprotect", urn, "--yes", "--stack", stack.stack)
    touched = stack.preview()
    assert "aws:lb/loadBalancer:LoadBalancer" in touched["replace"]
    assert touched["replace"].isdisjoint({"aws:lb/targetGroup:TargetGroup", "aws:autoscaling/group:Group"})
    stack.destroy()


def standing(stack: Deployment) -> dict[str, list[str]]:
    """What a change of a stack file does not replace."""
    found = stack.resources()
    return {kind: found[kind] for kind in ("autoscaling:group", "elbv2:load-balancer", "elbv2:target-group")}


def look(stack: Deployment) -> dict[str, Any]:
    """The newest refresh; each look moves it one step forward."""
    client = stack.emulator.client("autoscaling", stack.region)
    name = stack.outputs()["autoScalingGroupName"]
    refresh: dict[str, Any] = client.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"][0]
    return refresh
