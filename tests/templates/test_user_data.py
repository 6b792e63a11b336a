"""User data, run on an instance of stand-ins."""

from __future__ import annotations

import configparser
import json
import re
import stat
from pathlib import Path

import pytest
from sandbox import AGENT, COMMIT, WEIGHTS, Instance, options
from template_plans import HOSTILE, HOSTILE_SERVER, LOG_GROUP, PLANS, SECRETS, STACK, make_plan

from gpufleet.planner.lifecycle import LAUNCHING_HOOK
from gpufleet.planner.plan import DeploymentPlan
from templates.render import render_agent_config, render_proxy_config, render_user_data

SECRET_VALUE = "value of "


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(home=tmp_path)


def booted(instance: Instance, plan: DeploymentPlan) -> Instance:
    done = instance.boot(user_data(plan))
    assert done.returncode == 0, done.stderr
    return instance


def user_data(plan: DeploymentPlan) -> str:
    return render_user_data(plan, stack=STACK, log_group=LOG_GROUP)


def files(root: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_text())
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "gpufleet.log"
    }


def started(instance: Instance, *command: str) -> tuple[dict[str, list[str]], list[str]]:
    done = instance.run(*command)
    assert done.returncode == 0, done.stderr
    return options(instance.calls("docker", "run")[-1][2:])


@pytest.mark.parametrize("name", ["one", "four", "s3", "image", "hostile", "hostile-four"])
def test_an_instance_comes_up(instance: Instance, name: str) -> None:
    plan = PLANS[name]
    booted(instance, plan)
    units = {call[-1] for call in instance.calls("systemctl", "enable")}
    assert units == {"gpufleet-boot.service"}
    expected = [f"gpufleet-replica@{index}.service" for index in range(plan.replicas_per_instance)]
    expected += ["gpufleet-proxy.service"] if plan.proxy else []
    expected += ["gpufleet-metrics.timer"]
    watching = ["gpufleet-journal.service", "gpufleet-watch.service"]
    assert [call[2:] for call in instance.calls("systemctl", "start") if "gpufleet-watch.service" in call] == [watching]
    assert instance.calls("systemctl", "start")[-1][2:] == expected
    pulled = {call[-1] for call in instance.calls("docker", "pull")}
    assert pulled == {plan.server.image} | ({plan.proxy.image} if plan.proxy else set())
    assert instance.log().rstrip().endswith(f"containers of {STACK} serve")


@pytest.mark.parametrize("name", ["one", "four", "s3", "image", "forty", "hostile", "hostile-four"])
def test_replicas_get_the_plans_arguments_and_the_limits_of_their_own_type(instance: Instance, name: str) -> None:
    plan = PLANS[name]
    own = plan.types[-1]
    instance = booted(instance.with_(type=own.type), plan)
    gpus: list[str] = []
    for index, port in enumerate(plan.server.replica_ports):
        given, (image, *command) = started(instance, str(instance.library / "replica.sh"), str(index))
        assert (image, tuple(command)) == (plan.server.image, plan.server.command)
        assert float(given["--cpus"][0]) == own.replica.vcpu
        assert given["--memory"] == given["--memory-swap"] == [f"{own.replica.memory_mib}m"]
        assert given["--shm-size"] == [f"{own.shared_memory_mib}m"]
        host = "127.0.0.1:" if plan.proxy else ""
        assert given["--publish"] == [f"{host}{port}:{plan.server.port}"]
        gpus += given["--gpus"][0].removeprefix('"device=').removesuffix('"').split(",")
        environment = dict(variable.split("=", 1) for variable in given.get("--env", []))
        if plan.model.source.startswith("hf:"):
            assert environment.pop("HF_HOME").startswith(given["--volume"][0].split(":")[1])
            assert environment.pop("HF_HUB_OFFLINE") == "1", "the server never downloads by itself"
        assert environment == plan.server.environment
    assert gpus == [str(index) for index in range(plan.tensor_parallelism * plan.replicas_per_instance)]


def test_the_proxy_gets_its_own_limits_and_the_hosts_network(instance: Instance) -> None:
    plan = PLANS["four"]
    booted(instance, plan)
    given, rest = started(instance, str(instance.library / "proxy.sh"))
    limits = plan.types[0].proxy
    assert plan.proxy
    assert limits
    assert rest == [plan.proxy.image]
    assert given["--network"] == ["host"]
    assert (float(given["--cpus"][0]), given["--memory"]) == (limits.vcpu, [f"{limits.memory_mib}m"])
    assert given["--volume"] == [
        f"{instance.root}/etc/gpufleet/haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro",
        f"{instance.root}/run/gpufleet/proxy:/run/gpufleet",
    ]
    socket = re.search(r"stats socket (\S+) ", render_proxy_config(plan))
    assert socket
    assert Path(socket[1]).parent == Path("/run/gpufleet")


