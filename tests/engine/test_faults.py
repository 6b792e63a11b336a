"""Faults on the way to a standing stack: each names its resource and a code of docs/recovery.md, and the next `up` goes on.

The faults are the emulator's. They strike one after the other in the life of one stack, whose resources are counted in
the end against what its state knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.engine.conftest import Deploy
from tests.engine.deployment import Deployment, assert_nothing_is_orphaned
from tests.engine.recovery_page import PAGE

STACK = "dev-us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A fault that ends an `up`: the resource or key that the message names, what it says, and the page's words for it."""

    fault: dict[str, Any]
    names: str
    says: str
    leads_to: str


FAILURES = (
    Failure(
        fault={"service": "ssm", "action": "GetParameter", "code": "ParameterNotFound"},
        names="instance.amiParameter",
        says="or pin an AMI with instance.ami",
        leads_to="ParameterNotFound",
    ),
    Failure(
        fault={"service": "ec2", "action": "CreateVpc", "code": "UnauthorizedOperation", "status": 403,
               "message": "You are not authorized to perform: ec2:CreateVpc"},
        names="gpufleet-vpc",
        says="UnauthorizedOperation",
        leads_to="UnauthorizedOperation",
    ),
    Failure(
        fault={"service": "ec2", "action": "CreateVpc", "code": "VpcLimitExceeded",
               "message": "The maximum number of VPCs has been reached."},
        names="gpufleet-vpc",
        says="VpcLimitExceeded",
        leads_to="VpcLimitExceeded",
    ),
    Failure(
        fault={"service": "elbv2", "action": "CreateLoadBalancer", "code": "AccessDenied", "status": 403,
               "message": "User is not authorized to perform: iam:CreateServiceLinkedRole"},
        names="gpufleet-lb",
        says="AccessDenied",
        leads_to="iam:CreateServiceLinkedRole",
    ),
    Failure(
        fault={"service": "autoscaling", "action": "CreateAutoScalingGroup", "code": "ValidationError",
               "message": "The image id '[ami-0]' does not exist"},
        names="gpufleet-group",
        says="ValidationError",
        leads_to="image id … does not exist",
    ),
)  # fmt: skip

PASSED_OVER = (
    {"service": "iam", "action": "CreateRole", "code": "Throttling", "times": 2},
    {"service": "ec2", "action": "CreateInternetGateway", "code": "RequestLimitExceeded", "status": 503, "times": 2},
    {"service": "logs", "action": "CreateLogGroup", "code": "ServiceUnavailableException", "status": 503, "times": 2},
    {"service": "cloudwatch", "action": "PutDashboard", "code": "InternalFailure", "status": 500, "after": True},
)
"""What the provider asks again for, the last one although it had worked: no `up` fails."""

NO_CAPACITY = (
    ("InsufficientInstanceCapacity", "We currently do not have sufficient g6.xlarge capacity"),
    ("VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit"),
)


def test_each_fault_says_what_it_is_and_the_next_up_goes_on(deploy: Deploy) -> None:
    stack = deploy(STACK)
    before = stack.resources()
    control = stack.emulator.control
    try:
        for fault in PASSED_OVER:
            control("POST", "faults", fault)
        for failure in FAILURES:
            control("POST", "faults", failure.fault)
            said = stack.refused("up")  # a fault that the provider asks again for would not be refused
            assert failure.names in said, failure
            assert failure.says in said, said
            assert failure.leads_to in PAGE, failure
        for code, message in NO_CAPACITY:
            control(
                "POST",
                "faults",
                {"service": "ec2", "action": "RunInstances", "code": code, "message": f"{code}. {message}"},
            )
        stack.run("up")
        assert_no_instance_came_up(stack)
        assert control("GET", "faults") == {"faults": []}
    finally:
        control("DELETE", "faults")
    stack.run("up", "--refresh", "--expect-no-changes", "--diff")
    assert_nothing_is_orphaned(stack)
    stack.destroy()
    assert stack.resources() == before


def assert_no_instance_came_up(stack: Deployment) -> None:
    """The group's activities have the reasons, which the page has too; then there is room again."""
    groups = stack.emulator.client("autoscaling", stack.region)
    group = {"AutoScalingGroupName": stack.outputs()["autoScalingGroupName"]}
    groups.set_desired_capacity(**group, DesiredCapacity=1)
    groups.set_desired_capacity(**group, DesiredCapacity=1)
    activities = groups.describe_scaling_activities(**group)["Activities"]
    failed = " ".join(a["StatusMessage"] for a in activities if a["StatusCode"] == "Failed")
    for code, _ in NO_CAPACITY:
        assert code in failed
        assert f"`{code}`" in PAGE
    [found] = groups.describe_auto_scaling_groups(AutoScalingGroupNames=[group["AutoScalingGroupName"]])[
        "AutoScalingGroups"
    ]
    assert len(found["Instances"]) == 1
