"""An instance in service: it reports to its group, publishes its load, and leaves without losing a request."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sandbox import Instance
from template_plans import LOG_GROUP, PLANS, STACK, make_plan

from components.access import GroupOfPlan, lifecycle, spot, telemetry
from gpufleet.planner.lifecycle import LAUNCHING_HOOK, TERMINATING_HOOK
from gpufleet.planner.naming import GROUP_DIMENSION
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.server_metrics import server_metrics
from templates.render import instance_files, render_user_data

SPOT_NOTICE = '{"action": "terminate", "time": "2026-01-01T00:02:00Z"}'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def on_spot(plan: DeploymentPlan) -> DeploymentPlan:
    return plan.model_copy(update={"capacity": plan.capacity.model_copy(update={"spot_percentage": 50})})


def in_service(home: Path, plan: DeploymentPlan, **what: Any) -> Instance:
    """An instance after its boot."""
    instance = Instance(home=home, **what)
    done = instance.boot(render_user_data(plan, stack=STACK, log_group=LOG_GROUP))
    assert done.returncode == 0, done.stderr
    return instance


def told(instance: Instance, hook: str) -> list[str]:
    return [c[-1] for c in instance.calls("aws", "autoscaling", "complete-lifecycle-action") if hook in c]


def vllm(*, waiting: float = 0, running: float = 0, cache: float = 0, old: bool = False, engine: int = 0) -> str:
    """What vLLM says at /metrics, in part."""
    labels = f'{{engine="{engine}",model_name="Qwen/Qwen3 8B"}}'
    return (
        "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n"
        "# TYPE vllm:num_requests_waiting gauge\n"
        f"vllm:num_requests_waiting{labels} {waiting}\n"
        f"vllm:num_requests_waiting_by_reason{labels} 77\n"
        f"vllm:num_requests_running{labels} {running}\n"
        f"vllm:{'gpu' if old else 'kv'}_cache_usage_perc{labels} {cache}\n"
        f"vllm:prompt_tokens_total{labels} 1.5e+06\n"
    )


def test_the_group_hears_that_the_boot_goes_on_and_that_it_is_done(home: Path) -> None:
    instance = in_service(home, PLANS["four"], health_failures=30, tell_failures=2)
    beats = instance.calls("aws", "autoscaling", "record-lifecycle-action-heartbeat")
    assert beats
    assert all(LAUNCHING_HOOK in beat for beat in beats)
    assert told(instance, LAUNCHING_HOOK) == ["CONTINUE"] * 3, "tried again until it was heard"
    asked = [c[-1] for c in instance.calls("curl") if c[-1].startswith("http://127.0.0.1")]
    assert set(asked) == {f"http://127.0.0.1:{port}/health" for port in (8000, 8001, 8002, 8003, 8004)}


def test_an_instance_outside_of_a_group_serves_all_the_same(home: Path) -> None:
    instance = in_service(home, PLANS["one"], group="None")
    assert not instance.calls("aws", "autoscaling")
    assert instance.script("metrics").returncode == 0
    assert not instance.calls("aws", "cloudwatch")


def test_every_metric_of_the_table_is_published_for_the_group(home: Path) -> None:
    plan = PLANS["four"]
    instance = in_service(home, plan)
    said = [
        vllm(waiting=3, running=16, cache=0.875),
        vllm(waiting=0, running=1, cache=0.01, old=True),
        vllm(waiting=1, running=2, cache=0.2) + vllm(waiting=2, running=3, cache=0.1, engine=1),
    ]
    for number, text in enumerate(said, start=1):
        (home / f"metrics.{number}").write_text(text)
    assert instance.script("metrics").returncode == 0, "the fourth replica does not answer, the others are published"
    [call] = instance.calls("aws", "cloudwatch", "put-metric-data")
    assert call[call.index("--namespace") + 1] == plan.scaling.metric_namespace
    published = {datum["MetricName"]: datum for datum in json.loads(call[call.index("--metric-data") + 1])}
    assert {m.name: m.unit for m in server_metrics("vllm")} == {n: d["Unit"] for n, d in published.items()}
    assert all(d["Dimensions"] == [{"Name": GROUP_DIMENSION, "Value": instance.group}] for d in published.values())
    assert published["WaitingRequests"]["Values"] == [3, 0, 3]
    assert published["RunningRequests"]["Values"] == [16, 1, 5]
    assert published["RequestsInFlight"]["Values"] == [19, 1, 8], "what runs and what waits, of every engine"
    assert published["KvCacheUse"]["Values"] == [87.5, 1, 20]


def test_servers_that_say_nothing_publish_nothing(home: Path) -> None:
    instance = in_service(home, PLANS["one"])
    assert instance.script("metrics").returncode == 0
    assert not instance.calls("aws", "cloudwatch")


def test_a_scale_in_waits_for_the_requests_in_flight(home: Path) -> None:
    instance = in_service(home, PLANS["one"])
    said = [vllm(running=2), vllm(waiting=1), vllm(), vllm(running=1)]
    for number, text in enumerate(said, start=1):
        (home / f"metrics.{number}").write_text(text)
    (home / "metrics").write_text(vllm())
    instance.metadata("autoscaling/target-lifecycle-state", "Terminated")
    done = instance.script("watch")
    assert done.returncode == 0, done.stderr
    looks = [c for c in instance.calls("curl") if c[-1].endswith("/metrics")]
    assert len(looks) == len(said) + 3, "quiet is three times in a row"
    assert instance.calls("systemctl", "stop") == [["systemctl", "stop", "gpufleet-replica@0.service"]]
    assert told(instance, TERMINATING_HOOK) == ["CONTINUE"]
    assert order(instance, "/metrics", "stop", TERMINATING_HOOK)
    assert not instance.calls("aws", "autoscaling", "terminate-instance-in-auto-scaling-group")


def order(instance: Instance, *words: str) -> bool:
    """Whether the last call with each word comes after the last one with the word before."""
    calls = [" ".join(call) for call in instance.calls()]
    last = [max(number for number, call in enumerate(calls) if word in call) for word in words]
    return last == sorted(last)


def test_an_instance_that_has_given_up_ends_at_once(home: Path) -> None:
    instance = Instance(home=home, health_failures=99_999)
    assert instance.boot(render_user_data(PLANS["one"], stack=STACK, log_group=LOG_GROUP)).returncode == 1
    assert told(instance, LAUNCHING_HOOK) == ["ABANDON"]
    (home / "metrics").write_text(vllm(running=1))
    instance.metadata("autoscaling/target-lifecycle-state", "Terminated")
    assert instance.script("watch").returncode == 0
    assert told(instance, TERMINATING_HOOK) == ["CONTINUE"]
    assert not [c for c in instance.calls("curl") if c[-1].endswith("/metrics")], "it never had a request"


def test_a_server_that_does_not_finish_is_stopped_all_the_same(home: Path) -> None:
    instance = in_service(home, make_plan(longest_request_seconds=60))
    (home / "metrics").write_text(vllm(running=1))
    instance.metadata("autoscaling/target-lifecycle-state", "Terminated")
    assert instance.script("watch").returncode == 0
    assert len([c for c in instance.calls("curl") if c[-1].endswith("/metrics")]) == 60 // 5
    assert told(instance, TERMINATING_HOOK) == ["CONTINUE"]


def test_a_spot_notice_makes_the_group_replace_the_instance(home: Path) -> None:
    instance = in_service(home, on_spot(PLANS["one"]))
    instance.metadata("autoscaling/target-lifecycle-state", "InService")
    instance.metadata("events/recommendations/rebalance", '{"noticeTime": "2026-01-01T00:00:00Z"}')
    instance.metadata("spot/instance-action", SPOT_NOTICE)
    (home / "metrics").write_text(vllm())
    done = instance.script("watch")
    assert done.returncode == 0, done.stderr
    [call] = instance.calls("aws", "autoscaling", "terminate-instance-in-auto-scaling-group")
    assert "i-0123456789abcdef0" in call
    assert "--no-should-decrement-desired-capacity" in call
    assert order(instance, "terminate-instance", "/metrics", "systemctl stop", TERMINATING_HOOK)
    assert SPOT_NOTICE in instance.log()
    assert instance.log().count("recommends to leave") == 1


@contextmanager
def proxy_with(directory: Path, in_flight: list[int]) -> Iterator[list[str]]:
    """A runtime API that says of each look how many requests are open; its commands."""
    directory.mkdir(parents=True, exist_ok=True)
    commands: list[str] = []

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                commands.append(connection.recv(4096).decode().strip())
                current = in_flight.pop(0) if len(in_flight) > 1 else in_flight[0]
                connection.sendall(f"# pxname,svname,qcur,qmax,scur\nreplicas,BACKEND,0,9,{current}\n".encode())

    here = Path.cwd()
    listener = socket.socket(socket.AF_UNIX)
    try:
        os.chdir(directory)  # a socket's path has at most 107 bytes
        listener.bind("admin.sock")
    finally:
        os.chdir(here)
    listener.listen()
    threading.Thread(target=answer, args=(listener,), daemon=True).start()
    try:
        yield commands
    finally:
        listener.close()


def test_several_replicas_are_drained_by_what_the_proxy_holds(home: Path) -> None:
    instance = in_service(home, PLANS["four"])
    instance.metadata("autoscaling/target-lifecycle-state", "Terminated")
    with proxy_with(instance.root / "run/gpufleet/proxy", [4, 1, 0]) as commands:
        done = instance.script("watch")
    assert done.returncode == 0, done.stderr
    assert commands == ["show stat"] * 5
    [stopped] = instance.calls("systemctl", "stop")
    assert stopped[2:] == ["gpufleet-proxy.service", *(f"gpufleet-replica@{i}.service" for i in range(4))]
    assert told(instance, TERMINATING_HOOK) == ["CONTINUE"]


GROUP = GroupOfPlan(region="us-east-1", stack=STACK, fleet="gpufleet")

ALLOWED_OTHERWISE = {"ssm:GetParameter", "secretsmanager:GetSecretValue"}
"""By statements that have tests of their own."""


def test_an_instance_may_do_what_it_does_and_no_more(home: Path) -> None:
    """Every action of the AWS CLI that the scripts use, over a whole life, against the role's statements."""
    plan = on_spot(PLANS["four"])
    instance = in_service(home, plan)
    (home / "metrics").write_text(vllm())
    instance.script("metrics")
    instance.metadata("spot/instance-action", SPOT_NOTICE)
    with proxy_with(instance.root / "run/gpufleet/proxy", [0]):
        instance.script("watch")
    called = {f"{call[1]}:{''.join(word.title() for word in call[2].split('-'))}" for call in instance.calls("aws")}
    statements = [*lifecycle(GROUP), *spot(plan, GROUP), *telemetry(plan, "arn:of:logs")]
    allowed = {
        action for s in statements for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    }
    of_the_agent = {action for action in allowed if action.startswith("logs:")}
    assert called - ALLOWED_OTHERWISE == allowed - of_the_agent


def test_only_a_fleet_on_spot_may_end_its_own_instances() -> None:
    assert spot(PLANS["one"], GROUP) == []
    assert "autoscaling:TerminateInstanceInAutoScalingGroup" not in lifecycle(GROUP)[0]["Action"]
    files = {file.name: text for file, text in instance_files(PLANS["one"], stack=STACK, log_group=LOG_GROUP).items()}
    assert "terminate-instance" not in files["watch.sh"]
