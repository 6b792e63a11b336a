"""The metrics that policies, alarms and dashboard name: where each is, what it is counted for, and in which statistic.

Owns the tables. What instances publish of themselves lies in the program's own namespace (templates/cloudwatch-agent.json.j2
for GPU and host, templates/metrics.sh.j2 for `server_metrics`); the rest is AWS's own, from its documentation: "CloudWatch
metrics for your Application Load Balancer", "Amazon CloudWatch metrics for Amazon EC2 Auto Scaling" and "List the available
CloudWatch metrics for your instances". Tests hold the tables to the rendered files and the program to the tables.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from gpufleet.planner.naming import GROUP_DIMENSION
from gpufleet.planner.scaling import METRIC_NAMESPACE
from gpufleet.planner.server_metrics import KV_CACHE_USE, REQUESTS_IN_FLIGHT, RUNNING_REQUESTS, WAITING_REQUESTS

BALANCER, EC2, AUTO_SCALING = "AWS/ApplicationELB", "AWS/EC2", "AWS/AutoScaling"

TYPE_DIMENSION = "InstanceType"

OF_GROUP = (GROUP_DIMENSION,)
OF_TYPE = (GROUP_DIMENSION, TYPE_DIMENSION)
OF_BALANCER = ("LoadBalancer",)
OF_TARGETS = ("LoadBalancer", "TargetGroup")


class Metric(NamedTuple):
    """A metric of CloudWatch, with every dimension of the series that is meant."""

    namespace: str
    name: str
    dimensions: tuple[str, ...]
    unit: Literal["Count", "Percent", "Seconds", "Megabytes"]


GPU_UTILIZATION = Metric(METRIC_NAMESPACE, "nvidia_smi_utilization_gpu", OF_GROUP, "Percent")
GPU_MEMORY_USED = Metric(METRIC_NAMESPACE, "nvidia_smi_memory_used", OF_GROUP, "Megabytes")
GPU_MEMORY_TOTAL = Metric(METRIC_NAMESPACE, "nvidia_smi_memory_total", OF_GROUP, "Megabytes")
HOST_MEMORY_BY_TYPE = Metric(METRIC_NAMESPACE, "mem_used_percent", OF_TYPE, "Percent")
"""Every instance sends one value a minute, so that its SampleCount is the instances of a type."""

WAITING, RUNNING, IN_FLIGHT, KV_CACHE = (
    Metric(METRIC_NAMESPACE, metric.name, OF_GROUP, metric.unit)
    for metric in (WAITING_REQUESTS, RUNNING_REQUESTS, REQUESTS_IN_FLIGHT, KV_CACHE_USE)
)

CPU_UTILIZATION = Metric(EC2, "CPUUtilization", OF_GROUP, "Percent")
REQUESTS = Metric(BALANCER, "RequestCount", OF_TARGETS, "Count")
RESPONSE_TIME = Metric(BALANCER, "TargetResponseTime", OF_TARGETS, "Seconds")
HEALTHY_INSTANCES = Metric(BALANCER, "HealthyHostCount", OF_TARGETS, "Count")
UNHEALTHY_INSTANCES = Metric(BALANCER, "UnHealthyHostCount", OF_TARGETS, "Count")
SERVER_ERRORS = Metric(BALANCER, "HTTPCode_Target_5XX_Count", OF_TARGETS, "Count")
GATEWAY_ERRORS = Metric(BALANCER, "HTTPCode_ELB_5XX_Count", OF_BALANCER, "Count")
IN_SERVICE = Metric(AUTO_SCALING, "GroupInServiceInstances", OF_GROUP, "Count")
PENDING = Metric(AUTO_SCALING, "GroupPendingInstances", OF_GROUP, "Count")
DESIRED = Metric(AUTO_SCALING, "GroupDesiredCapacity", OF_GROUP, "Count")
MOST = Metric(AUTO_SCALING, "GroupMaxSize", OF_GROUP, "Count")

HEALTHY_BY_ZONE = Metric(BALANCER, "HealthyHostCount", ("AvailabilityZone", *OF_TARGETS), "Count")
"""Its zones are found by a search, for a plan may know them by their ids alone."""


class Signal(NamedTuple):
    """What a target-tracking policy holds: the average of a metric, or a metric that AWS has predefined."""

    target: str
    """The field of `plan.ScalingPolicies` with the number."""
    name: str
    """Of the policy's resource."""
    text: str
    """For people, with the number in it."""
    metric: Metric
    predefined: str | None = None
    """AWS's own type, which needs no metric to be named."""


SIGNALS: tuple[Signal, ...] = (
    Signal("gpu_utilization_percent", "gpu-utilization", "GPU utilisation {:g}%", GPU_UTILIZATION),
    Signal(
        "cpu_utilization_percent", "cpu-utilization", "CPU utilisation {:g}%", CPU_UTILIZATION,
        predefined="ASGAverageCPUUtilization",
    ),
    Signal(
        "requests_per_target", "requests-per-target", "{:g} requests per minute and instance", REQUESTS,
        predefined="ALBRequestCountPerTarget",
    ),
    Signal("requests_in_flight", "requests-in-flight", "{:g} requests in flight per replica", IN_FLIGHT),
    Signal("kv_cache_utilization_percent", "kv-cache-use", "KV cache {:g}% in use", KV_CACHE),
)  # fmt: skip
"""All that target tracking may hold, in the order of `requirements.TARGETS`."""

STATISTIC = "Average"
"""Of every tracked metric: over the GPUs of a group, or over its replicas, each of which publishes its own value."""

OWN_SCALE_OUT_MINUTES, OWN_SCALE_IN_MINUTES = 3, 15
"""Minutes in a row above the target, and well below it, after which the alarms act that AWS makes for a target: its own
numbers, which nobody can change. Its user guide promises no more than that scaling in is the slower ("Target tracking scaling
policies")."""
