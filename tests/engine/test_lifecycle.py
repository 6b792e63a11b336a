"""The shipped stacks, made for real in the emulator: created, unchanged, without drift, changed, destroyed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gpufleet.planner.lifecycle import LAUNCHING_HOOK, TERMINATING_HOOK
from stacks.config import stack_names
from tests.emulator.running import PROJECT
from tests.engine.conftest import Deploy
from tests.engine.deployment import Deployment

DEVELOPMENT = "dev-us-east-1"
INT8_STACK = "prod-eu-west-1"

GROUP = "aws:autoscaling/group:Group"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"


def test_a_stack_is_created_changed_and_destroyed_leaving_nothing(deploy: Deploy) -> None:
    stack = deploy(DEVELOPMENT)
    before = stack.resources()

    stack.run("up")
    assert stack.resources() != before
    stack.run("up", "--expect-no-changes", "--diff")
    stack.run("refresh", "--expect-no-changes", "--diff")
    assert_instances_are_waited_for(stack)

    stack.configure(model=model_of(INT8_STACK))
    touched = stack.preview()
    assert {TEMPLATE, GROUP} <= touched["update"]
    assert set(touched) == {"update"}, "an operation other than an update would replace, create or delete something"

    stack.run("up")
    stack.run("up", "--expect-no-changes", "--diff")
    assert_instances_are_refreshed(stack)

    stack.run("destroy")
    assert stack.resources() == before


@pytest.mark.parametrize("name", [name for name in stack_names() if name != DEVELOPMENT])
def test_a_shipped_stack_goes_up_once(name: str, deploy: Deploy) -> None:
    stack = deploy(name)
    before = stack.resources()

    stack.run("up")
    stack.run("up", "--expect-no-changes", "--diff")
    stack.run("refresh", "--expect-no-changes", "--diff")

    group = group_of(stack)
    assert (group["MinSize"], group["MaxSize"]) == (
        stack.config()["gpufleet:scaling"]["min"],
        stack.config()["gpufleet:scaling"]["max"],
    )
    assert len(group["Instances"]) == group["MinSize"]
    assert {instance["InstanceType"] for instance in group["Instances"]} == {stack.outputs()["instanceType"]}

    stack.destroy()
    assert stack.resources() == before


def model_of(stack: str) -> dict[str, Any]:
    """The model section of a shipped stack."""
    document = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    model: dict[str, Any] = document["config"]["gpufleet:model"]
    return model


def group_of(stack: Deployment) -> dict[str, Any]:
    """The stack's Auto Scaling group as the emulator describes it."""
    client = stack.emulator.client("autoscaling", stack.region)
    name = stack.outputs()["autoScalingGroupName"]
    group: dict[str, Any] = client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]
    return group


def assert_instances_are_waited_for(stack: Deployment) -> None:
    """The group has a hook for the start and one for the end, each once."""
    client = stack.emulator.client("autoscaling", stack.region)
    name = stack.outputs()["autoScalingGroupName"]
    hooks = client.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]
    assert {(hook["LifecycleHookName"], hook["DefaultResult"]) for hook in hooks} == {
        (LAUNCHING_HOOK, "ABANDON"),
        (TERMINATING_HOOK, "CONTINUE"),
    }
    assert len(hooks) == 2


def assert_instances_are_refreshed(stack: Deployment) -> None:
    """One refresh runs to its end, and then every instance is of the group's new template version."""
    old = {instance["InstanceId"] for instance in group_of(stack)["Instances"]}
    client = stack.emulator.client("autoscaling", stack.region)
    name = stack.outputs()["autoScalingGroupName"]
    for _ in range(2 * len(old) + 5):  # each look moves the refresh one step forward
        [refresh] = client.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"]
        if refresh["Status"] not in ("Pending", "InProgress"):
            break
    assert refresh["Status"] == "Successful"
    group = group_of(stack)
    specification = group["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"]
    versions = {instance["LaunchTemplate"]["Version"] for instance in group["Instances"]}
    assert versions == {specification["Version"]} == {"2"}
    assert old.isdisjoint(instance["InstanceId"] for instance in group["Instances"])
