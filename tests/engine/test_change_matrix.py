"""A matrix of changes on standing stacks: what each does is told before, is what was meant, and is all that it does.

A row of a table is one edit of the stack file and the resources that it may touch. The rows of a walk are made one after
the other, each on what the one before left. For each row the operations that the engine previews are exactly the
expected ones and exactly those that it then makes; no way in is replaced, and what serves is not deleted before its
successor is made; a second `up`, which refreshes the state first, finds no drift and does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from gpufleet.emulator.ssm import PUBLIC_IMAGES
from tests.emulator.running import PROJECT
from tests.engine.conftest import Deploy
from tests.engine.deployment import PROVIDER_GAP, Deployment

Operations = dict[str, set[str]]
"""The logical names of resources, without the fleet's own, by what is done to them; those that stay are not there."""

TOUCHING = {
    "create": "create",
    "update": "update",
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "delete": "delete",
}
"""Operations by the engine's steps; a replacement has three."""

ENTRY_POINTS = frozenset({"lb", "http", "https"})
"""What clients reach: no row may replace it."""

ROLL = frozenset({"template", "group"})
"""A new version of the launch template, which the group's refresh brings to the instances."""

RULES_OF_SERVER = frozenset({"fleet-from-lb", "lb-to-fleet"})
ALARMS_OF_TARGETS = frozenset({"no-healthy-instance", "unhealthy-instances", "server-errors", "slow", "slow-for-long"})
ALARMS = frozenset({"no-healthy-instance", "unhealthy-instances", "server-errors", "gateway-errors", "at-maximum"})
CALLED = frozenset({"alarms", "alarms-oncall@example.com"})

DAY = {"name": "day", "cron": "0 8 * * *", "timeZone": "UTC", "min": 2}
EARLIER = {**DAY, "cron": "0 7 * * *"}

REGION = "ap-south-1"
"""Of the stack whose rows name what lies in a region."""
RESERVATION = "cr-0123456789abcdef0"
SECRET = f"arn:aws:ssm:{REGION}:123456789012:parameter/hf-token"
CERTIFICATES = tuple(
    f"arn:aws:acm:{REGION}:123456789012:certificate/{n}2345678-1234-1234-1234-123456789012" for n in "12"
)

ROUNDS = 8
"""How often, at most: what stands on another resource comes after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row: an edit of the stack file, by section and key (None takes a key out), and what it does."""

    name: str
    edit: Mapping[str, Any]
    create: Iterable[str] = ()
    update: Iterable[str] = ()
    replace: Iterable[str] = ()
    delete: Iterable[str] = ()
    every_tag: bool = False
    """Updates everything that has tags, too."""

    def expected(self, stack: Deployment) -> Operations:
        """What the engine must say of it."""
        update = {*self.update, *(tagged(stack) if self.every_tag else ())}
        told = {"create": self.create, "update": update, "replace": self.replace, "delete": self.delete}
        return {kind: set(names) for kind, names in told.items() if names}


