"""What shows people how the fleet does: one dashboard.

Owns its tables. Leaves logs to `logs` and what calls people to `alarms`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.alarms import BALANCER
from components.scaling_policies import GPU_UTILIZATION_METRIC
from components.tags import Tags
from gpufleet.planner.plan import DeploymentPlan

DEFAULT_LATENCY_PERCENTILE = "p90"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilityArgs:
    """The plan and the CloudWatch names of what is shown."""

    plan: DeploymentPlan
    group_name: pulumi.Output[str]
    load_balancer_arn_suffix: pulumi.Output[str]
    target_group_arn_suffix: pulumi.Output[str]
    tags: Tags


class Observability(pulumi.ComponentResource):
    """Dashboard of the fleet."""

    dashboard_name: pulumi.Output[str]

    def __init__(self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:observability:Observability", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.dashboard_name = self._create_dashboard().dashboard_name
        self.register_outputs({"dashboardName": self.dashboard_name})

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
