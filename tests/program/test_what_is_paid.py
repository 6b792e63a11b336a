"""The items of a plan's cost are what the program makes and what the instances' agent sends."""

from __future__ import annotations

import json

import pytest

from gpufleet.planner.server_metrics import server_metrics
from templates.render import render_agent_config
from tests.program.conftest import Program

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"


def assert_items_are_made(program: Program) -> None:
    plan = program.run.plan
    largest = {item.name: item.quantity.max for item in plan.cost.items}
    hours = 730
    assert largest["loadBalancer"] == hours * len(program.of_type("LoadBalancer"))
    assert largest.get("natGateway", 0) == hours * len(program.of_type("NatGateway"))
    public = 0 if program.one("LoadBalancer")["internal"] else len(program.one("LoadBalancer")["subnets"])
    assert largest.get("publicIpv4", 0) == hours * (len(program.of_type("Eip")) + public)
    (disk,) = program.one("LaunchTemplate")["blockDeviceMappings"]
    assert largest["rootVolumes"] == plan.capacity.max * disk["ebs"]["volumeSize"]
    assert disk["ebs"]["volumeType"] == "gp3"
    assert largest.get("rootThroughput", 0) == plan.capacity.max * (disk["ebs"]["throughput"] - 125)
    assert largest.get("rootIops", 0) == plan.capacity.max * (disk["ebs"]["iops"] - 3000)
    tracked = [r for r in program.of_type("Policy") if r.inputs["policyType"] == "TargetTrackingScaling"]
    assert largest["alarms"] == len(program.of_type("MetricAlarm")) + 2 * len(tracked)
    assert largest["dashboard"] == len(program.of_type("Dashboard"))
    assert largest["detailedMonitoring"] == plan.capacity.max
    assert program.one("LaunchTemplate")["monitoring"] == {"enabled": True}


def test_of_every_shipped_stack(stack: Program) -> None:
    assert_items_are_made(stack)


@pytest.mark.parametrize(
    "sections",
    [
        {"scaling": {"min": 0, "max": 4, "cpuUtilization": 60, "latency": {"target": "2s"}}},
        {
            "instance": {"type": "g5g.16xlarge", "architecture": "arm64"},
            "serving": {"image": "example.com/arm:1", "gpuMemoryUtilization": 0.85},
        },
        {"network": {"internal": False, "certificateArn": CERTIFICATE, "allowedCidrs": ["203.0.113.0/24"]}},
        {"network": {"vpcId": "vpc-0123456789abcdef0", "subnetIds": [f"subnet-0123456789abcdef{i}" for i in "01"]}},
    ],
)
def test_of_stacks_with_other_parts(run, sections) -> None:
    assert_items_are_made(run(**sections))


def test_the_metrics_are_those_of_the_agent(stack: Program) -> None:
    plan = stack.run.plan
    collected = json.loads(render_agent_config(plan, log_group="x"))["metrics"]["metrics_collected"]
    of_gpu = len(collected.pop("nvidia_gpu")["measurement"])
    of_host = sum(len(part["measurement"]) for part in collected.values())
    (metrics,) = [item.quantity.max for item in plan.cost.items if item.name == "metrics"]
    of_instance = of_gpu * plan.instance.gpu.count + of_host
    of_servers = len(server_metrics(plan.server.engine))
    of_types = min(plan.capacity.max, len(plan.types))
    assert metrics == plan.capacity.max * of_instance + (of_gpu + of_host) * (1 + of_types) + of_servers
