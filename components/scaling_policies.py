"""What moves the fleet between its bounds.

Owns the policies, the alarms behind those that only add, and the schedules. Target tracking adds and removes instances, and
removes only where all of its policies agree; the other policies only add, because neither latency nor a queue falls in
proportion to capacity. Leaves the metrics to `gpufleet.planner.signals` and the numbers to the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.alarms import metric_query
from components.tags import Tags
from gpufleet.planner.plan import DeploymentPlan, LatencyPolicy, ScheduledCapacity, WaitingPolicy
from gpufleet.planner.signals import REQUESTS, RESPONSE_TIME, SIGNALS, STATISTIC, WAITING, Metric, Signal

Dimensions = Mapping[str, pulumi.Input[str]]

Bounds = tuple[float, float | None, int]
"""From, to, per cent added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPoliciesArgs:
    """The plan, the group to move, and the CloudWatch names of the load balancer and its target group."""

    plan: DeploymentPlan
    group_name: pulumi.Output[str]
    load_balancer_arn_suffix: pulumi.Output[str]
    target_group_arn_suffix: pulumi.Output[str]
    tags: Tags


class ScalingPolicies(pulumi.ComponentResource):
    """The policies and schedules that the plan asks for; each is left out where it asks for none."""

    def __init__(self, name: str, args: ScalingPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:scaling_policies:ScalingPolicies", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        scaling = args.plan.scaling
        for signal in SIGNALS:
            target = getattr(scaling, signal.target)
            if target is not None:
                self._track(signal, target)
        if scaling.latency is not None:
            self._add_while_slow(scaling.latency)
        if scaling.waiting_requests is not None:
            self._add_while_waiting(scaling.waiting_requests)
        for schedule in scaling.schedules:
            self._schedule(schedule)
        self.register_outputs({})

    def _dimensions(self, metric: Metric) -> dict[str, pulumi.Input[str]]:
        args = self._args
        values: Dimensions = {
            "AutoScalingGroupName": args.group_name,
            "LoadBalancer": args.load_balancer_arn_suffix,
            "TargetGroup": args.target_group_arn_suffix,
        }
        return {name: values[name] for name in metric.dimensions}

    def _track(self, signal: Signal, target: float) -> None:
        configuration: aws.autoscaling.PolicyTargetTrackingConfigurationArgsDict = {"target_value": target}
        if signal.predefined:
            configuration["predefined_metric_specification"] = {
                "predefined_metric_type": signal.predefined,
                "resource_label": self._targets_label() if signal.metric is REQUESTS else None,
            }
        else:
            configuration["customized_metric_specification"] = {
                "namespace": signal.metric.namespace,
                "metric_name": signal.metric.name,
                "metric_dimensions": [
                    {"name": name, "value": value} for name, value in self._dimensions(signal.metric).items()
                ],
                "statistic": STATISTIC,
            }
        aws.autoscaling.Policy(
            f"{self._name}-{signal.name}",
            autoscaling_group_name=self._args.group_name,
            policy_type="TargetTrackingScaling",
            target_tracking_configuration=configuration,
            opts=self._child,
        )

    def _targets_label(self) -> pulumi.Output[str]:
        """How a predefined metric of the load balancer names its target group."""
        return pulumi.Output.concat(self._args.load_balancer_arn_suffix, "/", self._args.target_group_arn_suffix)

    def _step_policy(self, suffix: str, steps: Sequence[Bounds]) -> aws.autoscaling.Policy:
        """A policy that only adds: at least one instance, for a share of a small fleet is none."""
        return aws.autoscaling.Policy(
            f"{self._name}-{suffix}",
            autoscaling_group_name=self._args.group_name,
            policy_type="StepScaling",
            adjustment_type="PercentChangeInCapacity",
            min_adjustment_magnitude=1,
            metric_aggregation_type="Average",
            estimated_instance_warmup=self._args.plan.timing.instance_warmup_seconds,
            step_adjustments=[
                {
                    "metric_interval_lower_bound": f"{low:g}",
                    "metric_interval_upper_bound": None if high is None else f"{high:g}",
                    "scaling_adjustment": percent,
                }
                for low, high, percent in steps
            ],
            opts=self._child,
        )

    def _add_while_slow(self, latency: LatencyPolicy) -> None:
        policy = self._step_policy(
            "latency",
            [(s.lower_bound_seconds, s.upper_bound_seconds, s.adjustment_percent) for s in latency.steps],
        )
        aws.cloudwatch.MetricAlarm(
            f"{self._name}-slow",
            alarm_description=f"{latency.percentile} response time above {latency.target_seconds:g} s: adds instances",
            metric_queries=[
                {
                    "id": "slow",
                    "expression": latency.expression,
                    "label": f"{latency.percentile} of {latency.min_requests} requests or more",
                    "return_data": True,
                },
                *(
                    metric_query(name, metric, statistic, latency.period_seconds, self._dimensions(metric))
                    for name, metric, statistic in (
                        ("latency", RESPONSE_TIME, latency.percentile),
                        ("requests", REQUESTS, "Sum"),
                    )
                ),
            ],
            comparison_operator="GreaterThanThreshold",
            threshold=latency.target_seconds,
            evaluation_periods=latency.evaluation_periods,
            datapoints_to_alarm=latency.datapoints_to_alarm,
            treat_missing_data="notBreaching",
            alarm_actions=[policy.arn],
            tags=self._args.tags.named("slow"),
            opts=self._child,
        )

    def _add_while_waiting(self, waiting: WaitingPolicy) -> None:
        policy = self._step_policy(
            "waiting",
            [(s.lower_bound_requests, s.upper_bound_requests, s.adjustment_percent) for s in waiting.steps],
        )
        aws.cloudwatch.MetricAlarm(
            f"{self._name}-queue",
            alarm_description=f"More than {waiting.threshold_requests:g} requests wait in a replica: adds instances",
            namespace=WAITING.namespace,
            metric_name=WAITING.name,
            dimensions=self._dimensions(WAITING),
            statistic=STATISTIC,
            comparison_operator="GreaterThanThreshold",
            threshold=waiting.threshold_requests,
            period=waiting.period_seconds,
            evaluation_periods=waiting.evaluation_periods,
            datapoints_to_alarm=waiting.datapoints_to_alarm,
            # No replica that tells: nothing waits in it, and `no-healthy-instance` says the rest.
            treat_missing_data="notBreaching",
            alarm_actions=[policy.arn],
            tags=self._args.tags.named("queue"),
            opts=self._child,
        )

    def _schedule(self, schedule: ScheduledCapacity) -> None:
        aws.autoscaling.Schedule(
            f"{self._name}-schedule-{schedule.name}",
            # The provider gives it no name of its own making. Names are of one group, and a new group has none.
            scheduled_action_name=schedule.name,
            autoscaling_group_name=self._args.group_name,
            recurrence=schedule.recurrence,
            time_zone=schedule.time_zone,
            min_size=schedule.min,
            max_size=schedule.max,
            # The provider takes -1 for "leave it": its default would be 0.
            desired_capacity=-1 if schedule.desired is None else schedule.desired,
            # AWS sets the time of the next run, which is no part of what was asked for.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["startTime"]),
        )
