"""Text from a stack file stays text: refused, or read back by each language exactly as it was written, and never run.

Every case goes the whole way: a document, its plan, the files of the plan, their own parsers. A canary is a file that some
of the texts would make if any of them were run.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError, Problem
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from templates.render import render_all, render_user_data
from tests.hostile import cases
from tests.hostile.cases import TEXTS, declare, drawn
from tests.templates.sandbox import S3_PREFIX, Instance, options

MORE_TEXTS = (
    "a'b", 'a"b', "$(touch CANARY)", "`touch CANARY`", "a; touch CANARY", "a && touch CANARY", "a | touch CANARY", "a > CANARY",
    "*", "~", "!x", "a  b", " a", "a ", "$$x", "${x:-$(touch CANARY)}", "%(x)s", "%H", "{{ plan.region }}", "{%- if 1 %}", "{# x #}",
    "#a", "a # b", "a: b", "- a", "[a]", "{a: b}", "|", ">", "&a", "*a", "?", "@", "`", "\\u0000", "\\x00", "a\\", "\\$(touch CANARY)",
    "--entrypoint=/bin/sh", "-v/:/host", "<<EOF", "été\u2028世界\x85\u2029", "\U0001f680", "\u202e", "\ufeffx", "'$(touch CANARY)'",
    '"$(touch CANARY)"', "]]>", "a,b", "a=b=c", "=", "0", "1.0", "true", "null", "1_000", "0x1f", "2020-01-01",
)  # fmt: skip
BASE: dict[str, Any] = {
    "region": "us-east-1",
    "model": {"id": "Qwen/Qwen3-8B", "parameters": "8.19B", "precision": "fp16", "tensorParallelism": 1},
    "serving": {"image": "vllm/vllm-openai:v0.19.0"},
    "instance": {"type": "g6.12xlarge"},
    "scaling": {"min": 1, "max": 2},
}
"""Several replicas on an instance: with the proxy, every kind of file is there."""
ARN = "arn:aws:ssm:us-east-1:123456789012:parameter/"

Document = dict[str, Any]
KEYS: dict[str, Callable[[str], Document]] = {
    "model.id": lambda text: {"model": {"id": text}},
    "model.id, after a slash": lambda text: {"model": {"id": f"Qwen/{text}"}},
    "model.source": lambda text: {"model": {"source": text}},
    "model.source, a revision": lambda text: {"model": {"source": f"hf://Qwen/Qwen3-8B@{text}"}},
    "model.source, a prefix": lambda text: {"model": {"source": f"s3://weights/{text}"}},
    "model.source, a path": lambda text: {"model": {"source": f"image:/{text}"}},
    "serving.image": lambda text: {"serving": {"image": text}},
    "serving.image, a tag": lambda text: {"serving": {"image": f"vllm/vllm-openai:{text}", "engineVersion": "0.19.0"}},
    "serving.engineVersion": lambda text: {"serving": {"engineVersion": text}},
    "serving.args": lambda text: {"serving": {"args": [text]}},
    "serving.environment, a name": lambda text: {"serving": {"environment": {text: "x"}}},
    "serving.environment, a value": lambda text: {"serving": {"environment": {"VALUE": text}}},
    "serving.environment, an address": lambda text: {"serving": {"environment": {"HF_ENDPOINT": text}}},
    "serving.secrets, a name": lambda text: {"serving": {"secrets": {text: f"{ARN}x"}}},
    "serving.secrets, an ARN": lambda text: {"serving": {"secrets": {"HF_TOKEN": f"{ARN}{text}"}}},
    "serving.healthPath": lambda text: {"serving": {"healthPath": f"/{text}"}},
    "instance.ami": lambda text: {"instance": {"ami": text}},
    "instance.amiParameter": lambda text: {"instance": {"amiParameter": f"/{text}"}},
    "instance.type": lambda text: {"instance": {"type": text}},
    "instance.families": lambda text: {"instance": {"families": [text]}},
    "instance.capacityReservations": lambda text: {"instance": {"capacityReservations": [text]}},
    "scaling.latency.percentile": lambda text: {"scaling": {"latency": {"percentile": text, "target": "2s"}}},
    "network.vpcId": lambda text: {"network": {"vpcId": text}},
    "network.certificateArn": lambda text: {"network": {"certificateArn": text}},
    "network.allowedCidrs": lambda text: {"network": {"allowedCidrs": [text]}},
    "region": lambda text: {"region": text},
    "tags, a key": lambda text: {"tags": {text: "x"}},
    "tags, a value": lambda text: {"tags": {"team": text}},
}  # fmt: skip
"""Every key that takes a text, with the text in it."""
CASES = tuple(dict.fromkeys((*(text for text in TEXTS if len(text) < 200), *MORE_TEXTS)))
declare(f"{__name__}.every text at every key", len(KEYS) * len(CASES))
NAMES = ("dev-us-east-1", "x'; touch CANARY; '", "$(touch CANARY)", 'a"b', "a\nb", "été %i {{ x }}")
"""Of stacks: what a file's name says is no more to be trusted than what is in it."""


