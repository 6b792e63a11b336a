"""The fleet's log group: apart from the alarms because the instances' role names it before there is a fleet."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.tags import Tags

RETENTION_DAYS = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsArgs:
    """Name of the log group, fixed so that a preview shows the user data as it will be; and how long it keeps logs."""

    log_group_name: str
    tags: Tags
    protects: bool
    """Whether Pulumi refuses to delete it."""
    retention_days: int = RETENTION_DAYS


class Logs(pulumi.ComponentResource):
    """One log group for the stack."""

    log_group_name: pulumi.Output[str]
    log_group_arn: pulumi.Output[str]

    def __init__(self, name: str, args: LogsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:logs:Logs", name, None, opts)
        group = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=args.log_group_name,
            retention_in_days=args.retention_days,
            tags=args.tags.named("logs"),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protects),
        )
        self.log_group_name = group.name
        self.log_group_arn = group.arn
        self.register_outputs({"logGroupName": self.log_group_name, "logGroupArn": self.log_group_arn})
