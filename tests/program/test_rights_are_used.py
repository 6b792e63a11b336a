"""The instances' role may do what its scripts and its agents do, and no more: their calls are read from what is rendered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from components.access import SESSION_MANAGER_ACTIONS
from gpufleet.planner.plan import DeploymentPlan
from templates.render import render_agent_config
from tests.program.conftest import Program

CALL = re.compile(r"(?<!in )\baws ([a-z][a-z0-9]+) ([a-z][a-z0-9-]*)|\blifecycle ([a-z]+-[a-z-]+)")
"""A call of the AWS CLI; `lifecycle` is the scripts' own word for those of `aws autoscaling` about this instance."""


def always(_: DeploymentPlan) -> bool:
    return True


def from_s3(plan: DeploymentPlan) -> bool:
    return plan.model.source.startswith("s3://")


def from_ecr(plan: DeploymentPlan) -> bool:
    return ".dkr.ecr." in plan.server.image


def of_service(service: str) -> Callable[[DeploymentPlan], bool]:
    return lambda plan: any(f":{service}:" in arn for arn in plan.server.secrets.values())


class Use(NamedTuple):
    """What a call needs, and whether an instance of a plan ever gets to it."""

    actions: frozenset[str]
    happens: Callable[[DeploymentPlan], bool] = always


def use(*actions: str, happens: Callable[[DeploymentPlan], bool] = always) -> Use:
    return Use(frozenset(actions), happens)


PULLING = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
CALLS = {
    "autoscaling complete-lifecycle-action": use("autoscaling:CompleteLifecycleAction"),
    "autoscaling record-lifecycle-action-heartbeat": use("autoscaling:RecordLifecycleActionHeartbeat"),
    "autoscaling terminate-instance-in-auto-scaling-group": use("autoscaling:TerminateInstanceInAutoScalingGroup"),
    "cloudwatch put-metric-data": use("cloudwatch:PutMetricData"),
    "ec2 describe-tags": use("ec2:DescribeTags"),
    # What docker calls with the password.
    "ecr get-login-password": use("ecr:GetAuthorizationToken", *PULLING, happens=from_ecr),
    "s3 cp": use("s3:GetObject", happens=from_s3),
    "s3api head-object": use("s3:GetObject", happens=from_s3),
    "s3api list-objects-v2": use("s3:ListBucket", happens=from_s3),
    "secretsmanager get-secret-value": use("secretsmanager:GetSecretValue", happens=of_service("secretsmanager")),
    "ssm get-parameter": use("ssm:GetParameter", happens=of_service("ssm")),
}
"""Every call that a script of some plan makes, with IAM's names for it (AWS, service authorization reference)."""

AGENT = {
    "metrics": {"cloudwatch:PutMetricData"},
    "logs": {"logs:CreateLogStream", "logs:PutLogEvents"},
    "${aws:AutoScalingGroupName}": {"ec2:DescribeTags"},
    "retention_in_days": {"logs:DescribeLogGroups", "logs:PutRetentionPolicy"},
}
"""What the CloudWatch agent calls for what its configuration has in it (aws/amazon-cloudwatch-agent, outputs/cloudwatchlogs
and translator)."""

SECRETS = {
    "HF_TOKEN": "arn:aws:ssm:us-east-1:123456789012:parameter/hf-token",
    "API_KEY": "arn:aws:secretsmanager:us-east-1:123456789012:secret:api-key-AbCdEf",
}
IN_S3 = {"id": "Qwen/Qwen3-8B", "precision": "fp16", "source": "s3://weights/qwen3"}
IN_ECR = {"image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/vllm:0.19.0", "engineVersion": "0.19.0"}
VARIANTS: dict[str, dict[str, object]] = {
    "least": {},
    "spot": {"instance": {"spotPercentage": 50}},
    "parameter": {"serving": {"secrets": {"HF_TOKEN": SECRETS["HF_TOKEN"]}}},
    "secret": {"serving": {"secrets": {"API_KEY": SECRETS["API_KEY"]}}},
    "s3": {"model": IN_S3},
    "ecr": {"serving": IN_ECR},
    "everything": {
        "model": IN_S3,
        "serving": IN_ECR | {"secrets": SECRETS},
        "instance": {"type": "g6.12xlarge", "spotPercentage": 50},
        "network": {"flowLogs": True, "accessLogs": True, "endpoints": ["ecr"]},
    },
}


def called(program: Program) -> set[str]:
    """The calls in the scripts of an instance."""
    found = CALL.finditer(program.scripts())
    return {f"autoscaling {match[3]}" if match[3] else f"{match[1]} {match[2]}" for match in found}


def needed(program: Program) -> set[str]:
    """The actions behind them, of those that happen, and what the agents call."""
    plan = program.run.plan
    actions = {a for call in called(program) if CALLS[call].happens(plan) for a in CALLS[call].actions}
    configuration = json.dumps(json.loads(render_agent_config(plan, log_group="/x")))
    of_agent = {action for word, used in AGENT.items() if f'"{word}"' in configuration for action in used}
    return actions | of_agent | set(SESSION_MANAGER_ACTIONS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_called_is_allowed_and_what_is_allowed_is_called(run, variant):
    program = run(**VARIANTS[variant])
    assert called(program) <= set(CALLS), "a call that no right is known for"
    assert program.actions() == needed(program)


def test_of_every_shipped_stack(stack):
    assert stack.actions() == needed(stack)


def test_every_call_is_made_by_some_plan(run):
    assert set().union(*(called(run(**sections)) for sections in VARIANTS.values())) == set(CALLS)


def test_nothing_asks_for_a_key_pair_or_lets_ssh_in(run):
    program = run(**VARIANTS["everything"])
    assert "keyName" not in program.one("LaunchTemplate")
    opened = {r.inputs["fromPort"] for r in program.of_type("SecurityGroupIngressRule")}
    assert opened == {80, 443, program.run.plan.server.port}
    assert program.actions() >= set(SESSION_MANAGER_ACTIONS)
