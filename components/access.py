"""What an instance may do in the account: one role, one small policy for each purpose.

Owns the statements. No managed policy is attached, no action is a wildcard, and a policy exists only where the plan
has a use for it. Where a secret or a bucket is encrypted with a customer-managed key, that key's own policy must admit
the role.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import pulumi
import pulumi_aws as aws

from components.tags import STACK_TAG, Tags
from gpufleet.planner.plan import DeploymentPlan

Statement = dict[str, Any]

SESSION_MANAGER_ACTIONS = (
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
)
"""The least that Session Manager needs (AWS Systems Manager, instance permissions for Session Manager). Run Command, State
Manager and Patch Manager need more, and do nothing here."""

ECR_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<repository>[^:@]+)"
)

SECRET_ACTIONS = {"ssm": "ssm:GetParameter", "secretsmanager": "secretsmanager:GetSecretValue"}
"""By the service in the secret's ARN."""

PARTITION_BY_REGION_PREFIX = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


def partition(region: str) -> str:
    """The ARN partition of a region."""
    return next((p for prefix, p in PARTITION_BY_REGION_PREFIX.items() if region.startswith(prefix)), "aws")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessArgs:
    """The plan, whose needs become rights, and the log group that instances write to."""

    plan: DeploymentPlan
    log_group_arn: pulumi.Output[str]
    tags: Tags


class Access(pulumi.ComponentResource):
    """Role and instance profile of the fleet's instances."""

    instance_profile_name: pulumi.Output[str]
    role_arn: pulumi.Output[str]

    def __init__(self, name: str, args: AccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:access:Access", name, None, opts)
        self._name, self._child = name, pulumi.ResourceOptions(parent=self)
        role = self._create_role(args.tags)
        self._grant(role, "session-manager", [session_manager()])
        self._grant(role, "telemetry", args.log_group_arn.apply(lambda arn: telemetry(args.plan, arn)))
        group = GroupOfPlan(region=args.plan.region, stack=args.tags.stack, fleet=name)
        self._grant(role, "lifecycle", lifecycle(group))
        for purpose, statements in self._optional_policies(args.plan, group).items():
            if statements:
                self._grant(role, purpose, statements)
        profile = aws.iam.InstanceProfile(
            f"{name}-profile", role=role.name, tags=args.tags.named("instance"), opts=self._child
        )
        self.instance_profile_name = profile.name
        self.role_arn = role.arn
        self.register_outputs({"instanceProfileName": self.instance_profile_name, "roleArn": self.role_arn})

    def _create_role(self, tags: Tags) -> aws.iam.Role:
        return aws.iam.Role(
            f"{self._name}-instance",
            description="Instances of the inference fleet",
            assume_role_policy=policy_document(
                [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}]
            ),
            tags=tags.named("instance"),
            opts=self._child,
        )

    @staticmethod
    def _optional_policies(plan: DeploymentPlan, group: GroupOfPlan) -> dict[str, list[Statement]]:
        return {"secrets": secrets(plan), "weights": weights(plan), "images": images(plan), "spot": spot(plan, group)}

    def _grant(self, role: aws.iam.Role, purpose: str, statements: pulumi.Input[list[Statement]]) -> None:
        aws.iam.RolePolicy(
            f"{self._name}-{purpose}",
            role=role.id,
            policy=pulumi.Output.from_input(statements).apply(policy_document),
            opts=self._child,
        )


def policy_document(statements: list[Statement]) -> str:
    """An IAM policy as JSON text."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def session_manager() -> Statement:
    """Sessions and port forwarding, instead of SSH. These actions know no narrower resource."""
    return {"Effect": "Allow", "Action": list(SESSION_MANAGER_ACTIONS), "Resource": "*"}


def telemetry(plan: DeploymentPlan, log_group_arn: str) -> list[Statement]:
    """The CloudWatch agent: metrics of one namespace, streams of one log group, and its own group's name (a tag). It makes no
    group and sets no retention, so it asks for neither; nor does it look for streams before it makes its own."""
    return [
        {
            "Effect": "Allow",
            "Action": "cloudwatch:PutMetricData",
            "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": plan.scaling.metric_namespace}},
        },
        {"Effect": "Allow", "Action": "ec2:DescribeTags", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": [log_group_arn, f"{log_group_arn}:log-stream:*"],
        },
    ]


class GroupOfPlan(NamedTuple):
    """The fleet's group. It is made after the role: it is known by how its name begins, and by its stack."""

    region: str
    stack: str
    fleet: str

    def allow(self, actions: list[str]) -> Statement:
        """These actions on it alone."""
        groups = f"autoscaling:{self.region}:*:autoScalingGroup:*:autoScalingGroupName/{self.fleet}-group-*"
        return {
            "Effect": "Allow",
            "Action": actions,
            "Resource": f"arn:{partition(self.region)}:{groups}",
            "Condition": {"StringEquals": {f"aws:ResourceTag/{STACK_TAG}": self.stack}},
        }


def lifecycle(group: GroupOfPlan) -> list[Statement]:
    """Telling its own group that it serves, or that it is drained."""
    return [group.allow(["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"])]


def spot(plan: DeploymentPlan, group: GroupOfPlan) -> list[Statement]:
    """Leaving the group ahead of time, where EC2 may take instances back."""
    if not plan.capacity.spot_percentage:
        return []
    return [group.allow(["autoscaling:TerminateInstanceInAutoScalingGroup"])]


def secrets(plan: DeploymentPlan) -> list[Statement]:
    """Reading exactly the secrets that the stack names."""
    arns_by_service: dict[str, list[str]] = {}
    for arn in sorted(set(plan.server.secrets.values())):
        arns_by_service.setdefault(arn.split(":")[2], []).append(arn)
    return [
        {"Effect": "Allow", "Action": SECRET_ACTIONS[service], "Resource": arns}
        for service, arns in sorted(arns_by_service.items())
    ]


def weights(plan: DeploymentPlan) -> list[Statement]:
    """Reading the checkpoint, where it lies in S3: objects below the prefix, and their listing."""
    if not plan.model.source.startswith("s3://"):
        return []
    bucket, _, prefix = plan.model.source.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    below = f"{prefix}/*" if prefix else "*"
    bucket_arn = f"arn:{partition(plan.region)}:s3:::{bucket}"
    listing: Statement = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket_arn}
    if prefix:
        listing["Condition"] = {"StringLike": {"s3:prefix": [prefix, below]}}
    return [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{bucket_arn}/{below}"}, listing]


def images(plan: DeploymentPlan) -> list[Statement]:
    """Pulling the containers' images, where they lie in ECR. Logging in knows no narrower resource."""
    names = [plan.server.image, *([plan.proxy.image] if plan.proxy else [])]
    found = sorted({m.group("region", "account", "repository") for n in names if (m := ECR_IMAGE.match(n))})
    if not found:
        return []
    return [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            "Resource": [
                f"arn:{partition(region)}:ecr:{region}:{account}:repository/{repository}"
                for region, account, repository in found
            ],
        },
    ]
