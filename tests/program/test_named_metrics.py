"""Every metric that a policy, an alarm or a widget names is one that somebody emits, with the same dimensions.

The names are collected from what the program asks for; the emitted ones from the rendered configuration of the CloudWatch
agent, from the rendered script, and from AWS's documentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from gpufleet.planner import signals
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.requirements import TARGETS
from stacks.config import stack_names
from templates.render import render_agent_config
from tests.program.conftest import Program, shipped

BALANCER = frozenset({"LoadBalancer"})
TARGETS_OF_BALANCER = frozenset({"LoadBalancer", "TargetGroup"})
GROUP = frozenset({"AutoScalingGroupName"})

OF_AWS: dict[tuple[str, str], tuple[frozenset[str], ...]] = {
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
    ("AWS/ApplicationELB", "RequestCount"): (BALANCER, TARGETS_OF_BALANCER),
    ("AWS/ApplicationELB", "TargetResponseTime"): (BALANCER, TARGETS_OF_BALANCER),
    ("AWS/ApplicationELB", "HealthyHostCount"): (TARGETS_OF_BALANCER, TARGETS_OF_BALANCER | {"AvailabilityZone"}),
    ("AWS/ApplicationELB", "UnHealthyHostCount"): (TARGETS_OF_BALANCER, TARGETS_OF_BALANCER | {"AvailabilityZone"}),
    ("AWS/ApplicationELB", "HTTPCode_Target_5XX_Count"): (BALANCER, TARGETS_OF_BALANCER),
    ("AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count"): (BALANCER,),
    # https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-metrics.html, where the group has them enabled
    ("AWS/AutoScaling", "GroupDesiredCapacity"): (GROUP,),
    ("AWS/AutoScaling", "GroupInServiceInstances"): (GROUP,),
    ("AWS/AutoScaling", "GroupMaxSize"): (GROUP,),
    ("AWS/AutoScaling", "GroupPendingInstances"): (GROUP,),
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/viewing_metrics_with_cloudwatch.html
    ("AWS/EC2", "CPUUtilization"): (GROUP,),
}

PREFIXES = {"nvidia_gpu": "nvidia_smi_", "cpu": "cpu_", "mem": "mem_", "disk": "disk_"}
"""What the agent puts before the name of a measurement, by its section."""

EVERYTHING = {
    "scaling": {
        "min": 1,
        "max": 3,
        "gpuUtilization": 60,
        "cpuUtilization": 60,
        "requestsPerTarget": 90,
        "requestsInFlight": 12,
        "kvCacheUtilization": 80,
        "waitingRequests": 2,
        "latency": {"target": "2s", "percentile": "p99"},
    },
    "alarms": {"emails": ["oncall@example.com"]},
}
DIFFUSION = {
    "model": {"id": "stabilityai/stable-diffusion-xl-base-1.0"},
    "serving": {"image": "registry.example.com/sdxl-server:1.4"},
}


class Named(NamedTuple):
    namespace: str
    name: str
    dimensions: frozenset[str]


@pytest.fixture(params=[*stack_names(), "everything", "diffusion"])
def program(request: pytest.FixtureRequest, run: Any) -> Program:
    other = {"everything": EVERYTHING, "diffusion": DIFFUSION}.get(request.param)
    return shipped(request.param) if other is None else run(**other)


def of_policies(program: Program) -> Iterator[Named]:
    predefined = {signal.predefined: signal.metric for signal in signals.SIGNALS if signal.predefined}
    for policy in program.of_type("Policy"):
        tracked = policy.inputs.get("targetTrackingConfiguration", {})
        if metric := tracked.get("customizedMetricSpecification"):
            dimensions = frozenset(d["name"] for d in metric["metricDimensions"])
            yield Named(metric["namespace"], metric["metricName"], dimensions)
        elif tracked:
            known = predefined[tracked["predefinedMetricSpecification"]["predefinedMetricType"]]
            yield Named(known.namespace, known.name, frozenset(known.dimensions))


def of_alarms(program: Program) -> Iterator[Named]:
    for alarm in program.of_type("MetricAlarm"):
        queried = [query["metric"] for query in alarm.inputs.get("metricQueries", ()) if "metric" in query]
        for metric in queried or [alarm.inputs]:
            yield Named(metric["namespace"], metric["metricName"], frozenset(metric["dimensions"]))


def widgets(program: Program) -> list[dict[str, Any]]:
    body: dict[str, list[dict[str, Any]]] = json.loads(program.one("Dashboard")["dashboardBody"])
    return body["widgets"]


def of_widgets(program: Program) -> Iterator[Named]:
    for line in (line for widget in widgets(program) for line in widget["properties"]["metrics"]):
        if isinstance(line[0], str):
            names = [part for part in line if isinstance(part, str)]
            yield Named(names[0], names[1], frozenset(names[2::2]))
        for namespace, dimensions, name in re.findall(r'{([\w/]+),([\w,]+)} MetricName="(\w+)"', str(line)):
            yield Named(namespace, name, frozenset(dimensions.split(",")))


def of_agent(plan: DeploymentPlan) -> Iterator[Named]:
    metrics = json.loads(render_agent_config(plan, log_group="/x"))["metrics"]
    for section, part in metrics["metrics_collected"].items():
        for measured in part["measurement"]:
            name = measured["name"] if isinstance(measured, dict) else measured
            for dimensions in metrics["aggregation_dimensions"]:
                assert set(dimensions) <= set(metrics["append_dimensions"]), "aggregated over what no series has"
                yield Named(metrics["namespace"], PREFIXES[section] + name, frozenset(dimensions))


def of_script(program: Program) -> Iterator[Named]:
    scripts = program.scripts()
    dimensions = frozenset(re.findall(r'"Dimensions":\[{"Name":"(\w+)"', scripts))
    for namespace in re.findall(r"put-metric-data --namespace (\w+)", scripts):
        for name in re.findall(r"\$\(metric (\w+) ", scripts):
            yield Named(namespace, name, dimensions)


def test_every_metric_that_is_named_is_emitted(program: Program) -> None:
    emitted = {*of_agent(program.run.plan), *of_script(program)}
    emitted |= {Named(*key, dimensions) for key, known in OF_AWS.items() for dimensions in known}
    named = {*of_policies(program), *of_alarms(program), *of_widgets(program)}
    assert named - emitted == set()
    assert len(named) > 12
    assert {metric.name for metric in named if metric.namespace == "AWS/AutoScaling"} <= {
        metric if isinstance(metric, str) else metric["metric"] for metric in program.one("Group")["enabledMetrics"]
    }


def test_every_target_of_the_plan_has_a_policy_and_no_other(program: Program) -> None:
    scaling = program.run.plan.scaling
    targets = {
        policy.name.removeprefix("gpufleet-"): policy.inputs["targetTrackingConfiguration"]["targetValue"]
        for policy in program.of_type("Policy")
        if policy.inputs["policyType"] == "TargetTrackingScaling"
    }
    wanted = {signal.name: getattr(scaling, signal.target) for signal in signals.SIGNALS}
    assert targets == {name: target for name, target in wanted.items() if target is not None}
    assert targets
    assert tuple(signal.target for signal in signals.SIGNALS) == TARGETS


def test_requests_per_target_are_those_of_this_target_group(run) -> None:
    policy = run(**EVERYTHING).one("Policy", "requests-per-target")
    assert policy["targetTrackingConfiguration"]["predefinedMetricSpecification"] == {
        "predefinedMetricType": "ALBRequestCountPerTarget",
        "resourceLabel": "<gpufleet-lb.arnSuffix>/<gpufleet-targets.arnSuffix>",
    }


def test_the_dashboard_is_one_that_cloudwatch_takes(program: Program) -> None:
    """The structure of "Dashboard body structure and syntax" in the CloudWatch API reference."""
    places = set()
    for widget in widgets(program):
        properties = widget["properties"]
        assert widget["type"] == "metric"
        assert widget["x"] >= 0
        assert widget["x"] + widget["width"] <= 24
        places.add((widget["x"], widget["y"]))
        assert {"title", "metrics", "region", "view", "stat", "period"} <= set(properties)
        assert properties["region"] == program.run.plan.region
        ids = [line[-1]["id"] for line in properties["metrics"] if isinstance(line[-1], dict) and "id" in line[-1]]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"[a-z][a-zA-Z0-9_]*", id_) for id_ in ids)
        for line in properties["metrics"]:
            if "expression" in line[0]:
                used = set(re.findall(r"\b(?:type\d+|used|total)\b", line[0]["expression"]))
                assert used <= set(ids), "an expression over a metric that the widget does not have"
            else:
                assert len([part for part in line if isinstance(part, str)]) % 2 == 0, "dimensions are pairs"
    assert len(places) == len(widgets(program)), "one lies over another"
    titles = " ".join(widget["properties"]["title"] for widget in widgets(program))
    for shown in (
        "Requests",
        "Response time",
        "errors",
        "GPU utilisation and memory",
        "by type",
        "by zone",
        "Cost per hour",
    ):
        assert shown in titles


def test_the_cost_is_that_of_the_plans_prices(dev: Program) -> None:
    plan = dev.run.plan
    [cost] = [w["properties"] for w in widgets(dev) if w["properties"]["title"].startswith("Cost per hour")]
    expression = cost["metrics"][0][0]["expression"]
    prices = {candidate.type: candidate.hourly_usd for candidate in plan.candidates}
    types = {line[-1]["id"]: line[5] for line in cost["metrics"][1:]}
    assert list(types.values()) == [planned.type for planned in plan.types]
    for id_, price in re.findall(r"FILL\((\w+), 0\) \* ([\d.]+)", expression):
        assert float(price) == pytest.approx(prices[types[id_]], rel=1e-5)
    assert str(plan.cost.price_date) in cost["title"]
