"""What moves the fleet between its bounds.

Owns the policies and the alarm behind the latency policy. Target tracking adds and removes instances; the latency
policy only adds, because latency does not fall in proportion to capacity.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner.plan import DeploymentPlan, LatencyPolicy

GPU_UTILIZATION_METRIC = "nvidia_smi_utilization_gpu"
"""Published by the CloudWatch agent of every instance, aggregated over the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPoliciesArgs:
    """The plan, the group to move, and the CloudWatch names of the load balancer and its target group."""

    plan: DeploymentPlan
    group_name: pulumi.Output[str]
    load_balancer_arn_suffix: pulumi.Input[str]
    target_group_arn_suffix: pulumi.Input[str]
    tags: Tags


class ScalingPolicies(pulumi.ComponentResource):
    """The policies that the plan asks for; each is left out where it asks for none."""

    def __init__(self, name: str, args: ScalingPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:scaling_policies:ScalingPolicies", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        scaling = args.plan.scaling
        if scaling.gpu_utilization_percent is not None:
            self._track_gpu_utilization(scaling.gpu_utilization_percent, scaling.metric_namespace)
        if scaling.cpu_utilization_percent is not None:
            self._track_cpu_utilization(scaling.cpu_utilization_percent)
        if scaling.latency is not None:
            self._add_capacity_while_slow(scaling.latency)
        self.register_outputs({})

    def _track_gpu_utilization(self, percent: float, namespace: str) -> None:
        aws.autoscaling.Policy(
            f"{self._name}-gpu-utilization",
            autoscaling_group_name=self._args.group_name,
            policy_type="TargetTrackingScaling",
            target_tracking_configuration={
                "target_value": percent,
                "customized_metric_specification": {
                    "namespace": namespace,
                    "metric_name": GPU_UTILIZATION_METRIC,
                    "metric_dimensions": [{"name": "AutoScalingGroupName", "value": self._args.group_name}],
                    "statistic": "Average",
                },
            },
            opts=self._child,
        )

    def _track_cpu_utilization(self, percent: float) -> None:
        aws.autoscaling.Policy(
            f"{self._name}-cpu-utilization",
            autoscaling_group_name=self._args.group_name,
            policy_type="TargetTrackingScaling",
            target_tracking_configuration={
                "target_value": percent,
                "predefined_metric_specification": {"predefined_metric_type": "ASGAverageCPUUtilization"},
            },
            opts=self._child,
        )

    def _add_capacity_while_slow(self, latency: LatencyPolicy) -> None:
        policy = aws.autoscaling.Policy(
            f"{self._name}-latency",
            autoscaling_group_name=self._args.group_name,
            policy_type="StepScaling",
            adjustment_type="PercentChangeInCapacity",
            min_adjustment_magnitude=1,
            metric_aggregation_type="Average",
            estimated_instance_warmup=self._args.plan.timing.instance_warmup_seconds,
            step_adjustments=[
                {
                    "metric_interval_lower_bound": f"{step.lower_bound_seconds:g}",
                    "metric_interval_upper_bound": (
                        None if step.upper_bound_seconds is None else f"{step.upper_bound_seconds:g}"
                    ),
                    "scaling_adjustment": step.adjustment_percent,
                }
                for step in latency.steps
            ],
            opts=self._child,
        )
        aws.cloudwatch.MetricAlarm(
            f"{self._name}-slow",
            alarm_description=f"{latency.percentile} response time above {latency.target_seconds:g} s: adds instances",
            namespace="AWS/ApplicationELB",
            metric_name="TargetResponseTime",
            dimensions={
                "LoadBalancer": self._args.load_balancer_arn_suffix,
                "TargetGroup": self._args.target_group_arn_suffix,
            },
            extended_statistic=latency.percentile,
            comparison_operator="GreaterThanThreshold",
            threshold=latency.target_seconds,
            period=latency.period_seconds,
            evaluation_periods=latency.evaluation_periods,
            datapoints_to_alarm=latency.datapoints_to_alarm,
            # No requests, no response time: that is not slow, and neither is a single slow request in a quiet minute.
            treat_missing_data="notBreaching",
            evaluate_low_sample_count_percentiles="ignore",
            alarm_actions=[policy.arn],
            tags=self._args.tags.named("slow"),
            opts=self._child,
        )
