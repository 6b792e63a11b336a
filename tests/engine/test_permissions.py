"""What the workflows' roles may do (docs/iam) is what the workflows do: recorded, not claimed.

Two stacks stand side by side, a shipped one and one with every optional part in a given VPC, their state in S3 and its
key in KMS as docs/ci.md sets them up. What is done to them is what the workflows do; the emulator keeps the calls.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpufleet.emulator.ssm import PUBLIC_IMAGES
from tests.emulator.running import PROJECT, Emulator
from tests.engine.deployment import Deployment, initialise
from tests.iam.policies import allowed_actions, allows_on, as_list, statements

REGION = "us-east-1"
BUCKET = "gpufleet-state-111122223333"
KEY_ALIAS = "alias/gpufleet-state"

SHIPPED = "dev-us-east-1"
OWN_NETWORK = {"natPerZone": False, "endpoints": ["ecr", "ssm"], "flowLogs": True, "accessLogs": True}
"""Everything that a VPC of the stack's own can have; a gateway per zone comes with the change."""
FULL = "full-us-east-1"
AMI_PARAMETER = "/images/gpu"
FULL_CONFIG: dict[str, Any] = {
    "aws:region": REGION,
    "gpufleet:model": {
        "id": "Qwen/Qwen3-8B",
        "parameters": "8.19B",
        "precision": "fp16",
        "source": "s3://weights-of-ours/qwen3-8b",
    },
    "gpufleet:serving": {
        "image": "111122223333.dkr.ecr.us-east-1.amazonaws.com/vllm-openai:v0.19.0",
        "engineVersion": "0.19.0",
        "secrets": {"HF_TOKEN": "arn:aws:ssm:us-east-1:111122223333:parameter/hf-token"},
    },
    "gpufleet:instance": {"amiParameter": AMI_PARAMETER, "onDemandBase": 1, "spotPercentage": 50},
    "gpufleet:scaling": {
        "min": 1,
        "max": 2,
        "cpuUtilization": 60,
        "requestsPerTarget": 90,
        "waitingRequests": 2,
        "latency": {"percentile": "p90", "target": "2s"},
        "schedules": [{"name": "day", "days": ["mon-fri"], "time": "07:30", "timeZone": "Europe/Dublin", "min": 2}],
    },
    "gpufleet:alarms": {"emails": ["oncall@example.com"]},
    "gpufleet:network": {
        "vpcId": "vpc-0123456789abcdef0",
        "subnetIds": ["subnet-0000000000000000a", "subnet-0000000000000000b"],
        "loadBalancerSubnetIds": ["subnet-0000000000000000c", "subnet-0000000000000000d"],
        "internal": False,
        "allowedCidrs": ["203.0.113.0/24"],
        "certificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012",
    },
}