FLEET = (
    Change(name="maximum", edit={"scaling": {"max": 4}}, update={"group"}),
    Change(name="minimum", edit={"scaling": {"min": 2}}, update={"group"}),
    Change(name="size at creation", edit={"scaling": {"desired": 3}}),
    Change(
        name="GPU utilisation instead of the defaults",
        edit={"scaling": {"gpuUtilization": 70}},
        create={"gpu-utilization"},
        update={"dashboard"},
        delete={"requests-in-flight", "kv-cache-use"},
    ),
    Change(
        name="target of GPU utilisation",
        edit={"scaling": {"gpuUtilization": 60}},
        update={"gpu-utilization", "dashboard"},
    ),
    Change(name="CPU signal", edit={"scaling": {"cpuUtilization": 60}}, create={"cpu-utilization"}),
    Change(
        name="latency policy",
        edit={"scaling": {"latency": {"target": "2s"}}},
        create={"latency", "slow", "slow-for-long"},
        update={"dashboard"},
    ),
    Change(
        name="percentile",
        edit={"scaling": {"latency": {"percentile": "p99"}}},
        update={"slow", "slow-for-long", "dashboard"},
    ),
    Change(
        name="no latency policy",
        edit={"scaling": {"latency": None}},
        update={"dashboard"},
        delete={"latency", "slow", "slow-for-long"},
    ),
    Change(
        name="no GPU signal",
        edit={"scaling": {"gpuUtilization": "off"}},
        update={"dashboard"},
        delete={"gpu-utilization"},
    ),
    Change(name="queue", edit={"scaling": {"waitingRequests": 2}}, create={"waiting", "queue"}),
    Change(name="schedule", edit={"scaling": {"schedules": [DAY]}}, create={"schedule-day"}),
    Change(name="time of a schedule", edit={"scaling": {"schedules": [EARLIER]}}, update={"schedule-day"}),
    Change(name="no schedule", edit={"scaling": {"schedules": None}}, delete={"schedule-day"}),
    Change(
        name="people to call",
        edit={"alarms": {"emails": ["oncall@example.com"]}},
        create={*CALLED, "launch-failed", "launch-failed-0"},
        update=ALARMS,
    ),
    Change(
        name="nobody to call",
        edit={"alarms": None},
        update=ALARMS,
        delete={*CALLED, "launch-failed", "launch-failed-0"},
    ),
    Change(name="Spot share", edit={"instance": {"spotPercentage": 50}}, create={"spot"}, update=ROLL),
    Change(name="no Spot", edit={"instance": {"spotPercentage": None}}, update=ROLL, delete={"spot"}),
    Change(
        name="grace period", edit={"timing": {"healthCheckGracePeriod": "40m"}}, update={"group", "unhealthy-instances"}
    ),
    Change(name="rollouts pass alarms", edit={"scaling": {"stopOnAlarm": False}}, update={"group"}),
    Change(name="rollouts without spare", edit={"scaling": {"minHealthy": 50}}, update={"group"}),
    Change(name="reservations", edit={"instance": {"capacityReservations": [RESERVATION]}}, update={"group"}),
    Change(name="family", edit={"instance": {"families": ["g5"]}}, update={*ROLL, "dashboard"}),
    Change(name="precision", edit={"model": {"precision": "bf16"}}, update=ROLL),
    Change(name="model", edit={"model": {"id": "Qwen/Qwen2.5-7B-Instruct", "parameters": "7.62B"}}, update=ROLL),
    Change(
        name="four replicas behind a proxy",
        edit={"instance": {"families": None, "type": "g6.12xlarge"}},
        update={*ROLL, "launching", "dashboard"},
    ),
)
"""Size, signals, rollouts and the machine, on a development stack."""

SERVICE = (
    Change(name="image", edit={"serving": {"image": "vllm/vllm-openai:v0.19.1"}}, update=ROLL),
    Change(name="sequences at once", edit={"serving": {"maxNumSeqs": 8}}, update=ROLL),
    Change(name="secret", edit={"serving": {"secrets": {"HF_TOKEN": SECRET}}}, create={"secrets"}, update=ROLL),
    Change(name="no secret", edit={"serving": {"secrets": None}}, update=ROLL, delete={"secrets"}),
    Change(name="weights in S3", edit={"model": {"source": "s3://weights/qwen3"}}, create={"weights"}, update=ROLL),
    Change(name="pinned AMI", edit={"instance": {"ami": PUBLIC_IMAGES[1].image_id(REGION)}}, update=ROLL),
    Change(name="newest AMI at each launch", edit={"instance": {"ami": "launch"}}, update=ROLL),
    Change(
        name="networks of clients",
        edit={"network": {"allowedCidrs": ["10.1.0.0/16"]}},
        create={"lb-80-from-10.1.0.0-16"},
        delete={"lb-80-from-10.0.0.0-16"},
    ),
    Change(
        name="certificate",
        edit={"network": {"certificateArn": CERTIFICATES[0]}},
        create={"https", "lb-443-from-10.1.0.0-16"},
        update={"http", "fleet-to-lb", "lb-from-fleet"},
    ),
    Change(name="other certificate", edit={"network": {"certificateArn": CERTIFICATES[1]}}, update={"https"}),
    Change(
        name="no certificate",
        edit={"network": {"certificateArn": None}},
        update={"http", "fleet-to-lb", "lb-from-fleet"},
        delete={"https", "lb-443-from-10.1.0.0-16"},
    ),
    Change(
        name="port of the server",
        edit={"serving": {"port": 9000}},
        replace={"targets"},
        update={*ROLL, *RULES_OF_SERVER, *ALARMS_OF_TARGETS, "http", "dashboard"},
    ),
    Change(
        name="longest request",
        edit={"timing": {"longestRequest": "10m"}},
        update={*ROLL, "lb", "targets", "terminating"},
    ),
    Change(name="tag", edit={"tags": {"cost-center": "4711"}}, every_tag=True),
    Change(name="protection", edit={"protect": False}),
)
"""What is served, and who reaches it how, on a protected stack."""