def test_weights_in_s3_lie_where_the_server_looks_for_them(instance: Instance) -> None:
    booted(instance, PLANS["s3"])
    given, (_, *command) = started(instance, str(instance.library / "replica.sh"), "0")
    host, inside, mode = given["--volume"][0].split(":")
    assert (inside, mode) == ("/models", "ro")
    assert contents(Path(command[command.index("--model") + 1].replace(inside, host, 1))) == WEIGHTS


def test_weights_of_the_hub_lie_where_its_library_looks_for_them(instance: Instance) -> None:
    booted(instance, PLANS["one"])
    given, (_, *command) = started(instance, str(instance.library / "replica.sh"), "0")
    host, inside = given["--volume"][0].split(":")
    home = next(value for value in given["--env"] if value.startswith("HF_HOME=")).partition("=")[2]
    name = command[command.index("--model") + 1].replace("/", "--")
    repository = Path(home.replace(inside, host, 1)) / "hub" / f"models--{name}"
    assert (repository / "refs/main").read_text() == COMMIT
    assert contents(repository / "snapshots" / COMMIT) == WEIGHTS


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_baked_in_model_needs_no_directory(instance: Instance) -> None:
    booted(instance, PLANS["image"])
    given, _ = started(instance, str(instance.library / "replica.sh"), "0")
    assert not {"--volume", "--env"} & set(given)
    assert not instance.calls("lsblk")


def test_a_type_outside_the_plan_is_refused(instance: Instance) -> None:
    instance = instance.with_(type="g6.2xlarg")
    assert instance.boot(user_data(PLANS["one"])).returncode == 1
    assert f"error: instance type g6.2xlarg is not in the plan of {STACK}" in instance.log()
    assert not instance.calls("docker", "run")
    assert not instance.calls("docker", "pull")
    assert told(instance) == ["ABANDON"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus": 0}, "the NVIDIA driver shows no GPU"),
        ({"gpus": 7}, "the NVIDIA driver shows 7 of 8 GPUs"),
        ({"secrets": "missing"}, f"secret HF_TOKEN cannot be read: {SECRETS['HF_TOKEN']}"),
        ({"pull_failures": 99}, "an image cannot be pulled"),
        ({"health_failures": 99_999}, "port 8001 does not answer /health after 1020 s"),
        ({"removed": frozenset({"nvidia-ctk"})}, "this AMI lacks: nvidia-ctk"),
    ],
    ids=["no GPU", "a GPU too few", "no secret", "no image", "no answer", "no toolkit"],
)
def test_what_an_instance_lacks_is_said_in_the_log(instance: Instance, change: dict[str, object], message: str) -> None:
    instance = instance.with_(**change)
    assert instance.boot(user_data(PLANS["four"])).returncode == 1
    assert f"error: {message}" in instance.log()
    assert told(instance) == (["ABANDON"] if "removed" not in change else [])
    assert not instance.log().rstrip().endswith("serve")
    assert instance.calls(Path(AGENT).name), "the agent ships the log of an instance that failed, too"


def test_an_image_is_pulled_again_after_a_failure(instance: Instance) -> None:
    instance = booted(instance.with_(pull_failures=3), PLANS["one"])
    assert len(instance.calls("docker", "pull")) == 4
    assert {"2", "4", "8"} <= {call[1] for call in instance.calls("sleep")}


def test_an_agent_that_does_not_run_is_not_fatal(instance: Instance) -> None:
    booted(instance.with_(agent=False), PLANS["one"])
    assert "warning: the CloudWatch agent does not run" in instance.log()


def test_the_agent_starts_after_the_driver_with_its_configuration(instance: Instance) -> None:
    plan = PLANS["four"]
    booted(instance, plan)
    names = [call[0] for call in instance.calls()]
    assert names.index("nvidia-smi") < names.index(Path(AGENT).name)
    written = json.loads((instance.root / "etc/gpufleet/cloudwatch-agent.json").read_text())
    assert written == json.loads(render_agent_config(plan, log_group=LOG_GROUP))


def test_secrets_reach_the_container_and_nothing_else(instance: Instance) -> None:
    plan = PLANS["four"]
    done = instance.boot(user_data(plan))
    assert done.returncode == 0
    secrets = instance.root / "run/gpufleet/secrets.env"
    assert [line.split("=", 1)[0] for line in secrets.read_text().splitlines()] == sorted(plan.server.secrets)
    assert secrets.read_text().splitlines()[0] == f"HF_TOKEN={SECRET_VALUE}{SECRETS['HF_TOKEN']}  with # and $"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(secrets.parent.stat().st_mode) == 0o700
    given, _ = started(instance, str(instance.library / "replica.sh"), "0")
    assert given["--env-file"] == [str(secrets)]
    of_the_hub = instance.root / "run/gpufleet/hub.curl"
    assert stat.S_IMODE(of_the_hub.stat().st_mode) == 0o600
    elsewhere = [path for path in instance.root.rglob("*") if path.is_file() and path not in (secrets, of_the_hub)]
    assert not [path for path in elsewhere if SECRET_VALUE in path.read_text()]
    assert SECRET_VALUE not in done.stdout + done.stderr
    assert not [call for call in instance.calls() if any(SECRET_VALUE in argument for argument in call)]
    read = [*instance.calls("aws", "ssm"), *instance.calls("aws", "secretsmanager")]
    regions = {call[-1]: call[call.index("--region") + 1] for call in read}
    assert regions == {arn: arn.split(":")[3] for arn in plan.server.secrets.values()}