IAM_PREFIXES = {"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
"""Where IAM calls a service otherwise than its API does."""

TAGGED_AT_CREATION = "a resource is created with its tags, and that needs this right too"
CHANGED_IN_PLACE = "a change in place that the test's provider does not complete, or that needs another plan"
NOT_RECORDED = {
    "autoscaling:AttachLoadBalancerTargetGroups": CHANGED_IN_PLACE,
    "autoscaling:AttachTrafficSources": CHANGED_IN_PLACE,
    "autoscaling:CancelInstanceRefresh": "a change while instances are still being replaced",
    "autoscaling:CreateOrUpdateTags": TAGGED_AT_CREATION,
    "autoscaling:DeleteTags": CHANGED_IN_PLACE,
    "autoscaling:DescribeInstanceRefreshes": "a change while instances are still being replaced",
    "autoscaling:DetachLoadBalancerTargetGroups": CHANGED_IN_PLACE,
    "autoscaling:DetachTrafficSources": CHANGED_IN_PLACE,
    "cloudwatch:TagResource": TAGGED_AT_CREATION,
    "cloudwatch:UntagResource": CHANGED_IN_PLACE,
    "ec2:DeleteTags": CHANGED_IN_PLACE,
    "ec2:DescribeAccountAttributes": "the load balancer's service asks on the caller's behalf",
    "ec2:ModifySecurityGroupRules": CHANGED_IN_PLACE,
    "ec2:ModifyVpcEndpoint": CHANGED_IN_PLACE,
    "ec2:ReplaceRoute": CHANGED_IN_PLACE,
    "ec2:RunInstances": "AWS asks for it when a group with a launch template is made",
    "elasticloadbalancing:AddTags": TAGGED_AT_CREATION,
    "elasticloadbalancing:ModifyListener": CHANGED_IN_PLACE,
    "elasticloadbalancing:ModifyTargetGroup": CHANGED_IN_PLACE,
    "elasticloadbalancing:RemoveTags": CHANGED_IN_PLACE,
    "elasticloadbalancing:SetSecurityGroups": CHANGED_IN_PLACE,
    "elasticloadbalancing:SetSubnets": CHANGED_IN_PLACE,
    "events:TagResource": TAGGED_AT_CREATION,
    "events:UntagResource": CHANGED_IN_PLACE,
    "iam:CreateServiceLinkedRole": "the first group or load balancer of an account",
    "iam:PassRole": "the instances' role goes into a profile and a launch template",
    "iam:TagInstanceProfile": TAGGED_AT_CREATION,
    "iam:TagRole": TAGGED_AT_CREATION,
    "iam:UntagInstanceProfile": CHANGED_IN_PLACE,
    "iam:UntagRole": CHANGED_IN_PLACE,
    "logs:TagResource": TAGGED_AT_CREATION,
    "logs:UntagResource": CHANGED_IN_PLACE,
    "sns:TagResource": TAGGED_AT_CREATION,
    "sns:UntagResource": CHANGED_IN_PLACE,
}
"""Actions that a deployment needs in an account and that no call to the emulator shows, with the reason."""


def test_each_role_may_do_what_its_workflows_do_and_no_more(pulumi: str, emulator: Emulator, tmp_path: Path) -> None:
    stacks = make_stacks(pulumi, emulator, tmp_path)
    record = Recorder(emulator)

    deployed = record(lambda: at_once(lambda stack: stack.run("up"), stacks))
    arns = {arn for stack in stacks for arn in arns_in_state(stack)}
    previewed = record(lambda: at_once(lambda stack: (stack.run("preview"), stack.outputs()), stacks))
    checked = record(lambda: at_once(check_drift, stacks))
    shipped, full = stacks
    assert_drift_is_found(shipped, full)
    deployed |= record(lambda: change(shipped))
    deployed |= record(lambda: shipped.run("refresh"))
    deployed |= record(lambda: at_once(lambda stack: stack.run("destroy"), stacks))

    may_preview, may_deploy = allowed_actions("preview"), allowed_actions("deploy")
    assert previewed | checked <= may_preview, "a preview or a drift check is denied"
    assert may_preview <= previewed | checked, "previews may do what they never do"
    assert deployed | previewed | checked <= may_deploy, "a deployment is denied"
    assert may_deploy - deployed - previewed - checked == set(NOT_RECORDED), "deployments may do what they never do"
    assert_named_resources_are_ours(arns)


class Recorder:
    """What is called while something is done, as IAM's actions."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def __call__(self, do: Callable[[], object]) -> set[str]:
        self._emulator.control("DELETE", "calls")
        do()
        calls = self._emulator.control("GET", "calls")["calls"]
        return {f"{IAM_PREFIXES.get(call['service'], call['service'])}:{call['action']}" for call in calls}


def make_stacks(pulumi: str, emulator: Emulator, directory: Path) -> tuple[Deployment, Deployment]:
    """Both stacks, empty, with what docs/ci.md says to make once: a bucket and a key."""
    emulator.client("s3", REGION).create_bucket(Bucket=BUCKET)
    kms = emulator.client("kms", REGION)
    kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    network = FULL_CONFIG["gpufleet:network"]
    standins = {
        "region": REGION,
        "vpc_id": network["vpcId"],
        "subnet_ids": network["subnetIds"],
        "load_balancer_subnet_ids": network["loadBalancerSubnetIds"],
        "certificate_arn": network["certificateArn"],
        "ami_parameter": AMI_PARAMETER,
    }
    emulator.control("POST", "standins", standins)
    document = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{SHIPPED}.yaml").read_text())
    local = f"region={REGION}&disableSSL=true&endpoint={emulator.endpoint.removeprefix('http://')}"

    def make(stack: str, config: dict[str, Any]) -> Deployment:
        (directory / stack).mkdir()
        backend = f"s3://{BUCKET}?{local}&s3ForcePathStyle=true"
        deployment = Deployment(pulumi, stack, directory / stack, emulator, backend=backend)
        initialise(deployment, config, "--secrets-provider", f"awskms://{KEY_ALIAS}?{local}")
        return deployment

    return make(SHIPPED, {**document["config"], "gpufleet:network": OWN_NETWORK}), make(FULL, FULL_CONFIG)


def at_once(do: Callable[[Deployment], object], stacks: Iterable[Deployment]) -> None:
    """Do it to all of them, side by side: most of it is waiting for load balancers."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(do, stacks))


def check_drift(stack: Deployment) -> None:
    """As drift.yml does it; fails where it does."""
    stack.run("preview", "--refresh", "--expect-no-changes")


def assert_drift_is_found(shipped: Deployment, full: Deployment) -> None:
    """The policies may move the group; a change by hand and a newer image are found. All is put back."""
    groups = shipped.emulator.client("autoscaling", REGION)
    group: dict[str, Any] = {"AutoScalingGroupName": shipped.outputs()["autoScalingGroupName"]}
    groups.set_desired_capacity(**group, DesiredCapacity=2)
    check_drift(shipped)
    groups.update_auto_scaling_group(**group, MaxSize=7)
    with pytest.raises(AssertionError, match="no changes were expected"):
        check_drift(shipped)
    groups.update_auto_scaling_group(**group, MaxSize=2)

    parameters = full.emulator.client("ssm", REGION)
    image = parameters.get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]
    newer = PUBLIC_IMAGES[1].image_id(REGION)
    assert newer != image
    parameters.put_parameter(Name=AMI_PARAMETER, Value=newer, Overwrite=True)
    with pytest.raises(AssertionError, match="no changes were expected"):
        check_drift(full)
    parameters.put_parameter(Name=AMI_PARAMETER, Value=image, Overwrite=True)