OTHER_ZONES = tuple(f"use1-az{n}" for n in (2, 4, 5, 6))
"""Those in which the fleet may run, without the first, which has the one NAT gateway."""
NAT_OF_ZONES = frozenset(
    f"{kind}-{zone}" for zone in OTHER_ZONES for kind in ("nat-address", "nat", "private", "private-internet", "s3")
)
"""A way out for each: address, gateway, route table, route, and S3's endpoint on that table."""
ROUTED = frozenset(f"private-{zone}" for zone in OTHER_ZONES)
ENDPOINT_OF_LOGS = frozenset({"endpoints", "endpoints-from-fleet", "endpoint-logs"})
ENDPOINTS_OF_SSM = frozenset({"endpoint-ssm", "endpoint-ssmmessages"})

NETWORK = (
    Change(
        name="endpoints", edit={"network": {"endpoints": ["logs", "ssm"]}}, create=ENDPOINT_OF_LOGS | ENDPOINTS_OF_SSM
    ),
    Change(name="fewer endpoints", edit={"network": {"endpoints": ["logs"]}}, delete=ENDPOINTS_OF_SSM),
    Change(name="no endpoints", edit={"network": {"endpoints": None}}, delete=ENDPOINT_OF_LOGS),
    Change(name="NAT per zone", edit={"network": {"natPerZone": True}}, create=NAT_OF_ZONES, update=ROUTED),
    Change(name="one NAT", edit={"network": {"natPerZone": None}}, update=ROUTED, delete=NAT_OF_ZONES),
    Change(name="flow logs", edit={"network": {"flowLogs": True}}, create={"flow-logs"}),
    Change(name="no flow logs", edit={"network": {"flowLogs": None}}, delete={"flow-logs"}),
    Change(
        name="access logs",
        edit={"network": {"accessLogs": True, "deleteAccessLogs": True}},
        create={"access-logs"},
        update={"lb"},
    ),
    Change(
        name="no access logs",
        edit={"network": {"accessLogs": None, "deleteAccessLogs": None}},
        update={"lb"},
        delete={"access-logs"},
    ),
)
"""What a VPC of the program's own has around a standing fleet."""

WALKS = {
    "fleet": ("dev-us-east-1", FLEET),
    "service": ("prod-ap-south-1", SERVICE),
    "network": ("dev-us-east-1", NETWORK),
}


@pytest.mark.parametrize("walk", WALKS)
def test_each_change_does_what_was_told_and_nothing_else(walk: str, deploy: Deploy) -> None:
    name, changes = WALKS[walk]
    stack = deploy(name)
    before = stack.resources()
    for certificate in CERTIFICATES:
        stack.emulator.control("POST", "standins", {"region": REGION, "certificate_arn": certificate})
    stack.run("up")
    for change in changes:
        edit(stack, change.edit)
        expected = change.expected(stack)
        previewed, steps = apply(stack)
        assert previewed == expected, f"{change.name}: previewed"
        assert operations(steps) == expected, f"{change.name}: done"
        assert ENTRY_POINTS.isdisjoint(expected.get("replace", ())), f"{change.name}: a way in is replaced"
        assert made_before_deleted(steps), f"{change.name}: what serves is deleted first"
        stack.run("up", "--refresh", "--expect-no-changes", "--diff")
    stack.destroy()
    assert stack.resources() == before