def document(more: Document) -> Document:
    return {
        key: {**BASE.get(key, {}), **value} if isinstance(value, dict) else value
        for key, value in (BASE | more).items()
    }


def plan_of(more: Document) -> DeploymentPlan | None:
    """The plan, or None where the document is refused with a problem that has a path."""
    problems: tuple[Problem, ...] = ()
    try:
        return plan_deployment(parse_requirements(document(more)), load_catalog())
    except PlanningError as error:
        problems = error.problems
    assert all(problem.path and problem.message for problem in problems)
    return None


def check_files(plan: DeploymentPlan, stack: str) -> None:
    """Every rendered file says to its own parser what the plan says, and nothing else."""
    log_group = f"/gpufleet/{stack}"
    files = render_all(plan, stack=stack, log_group=log_group)
    check_replica(files["replica.sh"], plan)
    check_compose(yaml.safe_load(files["compose.yaml"]), plan)
    agent = json.loads(files["cloudwatch-agent.json"])
    assert {log["log_group_name"] for log in agent["logs"]["logs_collected"]["files"]["collect_list"]} == {log_group}
    assert agent["metrics"]["namespace"] == plan.scaling.metric_namespace
    assert DeploymentPlan.from_json(files["plan.json"]) == plan
    if "haproxy.cfg" in files:
        uris = re.findall(r"^ +(?:monitor-uri|http-check send meth GET uri) (.*)$", files["haproxy.cfg"], re.MULTILINE)
        assert [shlex.split(uri) for uri in uris] == [[plan.server.health_path]] * 2
        assert len(files["haproxy.cfg"].split("\n")) == files["haproxy.cfg"].count("\n") + 1
    check_boot(files["boot.sh"], plan)
    assert assignment(files["common.sh"], "STACK") == stack
    assert units(plan, stack) <= plain_units()  # nothing of a stack file is in them


