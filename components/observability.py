"""What tells people how the fleet does: alarms and one dashboard.

Owns their tables. Leaves logs to `logs` and the alarm that moves capacity to `scaling_policies`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.scaling_policies import GPU_UTILIZATION_METRIC
from components.tags import Tags
from gpufleet.planner.plan import DeploymentPlan

BALANCER = "AWS/ApplicationELB"
DEFAULT_LATENCY_PERCENTILE = "p90"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilityArgs:
    """The plan and the CloudWatch names of what is watched. `alarm_actions` are ARNs to notify; none by default."""

    plan: DeploymentPlan
    group_name: pulumi.Output[str]
    load_balancer_arn_suffix: pulumi.Output[str]
    target_group_arn_suffix: pulumi.Output[str]
    tags: Tags
    alarm_actions: Sequence[pulumi.Input[str]] = ()


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
        threshold=0, minutes=load_minutes + 5,
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


class Observability(pulumi.ComponentResource):
    """Alarms and dashboard of the fleet."""

    dashboard_name: pulumi.Output[str]

    def __init__(self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:observability:Observability", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        for alarm in alarms(args.plan):
            self._create_alarm(alarm)
        self.dashboard_name = self._create_dashboard().dashboard_name
        self.register_outputs({"dashboardName": self.dashboard_name})

    def _create_alarm(self, alarm: Alarm) -> None:
        dimensions: dict[str, pulumi.Input[str]] = {"LoadBalancer": self._args.load_balancer_arn_suffix}
        if alarm.of_target_group:
            dimensions["TargetGroup"] = self._args.target_group_arn_suffix
        aws.cloudwatch.MetricAlarm(
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
            alarm_actions=self._args.alarm_actions or None,
            tags=self._args.tags.named(alarm.name),
            opts=self._child,
        )

    def _create_dashboard(self) -> aws.cloudwatch.Dashboard:
        args = self._args
        return aws.cloudwatch.Dashboard(
            f"{self._name}-dashboard",
            # Dashboards carry no tags: the name says whose it is. It may hold no dot.
            dashboard_name=f"gpufleet-{args.tags.stack}".replace(".", "-"),
            dashboard_body=pulumi.Output.all(
                group=args.group_name, balancer=args.load_balancer_arn_suffix, targets=args.target_group_arn_suffix
            ).apply(lambda names: dashboard_body(args.plan, names)),
            opts=self._child,
        )


def dashboard_body(plan: DeploymentPlan, names: Mapping[str, str]) -> str:
    """The dashboard's JSON. `names` are the CloudWatch names of the group, the load balancer and the target group."""
    percentile = plan.scaling.latency.percentile if plan.scaling.latency else DEFAULT_LATENCY_PERCENTILE
    of_group = ["AutoScalingGroupName", names["group"]]
    of_balancer = ["LoadBalancer", names["balancer"]]
    of_targets = ["TargetGroup", names["targets"], *of_balancer]
    namespace = plan.scaling.metric_namespace
    rows: tuple[tuple[str, str, list[list[Any]]], ...] = (
        (
            "GPU utilisation and memory (%)",
            "Average",
            [
                [namespace, GPU_UTILIZATION_METRIC, *of_group],
                [{"expression": "100 * used / total", "label": "GPU memory in use"}],
                [namespace, "nvidia_smi_memory_used", *of_group, {"id": "used", "visible": False}],
                [namespace, "nvidia_smi_memory_total", *of_group, {"id": "total", "visible": False}],
                ["AWS/EC2", "CPUUtilization", *of_group],
            ],
        ),
        (
            "Response time (s)",
            percentile,
            [
                [BALANCER, "TargetResponseTime", *of_targets, {"stat": "p50"}],
                [BALANCER, "TargetResponseTime", *of_targets],
            ],
        ),
        (
            "Requests and errors (per minute)",
            "Sum",
            [
                [BALANCER, "RequestCount", *of_targets],
                [BALANCER, "HTTPCode_Target_5XX_Count", *of_targets],
                [BALANCER, "HTTPCode_ELB_5XX_Count", *of_balancer],
            ],
        ),
        (
            "Instances",
            "Maximum",
            [
                ["AWS/AutoScaling", "GroupInServiceInstances", *of_group],
                ["AWS/AutoScaling", "GroupDesiredCapacity", *of_group],
                [BALANCER, "HealthyHostCount", *of_targets],
            ],
        ),
    )
    widgets = [
        {
            "type": "metric",
            "x": 12 * (i % 2),
            "y": 6 * (i // 2),
            "width": 12,
            "height": 6,
            "properties": {
                "title": title, "metrics": metrics, "stat": stat,
                "period": 60, "region": plan.region, "view": "timeSeries",
            },
        }
        for i, (title, stat, metrics) in enumerate(rows)
    ]  # fmt: skip
    return json.dumps({"widgets": widgets})
