"""What shows people how the fleet does: one dashboard.

Owns its widgets. Leaves the metrics to `gpufleet.planner.signals`, logs to `logs` and what calls people to `alarms`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner import signals
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.server_metrics import server_metrics
from gpufleet.planner.signals import Metric

DEFAULT_LATENCY_PERCENTILE = "p90"

COLUMNS, WIDTH, HEIGHT = 2, 12, 6
"""CloudWatch's grid is 24 wide."""


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
                AutoScalingGroupName=args.group_name,
                LoadBalancer=args.load_balancer_arn_suffix,
                TargetGroup=args.target_group_arn_suffix,
            ).apply(lambda names: dashboard_body(args.plan, names)),
            opts=self._child,
        )


class Widget(NamedTuple):
    """A graph. `lines` are as CloudWatch has them in a widget's `metrics`."""

    title: str
    stat: str
    lines: list[list[Any]]
    limit: float | None = None
    """Where a line is drawn across it."""
    stacked: bool = False


def dashboard_body(plan: DeploymentPlan, names: Mapping[str, str]) -> str:
    """The dashboard's JSON. `names` are the values of CloudWatch's dimensions."""
    widgets = [
        {
            "type": "metric",
            "x": WIDTH * (place % COLUMNS),
            "y": HEIGHT * (place // COLUMNS),
            "width": WIDTH,
            "height": HEIGHT,
            "properties": _properties(widget, plan.region),
        }
        for place, widget in enumerate(_widgets(plan, names))
    ]
    return json.dumps({"widgets": widgets})


def _properties(widget: Widget, region: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "title": widget.title,
        "metrics": widget.lines,
        "stat": widget.stat,
        "period": 60,
        "region": region,
        "view": "timeSeries",
        "stacked": widget.stacked,
    }
    if widget.limit is not None:
        properties["annotations"] = {"horizontal": [{"label": "target", "value": widget.limit}]}
    return properties


def _widgets(plan: DeploymentPlan, names: Mapping[str, str]) -> Iterator[Widget]:
    def line(metric: Metric, **options: Any) -> list[Any]:
        dimensions = [part for name in metric.dimensions for part in (name, names[name])]
        return [metric.namespace, metric.name, *dimensions, *([options] if options else [])]

    scaling = plan.scaling
    yield Widget(
        "Requests and errors (per minute)",
        "Sum",
        [line(signals.REQUESTS), line(signals.SERVER_ERRORS), line(signals.GATEWAY_ERRORS)],
    )
    percentile = scaling.latency.percentile if scaling.latency else DEFAULT_LATENCY_PERCENTILE
    yield Widget(
        "Response time (s)",
        percentile,
        [
            line(signals.RESPONSE_TIME, stat="p50"),
            line(signals.RESPONSE_TIME),
            line(signals.RESPONSE_TIME, stat="p99"),
        ],
        limit=scaling.latency.target_seconds if scaling.latency else None,
    )
    if server_metrics(plan.server.engine):
        yield Widget(
            "Requests in a replica",
            "Average",
            [line(signals.RUNNING), line(signals.WAITING), line(signals.IN_FLIGHT)],
            limit=scaling.requests_in_flight,
        )
        yield Widget(
            "KV cache in use (%)",
            "Average",
            [line(signals.KV_CACHE), line(signals.KV_CACHE, stat="Maximum", label="fullest replica")],
            limit=scaling.kv_cache_utilization_percent,
        )
    yield Widget(
        "GPU utilisation and memory (%)",
        "Average",
        [
            line(signals.GPU_UTILIZATION),
            [{"expression": "100 * used / total", "label": "GPU memory in use", "id": "memory"}],
            line(signals.GPU_MEMORY_USED, id="used", visible=False),
            line(signals.GPU_MEMORY_TOTAL, id="total", visible=False),
            line(signals.CPU_UTILIZATION),
        ],
        limit=scaling.gpu_utilization_percent,
    )
    yield Widget(
        "Instances",
        "Maximum",
        [
            line(signals.IN_SERVICE),
            line(signals.PENDING),
            line(signals.DESIRED),
            line(signals.MOST),
            line(signals.HEALTHY_INSTANCES),
        ],
    )
    yield Widget("Instances by type", "SampleCount", _by_type(plan, names), stacked=True)
    yield Widget(
        "Healthy instances by zone", "Maximum", [[{"expression": _by_zone(names), "id": "zones"}]], stacked=True
    )
    yield Widget(
        f"Cost per hour (USD): instances by type, at the on-demand prices of {plan.cost.price_date or 'an unknown day'}",
        "SampleCount",
        _cost(plan, names),
    )


def _by_type(plan: DeploymentPlan, names: Mapping[str, str], **options: Any) -> list[list[Any]]:
    """A line for each type that the fleet may boot."""
    metric, group = signals.HOST_MEMORY_BY_TYPE, names["AutoScalingGroupName"]
    return [
        [
            metric.namespace, metric.name, *metric.dimensions[:1], group, signals.TYPE_DIMENSION, planned.type,
            {"label": planned.type, "id": f"type{place}", **options},
        ]
        for place, planned in enumerate(plan.types)
    ]  # fmt: skip


def _by_zone(names: Mapping[str, str]) -> str:
    """Zones come with their metrics: a plan may know them by their ids alone."""
    metric = signals.HEALTHY_BY_ZONE
    schema = ",".join((metric.namespace, *metric.dimensions))
    of_fleet = " ".join(f'{name}="{names[name]}"' for name in signals.OF_TARGETS)
    return f"SEARCH('{{{schema}}} MetricName=\"{metric.name}\" {of_fleet}', 'Maximum', 60)"


def _cost(plan: DeploymentPlan, names: Mapping[str, str]) -> list[list[Any]]:
    """Instances times price. Spot costs less; a type whose price is unknown is left out, and said to be."""
    prices = {candidate.type: candidate.hourly_usd for candidate in plan.candidates}
    terms, unknown = [], []
    for place, planned in enumerate(plan.types):
        price = prices.get(planned.type)
        if price is None:
            unknown.append(planned.type)
        else:
            terms.append(f"FILL(type{place}, 0) * {price:g}")
    label = "at on-demand prices" + (f", without {', '.join(unknown)}" if unknown else "")
    total = [[{"expression": " + ".join(terms), "label": label, "id": "cost"}]] if terms else []
    return [*total, *_by_type(plan, names, visible=False)]
