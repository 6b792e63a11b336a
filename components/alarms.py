"""The fleet's alarms: which they are, whom they call, and which of them end a rollout.

Owns their table and its two components: the alarms of the load balancer's metrics are made before the fleet, whose instance
refresh names them, those of the group after it. Leaves the alarms that move capacity to `scaling_policies`, the topic to
`notifications`, the metrics to `gpufleet.planner.signals` and the dashboard to `observability`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner import signals
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.signals import Metric

PERIOD_SECONDS = 60

SLOW_MINUTES = 15
"""At least; and longer than an instance takes to help."""

AT_MAXIMUM_MINUTES = 30

LAUNCH_FAILED = "EC2 Instance Launch Unsuccessful"
"""Detail type of the event that EC2 Auto Scaling sends to EventBridge ("Amazon EC2 Auto Scaling event reference")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmsArgs:
    """The plan and the CloudWatch names of what is watched. `topics` are ARNs to notify; none by default."""

    plan: DeploymentPlan
    load_balancer_arn_suffix: pulumi.Output[str]
    target_group_arn_suffix: pulumi.Output[str]
    tags: Tags
    topics: Sequence[pulumi.Input[str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAlarmsArgs:
    """The plan and the group that is watched. `topics` are ARNs to notify; none by default."""

    plan: DeploymentPlan
    group_name: pulumi.Output[str]
    tags: Tags
    topics: Sequence[pulumi.Input[str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One row of the alarms: a metric, or an expression over several, and when it is bad."""

    name: str
    description: str
    metrics: Mapping[str, tuple[Metric, str]]
    """Metric and statistic by the id that the expression has for it."""
    comparison: str
    threshold: float
    minutes: int
    expression: str = ""
    """Empty: the only metric itself."""
    missing: str = "notBreaching"
    ends_rollout: bool = False
    """Whether an instance refresh stops for it."""


def alarms(plan: DeploymentPlan) -> tuple[Alarm, ...]:
    """What to be told about of the load balancer. A fleet that may be empty has no instance to miss."""
    load_minutes = math.ceil(plan.timing.health_check_grace_period_seconds / 60)
    no_healthy = Alarm(
        name="no-healthy-instance",
        description="No instance answers the health check",
        metrics={"healthy": (signals.HEALTHY_INSTANCES, "Maximum")}, comparison="LessThanThreshold",
        threshold=1, minutes=5, missing="breaching", ends_rollout=True,
    )  # fmt: skip
    unhealthy = Alarm(
        name="unhealthy-instances",
        description="An instance fails its health check for longer than the model takes to load",
        metrics={"unhealthy": (signals.UNHEALTHY_INSTANCES, "Minimum")}, comparison="GreaterThanThreshold",
        threshold=0, minutes=load_minutes + 5,
    )  # fmt: skip
    server_errors = Alarm(
        name="server-errors",
        description="The model server answers requests with errors (5xx)",
        metrics={"errors": (signals.SERVER_ERRORS, "Sum")}, comparison="GreaterThanThreshold",
        threshold=5, minutes=3, ends_rollout=True,
    )  # fmt: skip
    balancer_errors = Alarm(
        name="gateway-errors",
        description="The load balancer answers for the fleet (502, 503, 504)",
        metrics={"errors": (signals.GATEWAY_ERRORS, "Sum")}, comparison="GreaterThanThreshold",
        threshold=5, minutes=3, ends_rollout=True,
    )  # fmt: skip
    return (
        *([no_healthy] if plan.capacity.min > 0 else []),
        unhealthy,
        server_errors,
        balancer_errors,
        *_slow_for_long(plan),
    )


def _slow_for_long(plan: DeploymentPlan) -> Sequence[Alarm]:
    """The policies had their time, and it did not help. A rollout goes on: it may be the cure."""
    latency = plan.scaling.latency
    if latency is None:
        return ()
    helped = math.ceil((plan.timing.slowest_load_seconds + plan.timing.instance_warmup_seconds) / 60)
    return (
        Alarm(
            name="slow-for-long",
            description=f"{latency.percentile} response time above {latency.target_seconds:g} s for longer than an instance "
            "takes to help",
            metrics={
                "latency": (signals.RESPONSE_TIME, latency.percentile),
                "requests": (signals.REQUESTS, "Sum"),
            },
            expression=latency.expression,
            comparison="GreaterThanThreshold",
            threshold=latency.target_seconds,
            # In whole steps: a model that loads a minute faster does not move an alarm.
            minutes=SLOW_MINUTES * math.ceil((latency.evaluation_periods + helped) / SLOW_MINUTES),
        ),
    )


def group_alarms(plan: DeploymentPlan) -> tuple[Alarm, ...]:
    """What to be told about of the group. A fleet of one size is at its maximum all the time."""
    if plan.capacity.min == plan.capacity.max:
        return ()
    return (
        Alarm(
            name="at-maximum",
            description="The fleet is at its maximum and cannot grow",
            metrics={"desired": (signals.DESIRED, "Maximum"), "most": (signals.MOST, "Maximum")},
            # A schedule may set both bounds to one number.
            expression="IF(desired >= most, 1, 0)",
            comparison="GreaterThanThreshold",
            threshold=0,
            minutes=AT_MAXIMUM_MINUTES,
        ),
    )


class Alarms(pulumi.ComponentResource):
    """The alarms of the load balancer's metrics."""

    ending_rollouts: list[pulumi.Output[str]]
    """Names of those that stop an instance refresh. An instance that still loads is none of their reasons."""

    def __init__(self, name: str, args: AlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:alarms:Alarms", name, None, opts)
        dimensions = {"LoadBalancer": args.load_balancer_arn_suffix, "TargetGroup": args.target_group_arn_suffix}
        maker = _Maker(name, dimensions, args.topics, args.tags, pulumi.ResourceOptions(parent=self))
        made = {alarm.name: maker.make(alarm) for alarm in alarms(args.plan)}
        self.ending_rollouts = [made[alarm.name].name for alarm in alarms(args.plan) if alarm.ends_rollout]
        self.register_outputs({"endingRollouts": self.ending_rollouts})


class GroupAlarms(pulumi.ComponentResource):
    """The alarms of the group's metrics, and word of launches that failed."""

    def __init__(self, name: str, args: GroupAlarmsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:alarms:GroupAlarms", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        maker = _Maker(name, {"AutoScalingGroupName": args.group_name}, args.topics, args.tags, child)
        for alarm in group_alarms(args.plan):
            maker.make(alarm)
        if args.topics:
            self._tell_of_failed_launches(name, args, child)
        self.register_outputs({})

    @staticmethod
    def _tell_of_failed_launches(name: str, args: GroupAlarmsArgs, child: pulumi.ResourceOptions) -> None:
        """No metric has them: the group goes on trying, and says why it failed in an event."""
        rule = aws.cloudwatch.EventRule(
            f"{name}-launch-failed",
            description="An instance of the inference fleet could not be launched",
            event_pattern=args.group_name.apply(
                lambda group: json.dumps(
                    {
                        "source": ["aws.autoscaling"],
                        "detail-type": [LAUNCH_FAILED],
                        "detail": {"AutoScalingGroupName": [group]},
                    }
                )
            ),
            tags=args.tags.named("launch-failed"),
            opts=child,
        )
        for place, topic in enumerate(args.topics):
            aws.cloudwatch.EventTarget(f"{name}-launch-failed-{place}", rule=rule.name, arn=topic, opts=child)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes alarms of one component."""

    name: str
    dimensions: Mapping[str, pulumi.Input[str]]
    topics: Sequence[pulumi.Input[str]]
    tags: Tags
    opts: pulumi.ResourceOptions

    def make(self, alarm: Alarm) -> aws.cloudwatch.MetricAlarm:
        """One row as AWS has it. A single metric is named as such: its alarm shows the graph of it in the console."""
        queries: list[aws.cloudwatch.MetricAlarmMetricQueryArgsDict] = []
        (metric, statistic), *_ = alarm.metrics.values()
        if alarm.expression:
            queries = [
                {"id": "bad", "expression": alarm.expression, "label": alarm.description, "return_data": True},
                *(
                    metric_query(id_, metric, statistic, PERIOD_SECONDS, self._of(metric))
                    for id_, (metric, statistic) in alarm.metrics.items()
                ),
            ]
        return aws.cloudwatch.MetricAlarm(
            f"{self.name}-{alarm.name}",
            alarm_description=alarm.description,
            metric_queries=queries or None,
            namespace=None if queries else metric.namespace,
            metric_name=None if queries else metric.name,
            dimensions=None if queries else self._of(metric),
            statistic=None if queries else statistic,
            period=None if queries else PERIOD_SECONDS,
            comparison_operator=alarm.comparison,
            threshold=alarm.threshold,
            evaluation_periods=alarm.minutes,
            treat_missing_data=alarm.missing,
            alarm_actions=self.topics or None,
            tags=self.tags.named(alarm.name),
            opts=self.opts,
        )

    def _of(self, metric: Metric) -> dict[str, pulumi.Input[str]]:
        return {name: self.dimensions[name] for name in metric.dimensions}


def metric_query(
    id_: str, metric: Metric, statistic: str, period_seconds: int, dimensions: Mapping[str, pulumi.Input[str]]
) -> aws.cloudwatch.MetricAlarmMetricQueryArgsDict:
    """A metric under a name for the expression of an alarm."""
    return {
        "id": id_,
        "metric": {
            "namespace": metric.namespace,
            "metric_name": metric.name,
            "dimensions": dimensions,
            "stat": statistic,
            "period": period_seconds,
        },
        "return_data": False,
    }
