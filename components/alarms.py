"""The fleet's alarms: which they are, and which of them end a rollout.

Owns their table. Made before the fleet, whose instance refresh names them. Leaves the alarm that moves capacity to
`scaling_policies`, and the dashboard to `observability`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner.plan import DeploymentPlan

BALANCER = "AWS/ApplicationELB"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmsArgs:
    """The plan and the CloudWatch names of what is watched. `actions` are ARNs to notify; none by default."""

    plan: DeploymentPlan
    load_balancer_arn_suffix: pulumi.Output[str]
    target_group_arn_suffix: pulumi.Output[str]
    tags: Tags
    actions: Sequence[pulumi.Input[str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One row of the alarms: a metric of the load balancer, and when it is bad."""

    name: str
    description: str
    metric: str
    statistic: str
    comparison: str
    threshold: float
    minutes: int
    missing: str = "notBreaching"
    of_target_group: bool = True
    ends_rollout: bool = True
    """Whether an instance refresh stops for it."""


def alarms(plan: DeploymentPlan) -> tuple[Alarm, ...]:
    """What to be told about. A fleet that may be empty has no instance to miss."""
    load_minutes = math.ceil(plan.timing.health_check_grace_period_seconds / 60)
    no_healthy = Alarm(
        name="no-healthy-instance",
        description="No instance answers the health check",
        metric="HealthyHostCount", statistic="Maximum", comparison="LessThanThreshold",
        threshold=1, minutes=5, missing="breaching",
    )  # fmt: skip
    unhealthy = Alarm(
        name="unhealthy-instances",
        description="An instance fails its health check for longer than the model takes to load",
        metric="UnHealthyHostCount", statistic="Minimum", comparison="GreaterThanThreshold",
        threshold=0, minutes=load_minutes + 5, ends_rollout=False,
    )  # fmt: skip
    server_errors = Alarm(
        name="server-errors",
        description="The model server answers requests with errors (5xx)",
        metric="HTTPCode_Target_5XX_Count", statistic="Sum", comparison="GreaterThanThreshold",
        threshold=5, minutes=3,
    )  # fmt: skip
    balancer_errors = Alarm(
        name="gateway-errors",
        description="The load balancer answers for the fleet (502, 503, 504)",
        metric="HTTPCode_ELB_5XX_Count", statistic="Sum", comparison="GreaterThanThreshold",
        threshold=5, minutes=3, of_target_group=False,
    )  # fmt: skip
    return (*([no_healthy] if plan.capacity.min > 0 else []), unhealthy, server_errors, balancer_errors)


class Alarms(pulumi.ComponentResource):
    """The alarms of the fleet."""

    ending_rollouts: list[pulumi.Output[str]]
    """Names of those that stop an instance refresh. An instance that still loads is none of their reasons."""

    def __init__(self, name: str, args: AlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:alarms:Alarms", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        made = {alarm: self._create(alarm) for alarm in alarms(args.plan)}
        self.ending_rollouts = [resource.name for alarm, resource in made.items() if alarm.ends_rollout]
        self.register_outputs({"endingRollouts": self.ending_rollouts})

    def _create(self, alarm: Alarm) -> aws.cloudwatch.MetricAlarm:
        dimensions: dict[str, pulumi.Input[str]] = {"LoadBalancer": self._args.load_balancer_arn_suffix}
        if alarm.of_target_group:
            dimensions["TargetGroup"] = self._args.target_group_arn_suffix
        return aws.cloudwatch.MetricAlarm(
            f"{self._name}-{alarm.name}",
            alarm_description=alarm.description,
            namespace=BALANCER,
            metric_name=alarm.metric,
            dimensions=dimensions,
            statistic=alarm.statistic,
            comparison_operator=alarm.comparison,
            threshold=alarm.threshold,
            period=60,
            evaluation_periods=alarm.minutes,
            treat_missing_data=alarm.missing,
            alarm_actions=self._args.actions or None,
            tags=self._args.tags.named(alarm.name),
            opts=self._child,
        )