@pytest.mark.parametrize("name", ["four", "s3"])
def test_a_second_boot_changes_nothing_and_pulls_nothing(instance: Instance, name: str) -> None:
    booted(instance, PLANS[name])
    before = files(instance.root)
    transfers = len(fetched(instance))
    assert transfers
    assert instance.script("boot").returncode == 0
    assert files(instance.root) == before
    assert len(fetched(instance)) == transfers
    assert told(instance) == ["CONTINUE"], "it is in service already"


def fetched(instance: Instance) -> list[list[str]]:
    """Everything that was asked of a registry, of Hugging Face or of S3."""
    hub = [call for call in instance.calls("curl") if any("huggingface" in argument for argument in call)]
    return [*instance.calls("docker", "pull"), *instance.calls("aws", "s3"), *instance.calls("aws", "s3api"), *hub]


def told(instance: Instance, hook: str = LAUNCHING_HOOK) -> list[str]:
    """With which results the instance completed a hook."""
    calls = instance.calls("aws", "autoscaling", "complete-lifecycle-action")
    assert all("gpufleet-group-0123456" in call and "i-0123456789abcdef0" in call for call in calls)
    return [call[-1] for call in calls if hook in call]


def test_the_metadata_service_is_asked_with_a_token(instance: Instance) -> None:
    booted(instance, PLANS["one"])
    asked = [call for call in instance.calls("curl") if any("169.254.169.254" in argument for argument in call)]
    assert asked
    for token, question in zip(asked[::2], asked[1::2], strict=True):
        assert "PUT" in token
        assert "X-aws-ec2-metadata-token: a-token" in question


DISKS = "/dev/nvme0n1 Amazon Elastic Block Store\n/dev/nvme1n1 Amazon EC2 NVMe Instance Storage\n"


@pytest.mark.parametrize(
    ("disks", "made_of"),
    [
        ("/dev/nvme0n1 Amazon Elastic Block Store\n", None),
        (DISKS, "/dev/nvme1n1"),
        (DISKS + "/dev/nvme2n1 Amazon EC2 NVMe Instance Storage\n", "/dev/md0"),
    ],
    ids=["none", "one disk", "two disks"],
)
def test_model_files_go_to_the_instance_store(instance: Instance, disks: str, made_of: str | None) -> None:
    instance = booted(instance.with_(disks=disks), PLANS["one"])
    assert [call[-1] for call in instance.calls("mkfs.xfs")] == ([made_of] if made_of else [])
    assert [call[-1] for call in instance.calls("mount")] == (
        [str(instance.root / "var/lib/gpufleet/models")] if made_of else []
    )
    raid = [call[-2:] for call in instance.calls("mdadm", "--create")]
    assert raid == ([["/dev/nvme1n1", "/dev/nvme2n1"]] if made_of == "/dev/md0" else [])


@pytest.mark.parametrize("name", ["one", "four"])
def test_units_run_what_is_there_and_restart(instance: Instance, name: str) -> None:
    plan = PLANS[name]
    booted(instance, plan)
    units = sorted((instance.root / "etc/systemd/system").glob("*.service"))
    assert len(units) == (6 if plan.proxy else 5)
    for path in units:
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment, method-assign]
        unit.read(path)
        program = unit["Service"]["ExecStart"].split()[0]
        if program.startswith("/usr/bin/"):
            continue
        assert (instance.root / program.removeprefix("/")).stat().st_mode & stat.S_IXUSR
        is_timed = path.with_suffix(".timer").exists()
        assert is_timed or unit["Service"]["Restart"] in ("always", "on-failure")
        stop = unit["Service"].get("ExecStop", "").split()
        if stop and stop[0].startswith("/usr/local"):
            assert (instance.root / stop[0][1:]).stat().st_mode & stat.S_IXUSR
        elif stop:
            name_of_container = re.escape(unit["Service"]["ExecStop"].split()[-1]).replace("%i", r"\$1")
            assert re.search(rf'--name "?{name_of_container}"? ', (instance.root / program[1:]).read_text())


def test_hostile_names_stay_names(instance: Instance) -> None:
    stack = "x'; touch owned; $(touch owned) \\"
    plan = make_plan(server=HOSTILE_SERVER)
    done = instance.boot(render_user_data(plan, stack=stack, log_group=HOSTILE[4]))
    assert done.returncode == 0, done.stderr
    assert f"containers of {stack} serve" in instance.log()
    assert not list(Path.cwd().glob("owned"))
    assert not Path("/tmp/owned").exists()