def edit(stack: Deployment, sections: Mapping[str, Any]) -> None:
    """Change keys of the stack file; the others of a section stay as they are."""
    document = yaml.safe_load(stack.file.read_text())
    merge(document["config"], {f"gpufleet:{section}": keys for section, keys in sections.items()})
    stack.file.write_text(yaml.safe_dump(document))


def merge(document: dict[str, Any], changed: Mapping[str, Any]) -> None:
    """Put values into a document, key by key; None takes one out."""
    for key, value in changed.items():
        if value is None:
            document.pop(key, None)
        elif isinstance(value, Mapping):
            merge(document.setdefault(key, {}), value)
        else:
            document[key] = value


def tagged(stack: Deployment) -> set[str]:
    """The resources that carry tags."""
    return {short_name(r["urn"]) for r in stack.state() if r.get("custom") and "tags" in r.get("inputs", {})}


@dataclass(frozen=True, slots=True)
class Update:
    """What one `pulumi up` did."""

    said: str
    steps: list[dict[str, Any]]
    """The operations that were made, in their order."""
    failed: dict[str, str]
    """By the resource's name, why its operation failed."""


def apply(stack: Deployment) -> tuple[Operations, list[dict[str, Any]]]:
    """Make a change: what was told beforehand, and the operations that were made in the end."""
    update = up(stack)
    digest, _ = json.JSONDecoder().raw_decode(update.said, update.said.index("{\n"))
    steps = update.steps
    for _ in range(ROUNDS):
        if not update.failed:
            return operations(digest["steps"]), steps
        assert all(PROVIDER_GAP in said for said in update.failed.values()), update.failed
        stack.run("refresh")
        update = up(stack, "--skip-preview")
        steps += update.steps
    raise AssertionError(f"not done after {ROUNDS} more rounds: {update.failed}")


def up(stack: Deployment, *arguments: str) -> Update:
    """`pulumi up`. Resources that need nothing of a failed one are made all the same."""
    done = stack.execute(PROJECT, "up", "--yes", "--json", "--continue-on-error", *arguments, *stack.options())
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    errors = {e["urn"]: e["message"] for e in kinds_of(events, "diagnosticEvent") if "urn" in e}
    failed = [e["metadata"] for e in kinds_of(events, "resOpFailedEvent")]
    assert failed or done.returncode == 0, done.stdout
    return Update(
        said=done.stdout,
        steps=[*(e["metadata"] for e in kinds_of(events, "resOutputsEvent")), *failed],
        failed={short_name(step["urn"]): errors.get(step["urn"], "") for step in failed},
    )


def kinds_of(events: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The engine's events of one kind."""
    return [event[kind] for event in events if kind in event]


def operations(steps: Iterable[Mapping[str, Any]]) -> Operations:
    """What is done to which resources of AWS's, from the engine's steps."""
    found: Operations = {}
    for step in steps:
        if step["op"] in TOUCHING and step["urn"].split("::")[2].split("$")[-1].startswith("aws:"):
            found.setdefault(TOUCHING[step["op"]], set()).add(short_name(step["urn"]))
    return found


def made_before_deleted(steps: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every replaced resource was deleted after its successor was made."""
    made: set[str] = set()
    for step in steps:
        if step["op"] == "create-replacement":
            made.add(step["urn"])
        elif step["op"] == "delete-replaced" and step["urn"] not in made:
            return False
    return True


def short_name(urn: str) -> str:
    """A resource's logical name without the fleet's."""
    return urn.rpartition("::")[2].removeprefix("gpufleet-")