def change(stack: Deployment) -> None:
    """A change that makes a new version of the template, and policies, alarms and rights that were not there."""
    config = stack.config()
    stack.configure(
        network=config["gpufleet:network"] | {"natPerZone": True, "endpoints": ["ecr"]},
        scaling=config["gpufleet:scaling"] | {"max": 3, "gpuUtilization": 60, "latency": {"target": "2s"}},
        serving=config["gpufleet:serving"] | {"maxNumSeqs": 8, "secrets": FULL_CONFIG["gpufleet:serving"]["secrets"]},
    )
    stack.run("up")


def arns_in_state(stack: Deployment) -> set[str]:
    """The ARNs of everything that stands, as Pulumi knows them; a scaling policy is its group's in IAM's eyes."""
    state = json.loads(stack.command(stack.directory, "stack", "export", "--stack", stack.stack))
    outputs = [resource.get("outputs", {}) for resource in state["deployment"]["resources"]]
    arns = {found[key] for found in outputs for key in ("arn", "dashboardArn") if key in found}
    return {arn for arn in arns if arn and ":scalingPolicy:" not in arn}


def assert_named_resources_are_ours(arns: set[str]) -> None:
    """Patterns that hold names match the names that Pulumi gives, and none is left over."""
    patterns = {
        pattern
        for statement in statements("deploy")
        for pattern in as_list(statement["Resource"])
        if "gpufleet" in pattern and ":s3:" not in pattern
    }
    unused = {pattern for pattern in patterns if not any(fnmatchcase(arn, pattern) for arn in arns)}
    assert not unused, "patterns that match nothing that stands"
    may = allowed_actions("deploy")
    for arn in arns:
        service = arn.split(":")[2]
        changing = {action for action in may if action.startswith((f"{service}:Delete", f"{service}:Release"))}
        assert allows_on("deploy", changing, arn), f"a deployment may not delete {arn}"
