"""Every rendered file, read back by its own language and compared with the plan."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox import options
from template_plans import HOSTILE, HOSTILE_SERVER, LOG_GROUP, PLANS, STACK, command, make_plan

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from stacks.config import read_stack_file, stack_file, stack_names
from templates.render import (
    USER_DATA_MAX_BYTES,
    instance_files,
    render_all,
    render_compose,
    render_proxy_config,
    render_user_data,
)

SHELLCHECK = (
    *(str(Path(sys.executable).parent / "shellcheck"), "--severity=style", "--shell=bash"),
    "--exclude=SC2016,SC1003",  # a dollar sign or a backslash in single quotes is meant to stay one
    "-",
)
COMPRESSED_SHA256 = "3d8c8d46582f4019c9fffeebf7f9ed370034869aa1bcd19a5576a245df820796"
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text(encoding="utf-8"))


def rendered(plan: DeploymentPlan) -> dict[str, str]:
    return render_all(plan, stack=STACK, log_group=LOG_GROUP)


def user_data(plan: DeploymentPlan) -> str:
    return render_user_data(plan, stack=STACK, log_group=LOG_GROUP)


def scripts(plan: DeploymentPlan) -> dict[str, str]:
    return {name: text for name, text in rendered(plan).items() if name.endswith(".sh")}


def compose_value(text: str) -> str:
    """What Compose makes of a value: it takes `$$` for a dollar sign, and a single one for a variable."""
    assert not re.search(r"(?<!\$)\$(\$\$)*(?!\$)", text), text
    return text.replace("$$", "$")


def test_the_files_of_a_plan(plan: DeploymentPlan) -> None:
    files = rendered(plan)
    assert {"boot.sh", "replica.sh", "watch.sh", "cloudwatch-agent.json", "compose.yaml", "plan.json"} <= set(files)
    for names, are_there in (
        ({"haproxy.cfg", "proxy.sh", "stop.sh", "gpufleet-proxy.service"}, plan.proxy),
        ({"weights.sh", "wanted.py"}, plan.model.downloads),
        ({"metrics.sh", "gpufleet-metrics.timer"}, plan.server.engine == "vllm"),
    ):
        assert names & set(files) == (names if are_there else set())
    assert DeploymentPlan.from_json(files["plan.json"]) == plan
    assert files == rendered(DeploymentPlan.from_json(plan.to_json()))


def test_scripts_pass_shellcheck_and_bash(plan: DeploymentPlan) -> None:
    for name, script in (scripts(plan) | {"user data": user_data(plan)}).items():
        if name != "common.sh":  # which the others read
            assert script.startswith("#!/bin/bash\n")
            assert "\nset -euo pipefail\n" in script
        for tool in (("bash", "-n"), SHELLCHECK):
            done = subprocess.run(tool, input=script, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (name, done.stdout, done.stderr)


def test_user_data_fits_in_what_ec2_takes(plan: DeploymentPlan) -> None:
    assert len(user_data(plan).encode()) < 0.9 * USER_DATA_MAX_BYTES


def test_user_data_brings_the_files_that_render_shows(plan: DeploymentPlan, tmp_path: Path) -> None:
    script, _, _ = user_data(plan).rpartition("\nexec ")
    subprocess.run(["bash", "-c", script], check=True, env={"PATH": os.defpath, "GPUFLEET_ROOT": str(tmp_path)})
    files = instance_files(plan, stack=STACK, log_group=LOG_GROUP)
    brought = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(brought) == {file.path for file in files}
    for file, text in files.items():
        assert brought[file.path].stat().st_mode & 0o777 == file.mode
        assert meaning(brought[file.path].read_text()) == meaning(text)


def meaning(text: str) -> list[str]:
    """The lines that do not only explain."""
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def test_the_same_files_are_the_same_bytes_on_every_machine() -> None:
    """Others would be a new version of the launch template, and replace every instance of the fleet."""
    assert hashlib.sha256(bz2.compress(b"gpufleet " * 5000)).hexdigest() == COMPRESSED_SHA256


@pytest.mark.parametrize("stack", stack_names())
def test_every_shipped_stack_has_room_left(stack: str) -> None:
    plan = plan_deployment(parse_requirements(read_stack_file(stack_file(stack))), load_catalog())
    assert len(user_data(plan).encode()) < 0.8 * USER_DATA_MAX_BYTES
    replica = rendered(plan)["replica.sh"]
    assert shlex.split(replica.replace("\\\n", " "))[-len(plan.server.command) :] == list(plan.server.command)


def test_user_data_that_does_not_fit_is_refused() -> None:
    noise = "".join(hashlib.sha256(bytes([i])).hexdigest() for i in range(256))  # it cannot be compressed
    plan = make_plan(server={"command": command(more=(noise,))})
    with pytest.raises(RequirementError, match="larger than EC2 takes") as error:
        user_data(plan)
    assert error.value.problems[0].path == "serving"


def test_user_data_holds_the_limits_of_every_type(plan: DeploymentPlan) -> None:
    table = re.search(r"limits_of\(\).*?<<'EOF'[^\n]*\n(.*?)\nEOF\n", rendered(plan)["boot.sh"], re.DOTALL)
    assert table
    rows = {row.split()[0]: [float(number) for number in row.split()[1:]] for row in table[1].splitlines()}
    assert rows == {
        planned.type: [
            planned.replica.vcpu,
            planned.replica.memory_mib,
            planned.shared_memory_mib,
            *([planned.proxy.vcpu, planned.proxy.memory_mib] if planned.proxy else []),
        ]
        for planned in plan.types
    }
    assert list(rows) == [planned.type for planned in plan.types]


def test_user_data_holds_the_arguments_of_the_server(plan: DeploymentPlan) -> None:
    script = scripts(plan)["replica.sh"]
    words = shlex.split(script[script.index("exec docker run") :].replace("\\\n", " "))
    _, (image, *arguments) = options(words[3:])
    assert (image, tuple(arguments)) == (plan.server.image, plan.server.command)
    if plan.server.engine == "diffusers":
        assert arguments == []  # the user's own server: nothing is added
        return
    assert arguments.count("--port") == 1
    assert arguments[arguments.index("--port") + 1] == str(plan.server.port)


def test_the_agent_reports_gpus_by_group_and_ships_every_log(plan: DeploymentPlan) -> None:
    config = json.loads(rendered(plan)["cloudwatch-agent.json"])
    metrics = config["metrics"]
    assert metrics["namespace"] == plan.scaling.metric_namespace
    assert metrics["aggregation_dimensions"] == [["AutoScalingGroupName"], ["AutoScalingGroupName", "InstanceType"]]
    assert metrics["append_dimensions"]["AutoScalingGroupName"] == "${aws:AutoScalingGroupName}"
    measured = metrics["metrics_collected"]["nvidia_gpu"]["measurement"]
    assert "utilization_gpu" in {measurement["name"] for measurement in measured}
    logs = config["logs"]["logs_collected"]["files"]["collect_list"]
    assert {log["log_group_name"] for log in logs} == {LOG_GROUP}
    containers = [f"replica-{index}" for index in range(plan.replicas_per_instance)] + (["proxy"] if plan.proxy else [])
    shipped = {log["file_path"] for log in logs}
    assert {f"/var/log/gpufleet/{name}.log" for name in containers} <= shipped
    assert len({log["log_stream_name"] for log in logs}) == len(logs) == len(shipped) == len(containers) + 3


def test_compose_follows_the_specification(plan: DeploymentPlan) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(rendered(plan)["compose.yaml"]))


def test_compose_holds_the_plans_arguments_and_limits(plan: DeploymentPlan) -> None:
    services: dict[str, Any] = yaml.safe_load(rendered(plan)["compose.yaml"])["services"]
    chosen = plan.types[0]
    assert len(services) == plan.replicas_per_instance + (1 if plan.proxy else 0)
    gpus: list[str] = []
    for index, port in enumerate(plan.server.replica_ports):
        service = services[f"replica-{index}"]
        assert service["image"] == plan.server.image
        assert tuple(compose_value(argument) for argument in service.get("command", ())) == plan.server.command
        environment = {name: compose_value(value) for name, value in service.get("environment", {}).items()}
        if plan.model.source.startswith("hf:"):
            assert environment.pop("HF_HOME").startswith("/models/")
        assert environment == plan.server.environment
        assert ("env_file" in service) == bool(plan.server.secrets)
        assert service["ports"] == [f"{'127.0.0.1:' if plan.proxy else ''}{port}:{plan.server.port}"]
        limits = service["deploy"]["resources"]["limits"]
        assert float(limits["cpus"]) == chosen.replica.vcpu == plan.limits.vcpu
        assert limits["memory"] == service["memswap_limit"] == f"{plan.limits.memory_mib}m"
        assert service["shm_size"] == f"{chosen.shared_memory_mib}m"
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        gpus += device["device_ids"]
    assert gpus == [str(index) for index in range(plan.tensor_parallelism * plan.replicas_per_instance)]
    if plan.proxy and chosen.proxy:
        assert services["proxy"]["image"] == plan.proxy.image
        assert services["proxy"]["deploy"]["resources"]["limits"] == {
            "cpus": f"{chosen.proxy.vcpu:g}",
            "memory": f"{chosen.proxy.memory_mib}m",
        }


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


@settings(max_examples=60)
@given(arguments=st.lists(ANY_TEXT | st.sampled_from(HOSTILE), max_size=6), value=ANY_TEXT)
def test_any_text_comes_out_as_it_went_in(arguments: list[str], value: str) -> None:
    plan = make_plan(server={"command": command(more=tuple(arguments)), "environment": {"VALUE": value}})
    service = yaml.safe_load(render_compose(plan))["services"]["replica-0"]
    assert tuple(compose_value(argument) for argument in service.get("command", ())) == plan.server.command
    assert compose_value(service["environment"]["VALUE"]) == value
    replica = scripts(plan)["replica.sh"].rstrip("\n")
    last = replica[replica.index("exec docker run") :]
    printed = last.replace("exec docker run", "printf '%s\\0'", 1)
    script = f"set -eu\nREPLICA_VCPU=1 REPLICA_MEMORY_MIB=1 SHM_MIB=1 MODELS=m gpus=0 publish=1:1\n{printed}\n"
    done = subprocess.run(["bash", "-c", script, "replica", "0"], capture_output=True, check=True)
    found, (image, *command_line) = options(done.stdout.decode().split("\0")[:-1])
    assert (image, tuple(command_line)) == (plan.server.image, plan.server.command)
    assert f"VALUE={value}" in found["--env"]


def test_a_plan_without_a_proxy_has_no_configuration_of_one() -> None:
    with pytest.raises(ValueError, match="no proxy"):
        render_proxy_config(PLANS["one"])


def test_names_in_comments_cannot_end_them() -> None:
    plan = make_plan(
        source="s3://bucket/a\nservices: {owned: {}}\n#",
        server={**HOSTILE_SERVER, "secrets": {"A\nowned: 1": "arn:aws:ssm:us-east-1:123456789012:parameter/x"}},
    )
    assert set(yaml.safe_load(render_compose(plan))) == {"services"}
    assert set(yaml.safe_load(render_compose(plan))["services"]) == {"replica-0"}
