"""Calls that work and whose answer is lost: docs/recovery.md, "What was made and is not in the state", on the engine.

The connection is dropped on one creation of every kind that a stack has. Between one `up` and the next the page's commands
find and delete what no state knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.emulator.running import PROJECT
from tests.engine.conftest import Deploy
from tests.engine.deployment import Deployment, assert_nothing_is_orphaned
from tests.engine.recovery_page import PAGE, aws, blocks, unknown, words

STACK = "dev-us-east-1"

_, DELETIONS = blocks("What was made and is not in the state")

LOST = {
    "autoscaling": ("CreateAutoScalingGroup", "EnableMetricsCollection", "PutLifecycleHook", "PutScalingPolicy"),
    "cloudwatch": ("PutDashboard", "PutMetricAlarm"),
    "ec2": (
        "AllocateAddress", "AssociateRouteTable", "AttachInternetGateway", "AuthorizeSecurityGroupEgress",
        "AuthorizeSecurityGroupIngress", "CreateInternetGateway", "CreateLaunchTemplate", "CreateNatGateway", "CreateRoute",
        "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateVpc", "CreateVpcEndpoint",
    ),
    "elbv2": ("CreateListener", "CreateLoadBalancer", "CreateTargetGroup"),
    "iam": ("AddRoleToInstanceProfile", "CreateInstanceProfile", "CreateRole", "PutRolePolicy"),
    "logs": ("CreateLogGroup", "PutRetentionPolicy"),
}  # fmt: skip
"""Calls that make something, by service: one of each does not answer."""

UPS = 15
"""More than are needed: each meets what the one before has left in its way."""


class Left(NamedTuple):
    """What no state knows: its id or name, and what the page's deletions of it need."""

    id: str
    deletions: dict[str, dict[str, str]]


def test_what_lost_answers_leave_is_found_and_deleted_and_the_stack_comes_up(deploy: Deploy) -> None:
    stack = deploy(STACK)
    before, control = stack.resources(), stack.emulator.control
    deleted: set[str] = set()
    try:
        for service, actions in LOST.items():
            for action in actions:
                control("POST", "faults", {"service": service, "action": action, "drop": True, "after": True})
        for _ in range(UPS):
            done = stack.execute(PROJECT, "up", "--yes", "--skip-preview", *stack.options())
            said = done.stdout + done.stderr
            deleted |= delete_left_over(stack, said)
            if done.returncode == 0:
                break
            assert_page_knows(said)
        assert done.returncode == 0, said
        assert control("GET", "faults") == {"faults": []}
    finally:
        control("DELETE", "faults")
    assert deleted == {operation for _, operation in map(named, DELETIONS)}
    stack.run("up", "--refresh", "--expect-no-changes", "--diff")
    assert_nothing_is_orphaned(stack)
    stack.destroy()
    assert stack.resources() == before


def assert_page_knows(said: str) -> None:
    """Each error of an `up` has a code of the page's."""
    codes = re.findall(r"`([A-Z][A-Za-z.]+)`", PAGE)
    errors = [line for line in re.findall(r"^\s+error: (.*)", said, re.M) if line != "update failed"]
    assert errors, said
    for error in errors:
        assert any(re.search(rf"\b{re.escape(code)}\b", error) for code in codes), error


def named(command: str) -> tuple[str, str]:
    """Service and operation of a command of the AWS CLI."""
    _, service, operation, *_ = words(command)
    return service, operation


def delete_left_over(stack: Deployment, said: str) -> set[str]:
    """Delete what no state knows, as the page does and in its order; the operations that were needed."""
    known = {resource.get("id") for resource in stack.state()}
    found = [*of_tag(stack), *of_groups(stack), *of_addresses(stack), *of_rules(stack), *of_iam(stack, said)]
    left = [*(left for left in found if left.id not in known), *of_routes(said)]
    used = set()
    for command in DELETIONS:
        _, operation = named(command)
        for one in left:
            if operation in one.deletions:
                aws(stack, command, **one.deletions[operation])
                used.add(operation)
    return used


def of_tag(stack: Deployment) -> Iterator[Left]:
    """What the page's search finds."""
    ec2 = stack.emulator.client("ec2", stack.region)
    living = {id_ for ids in stack.resources().values() for id_ in ids}
    for arn in unknown(stack):
        kind, _, id_ = arn.rpartition(":")[2].partition("/")
        match kind:
            case "internet-gateway":
                [gateway] = ec2.describe_internet_gateways(InternetGatewayIds=[id_])["InternetGateways"]
                deletions = {"delete-internet-gateway": {"ID": id_}}
                if attachments := gateway["Attachments"]:
                    deletions["detach-internet-gateway"] = {"ID": id_, "VPC": attachments[0]["VpcId"]}
                yield Left(id_, deletions)
            case "subnet" | "security-group" | "vpc":
                yield Left(id_, {f"delete-{kind}": {"ID": id_}})
            case _:
                name = arn.partition(":log-group:")[2]
                assert name or id_ not in living, f"the page has no deletion for {arn}"
                yield Left(name or id_, {"delete-log-group": {"NAME": name}} if name else {})


def of_groups(stack: Deployment) -> Iterator[Left]:
    groups = stack.emulator.client("autoscaling", stack.region)
    for group in groups.describe_auto_scaling_groups(Filters=filters(stack))["AutoScalingGroups"]:
        name = group["AutoScalingGroupName"]
        yield Left(name, {"delete-auto-scaling-group": {"NAME": name}})


def of_addresses(stack: Deployment) -> Iterator[Left]:
    """AWS's search has them, the emulator's has not."""
    ec2 = stack.emulator.client("ec2", stack.region)
    for address in ec2.describe_addresses(Filters=filters(stack))["Addresses"]:
        yield Left(address["AllocationId"], {"release-address": {"ID": address["AllocationId"]}})


def of_rules(stack: Deployment) -> Iterator[Left]:
    ec2 = stack.emulator.client("ec2", stack.region)
    tag = {"Key": "gpufleet:stack", "Value": stack.stack}
    for rule in ec2.describe_security_group_rules()["SecurityGroupRules"]:
        if tag in rule.get("Tags", []):
            names = {"GROUP": rule["GroupId"], "ID": rule["SecurityGroupRuleId"]}
            direction = "egress" if rule["IsEgress"] else "ingress"
            yield Left(names["ID"], {f"revoke-security-group-{direction}": names})


def of_iam(stack: Deployment, said: str) -> Iterator[Left]:
    """Roles and profiles: an error has their names."""
    iam = stack.emulator.client("iam", stack.region)
    for name in set(re.findall(r"EntityAlreadyExists: Role with name (\S+)", said)):
        yield Left(name, {"delete-role": {"NAME": name}})
    for name in set(re.findall(r"Instance Profile \(?([\w-]+)\)?[: ].*(?:EntityAlreadyExists|LimitExceeded)", said)):
        deletions = {"delete-instance-profile": {"NAME": name}}
        if roles := iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]:
            deletions["remove-role-from-instance-profile"] = {"NAME": name, "ROLE": roles[0]["RoleName"]}
        yield Left(name, deletions)


def of_routes(said: str) -> Iterator[Left]:
    """The error has their table."""
    for table in set(re.findall(r"Route Table \((rtb-\w+)\).*already exists", said)):
        yield Left(table, {"delete-route": {"TABLE": table}})


def filters(stack: Deployment) -> list[dict[str, Any]]:
    """For what has the stack's tag."""
    return [{"Name": "tag:gpufleet:stack", "Values": [stack.stack]}]
