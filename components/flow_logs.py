"""Flow logs of the fleet's own VPC: who talked to whom, in CloudWatch Logs.

Owns their log group and the role that the VPC service writes with. A given VPC's are its owner's business.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.access import Statement, partition, policy_document
from components.logs import RETENTION_DAYS
from components.tags import Tags

AGGREGATION_SECONDS = 600
"""AWS's longer interval: the shorter one makes up to ten times the records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowLogsArgs:
    """The VPC, in its region and account, and the name of the log group."""

    vpc_id: pulumi.Input[str]
    region: str
    account_id: pulumi.Input[str]
    log_group_name: str
    tags: Tags
    protects: bool
    """Whether Pulumi refuses to delete what was logged."""


class FlowLogs(pulumi.ComponentResource):
    """All accepted and rejected traffic of one VPC."""

    def __init__(self, name: str, args: FlowLogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:flow_logs:FlowLogs", name, None, opts)
        child, tags = pulumi.ResourceOptions(parent=self), args.tags.named("flow-logs")
        group = aws.cloudwatch.LogGroup(
            f"{name}-flow-logs",
            name=args.log_group_name,
            retention_in_days=RETENTION_DAYS,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, protect=args.protects),
        )
        role = aws.iam.Role(
            f"{name}-flow-logs",
            description="Writes the flow logs of the inference fleet's VPC",
            assume_role_policy=pulumi.Output.from_input(args.account_id).apply(
                lambda account_id: policy_document([trust(args.region, account_id)])
            ),
            tags=tags,
            opts=child,
        )
        rights = aws.iam.RolePolicy(
            f"{name}-flow-logs",
            role=role.id,
            policy=group.arn.apply(lambda arn: policy_document(writing(arn))),
            opts=child,
        )
        aws.ec2.FlowLog(
            f"{name}-flow-logs",
            vpc_id=args.vpc_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            max_aggregation_interval=AGGREGATION_SECONDS,
            tags=tags,
            # AWS takes no second one with the same destination beside it.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[rights], delete_before_replace=True),
        )
        self.register_outputs({})


def trust(region: str, account_id: str) -> Statement:
    """The VPC service, for flow logs of this account alone."""
    flow_logs = f"arn:{partition(region)}:ec2:{region}:{account_id}:vpc-flow-log/*"
    return {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceAccount": account_id}, "ArnLike": {"aws:SourceArn": flow_logs}},
    }


def writing(log_group_arn: str) -> list[Statement]:
    """What the service calls, but for making the group, which stands already."""
    return [
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
            "Resource": [log_group_arn, f"{log_group_arn}:log-stream:*"],
        },
        {"Effect": "Allow", "Action": "logs:DescribeLogGroups", "Resource": "*"},
    ]