def assignment(script: str, name: str) -> str:
    """The value that a shell gives to a name: the first word after `name=`, its quotes read."""
    lexer = shlex.shlex(script.partition(f"{name}=")[2], posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    return lexer.get_token() or ""


def check_replica(script: str, plan: DeploymentPlan) -> None:
    words = shlex.split(script[script.index("exec docker run") :].replace("\\\n", " "))
    command = list(plan.server.command)
    image = len(words) - len(command) - 1
    assert words[image:] == [plan.server.image, *command]
    given_ = [word for before, word in pairwise(words) if before == "--env"]
    own = {name for name in given_ if name.startswith(("HF_HOME=/models", "HF_HUB_OFFLINE="))}
    assert {f"{name}={value}" for name, value in plan.server.environment.items()} == set(given_) - own | own & {
        f"{name}={value}" for name, value in plan.server.environment.items()
    }


def check_compose(compose: Any, plan: DeploymentPlan) -> None:
    replica = compose["services"]["replica-0"]
    assert set(compose["services"]) == {f"replica-{i}" for i in range(plan.replicas_per_instance)} | (
        {"proxy"} if plan.proxy else set()
    )
    assert as_compose_reads(replica["image"]) == plan.server.image
    assert [as_compose_reads(word) for word in replica.get("command", [])] == list(plan.server.command)
    environment = {name: as_compose_reads(value) for name, value in replica.get("environment", {}).items()}
    assert environment.items() >= dict(plan.server.environment).items()
    assert set(environment) - set(plan.server.environment) <= {"HF_HOME"}


def as_compose_reads(text: str) -> str:
    """A single dollar sign would be a variable."""
    assert not re.search(r"(?<!\$)\$(\$\$)*(?!\$)", text)
    return text.replace("$$", "$")


def check_boot(script: str, plan: DeploymentPlan) -> None:
    assert assignment(script, "HEALTH_PATH") == plan.server.health_path
    pulls = re.findall(r"^  retry 6 pull_image (.*) & pulls\+=", script, re.MULTILINE)
    assert [shlex.split(word) for word in pulls] == [[plan.server.image], *([[plan.proxy.image]] if plan.proxy else [])]
    secrets = re.findall(r"^    secret (.*)$", script, re.MULTILINE)
    assert [tuple(shlex.split(line)) for line in secrets] == sorted(plan.server.secrets.items())
    fetched = re.findall(r'^  "\$LIB/weights.sh" (.*) \|\| die', script, re.MULTILINE)
    assert [shlex.split(line) for line in fetched] == [[address] for address in plan.model.downloads]


def units(plan: DeploymentPlan, stack: str = "x") -> set[str]:
    """The systemd units of a plan, numbers apart."""
    files = render_all(plan, stack=stack, log_group="/x")
    return {re.sub(r"\d+", "#", text) for name, text in files.items() if name.endswith((".service", ".timer"))}


@cache
def plain_units() -> frozenset[str]:
    """Those of plain plans, with the proxy and without it."""
    plain = (plan_of({}), plan_of({"instance": {"type": "g6.2xlarge"}}))
    return frozenset(text for plan in plain if plan for text in units(plan))


@pytest.mark.parametrize("key", KEYS)
def test_a_text_is_refused_or_stays_a_text(key: str) -> None:
    """Every text at every key."""
    planned = 0
    for text in CASES[:: cases.FEWER]:
        plan = plan_of(KEYS[key](text))
        if plan is not None:
            planned += 1
            check_files(plan, NAMES[planned % len(NAMES)])
    # Arguments, values and such take nearly anything; most keys take nothing that is special.
    takes_anything = key.startswith(("serving.args", "serving.environment, a value", "serving.environment, an address"))
    assert planned > 0.8 * len(CASES[:: cases.FEWER]) if takes_anything else planned < 0.6 * len(CASES[:: cases.FEWER])


@drawn(250)
@given(st.lists(st.text(max_size=40) | st.sampled_from(CASES), max_size=5), st.sampled_from(NAMES))
def test_any_text_as_an_argument_and_as_a_value(texts: list[str], stack: str) -> None:
    environment = {f"VALUE_{index}": text for index, text in enumerate(texts)}
    plan = plan_of({"serving": {"args": texts, "environment": environment}})
    if plan is not None:
        assert list(plan.server.command)[len(plan.server.command) - len(texts) :] == texts
        assert dict(plan.server.environment).items() >= environment.items()
        check_files(plan, stack)


def accepted(key: str) -> list[str]:
    return [text for text in CASES if plan_of(KEYS[key](text)) is not None]


def unpacked(user_data: str) -> dict[str, str]:
    packed = user_data.split("<<'EOF'\n")[1].split("\nEOF\n")[0].replace("\n", "")
    with tarfile.open(fileobj=io.BytesIO(base64.b85decode(packed))) as archive:
        return {entry.name: file.read().decode() for entry in archive if (file := archive.extractfile(entry))}


@pytest.mark.parametrize("stack", NAMES)
def test_nothing_of_it_runs_on_an_instance(stack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text that an argument, a value, a path and an address may be, in one server; its user data boots, each replica
    starts, and Docker is given the texts as they are."""
    monkeypatch.chdir(tmp_path)
    arguments, values = accepted("serving.args"), accepted("serving.environment, a value")
    environment = {f"VALUE_{index}": text for index, text in enumerate(values)}
    plan = plan_of(
        {
            "model": {"source": f"s3://weights/{S3_PREFIX}"},
            "serving": {
                "args": arguments,
                "environment": environment | {"HF_ENDPOINT": "https://x/$(touch CANARY)'`touch CANARY`"},
                "secrets": {"HF_TOKEN": f"{ARN}hf"},
                "healthPath": "/%7E/a",
            },
        }
    )
    assert plan is not None
    user_data = render_user_data(plan, stack=stack, log_group=f"/gpufleet/{stack}")
    instance = Instance(home=tmp_path / "instance", type=plan.instance.type)
    instance.home.mkdir()
    files = unpacked(user_data)
    for name, text in files.items():
        if name.endswith(".sh"):
            assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    for name in ("common", "replica"):
        path = instance.root / f"usr/local/lib/gpufleet/{name}.sh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[f"usr/local/lib/gpufleet/{name}.sh"], encoding="utf-8")
        path.chmod(0o755)
    done = instance.boot(user_data)
    assert stack in instance.log(), done.stderr
    started = instance.script("replica", "0")
    assert started.returncode == 0, started.stderr
    [call] = instance.calls("docker", "run")
    given_, rest = options(call[2:])
    assert rest == [plan.server.image, *plan.server.command]
    assert rest[-len(arguments) :] == arguments
    assert {f"{name}={value}" for name, value in environment.items()} <= set(given_["--env"])
    assert not [path for path in tmp_path.rglob("*CANARY*")]


@pytest.mark.parametrize("text", accepted("serving.healthPath"))
def test_the_proxy_takes_the_path_as_it_is(text: str, tmp_path: Path) -> None:
    plan = plan_of(KEYS["serving.healthPath"](text))
    assert plan is not None
    path = tmp_path / "haproxy.cfg"
    path.write_text(render_all(plan, stack="x", log_group="/x")["haproxy.cfg"], encoding="utf-8")
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("revision", ["../x", "a/../../../../etc/cron.d/x", "a..b", "a/.."])
def test_a_revision_leads_nowhere_else(revision: str) -> None:
    """It is the name of a file on the instance."""
    assert plan_of(KEYS["model.source, a revision"](revision)) is None
    assert plan_of(KEYS["model.source, a revision"]("refs/pr/1.2")) is not None


@pytest.mark.parametrize(
    "path", ["../x.json", "a/../../x.json", "/etc/x.json", "a\nb.json", "a\tb.json", "\x1b.json", "x/..json/../y.json"]
)
@pytest.mark.parametrize("listing", ["hub", "s3"])
def test_a_listing_leads_nowhere_else(listing: str, path: str) -> None:
    """What a repository or a bucket calls its files is not to be trusted either."""
    names = ["model.safetensors", path]
    said: dict[str, Any] = (
        {"sha": "0" * 40, "siblings": [{"rfilename": name, "size": 1, "blobId": "0" * 40} for name in names]}
        if listing == "hub"
        else {"Contents": [{"Key": f"p/{name}", "Size": 1} for name in names]}
    )
    command = [sys.executable, str(Path(cases.__file__).parents[2] / "templates" / "wanted.py"), "p/"]
    done = subprocess.run(command, input=json.dumps(said), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "none of a model" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_is_no_option_of_curl() -> None:
    plan = plan_of(
        {"serving": {"environment": {"HF_ENDPOINT": "-o/etc/passwd"}}, "model": {"source": "hf://Qwen/Qwen3-8B"}}
    )
    assert plan is not None
    script = render_all(plan, stack="x", log_group="/x")["weights.sh"]
    assert '--url "$HUB/$1"' in script
    assert assignment(script, "HUB") == "-o/etc/passwd"
