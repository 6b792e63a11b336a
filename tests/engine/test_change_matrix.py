"""A matrix of changes on standing stacks: what each does is told before, is what was meant, and is all that it does.

A row of a table is one edit of the stack file and the resources that it may touch. The rows of a walk are made one after
the other, each on what the one before left. For each row the operations that the engine previews are exactly the
expected ones and exactly those that it then makes; no way in is replaced, and what serves is not deleted before its
successor is made; `refresh` finds no drift and a second `up` does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.emulator.running import PROJECT
from tests.engine.conftest import Deploy
from tests.engine.deployment import Deployment

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

PROVIDER_GAP = "Missing Resource Identity After Update"
"""The AWS provider said so of updates that it had made, in versions around 6.14 (hashicorp/terraform-provider-aws#44366):
the update is done, the state does not know. A refresh and another `up` end it. Versions that are mended never say it."""

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


MACHINE = (
    Change(name="maximum", edit={"scaling": {"max": 4}}, update={"group"}),
    Change(name="minimum", edit={"scaling": {"min": 2}}, update={"group"}),
    Change(name="size at creation", edit={"scaling": {"desired": 3}}),
    Change(name="target of GPU utilisation", edit={"scaling": {"gpuUtilization": 60}}, update={"gpu-utilization"}),
    Change(name="CPU signal", edit={"scaling": {"cpuUtilization": 60}}, create={"cpu-utilization"}),
    Change(name="latency policy", edit={"scaling": {"latency": {"target": "2s"}}}, create={"latency", "slow"}),
    Change(name="latency target", edit={"scaling": {"latency": {"target": "3s"}}}, update={"latency", "slow"}),
    Change(
        name="latency percentile", edit={"scaling": {"latency": {"percentile": "p99"}}}, update={"slow", "dashboard"}
    ),
    Change(
        name="no latency policy",
        edit={"scaling": {"latency": None}},
        update={"dashboard"},
        delete={"latency", "slow"},
    ),
    Change(name="no GPU signal", edit={"scaling": {"gpuUtilization": "off"}}, delete={"gpu-utilization"}),
    Change(name="Spot share", edit={"instance": {"spotPercentage": 50}}, create={"spot"}, update=ROLL),
    Change(name="on-demand base", edit={"instance": {"onDemandBase": 2}}, update={"group"}),
    Change(name="no Spot", edit={"instance": {"spotPercentage": None}}, update=ROLL, delete={"spot"}),
)
"""Machine and size, on a development stack."""

WAY_IN = (
    Change(
        name="networks of clients",
        edit={"network": {"allowedCidrs": ["10.1.0.0/16"]}},
        create={"lb-80-from-10.1.0.0-16"},
        delete={"lb-80-from-10.0.0.0-16"},
    ),
    Change(
        name="one network more",
        edit={"network": {"allowedCidrs": ["10.1.0.0/16", "10.2.0.0/16"]}},
        create={"lb-80-from-10.2.0.0-16"},
    ),
)
"""Who reaches the fleet and how, on a protected stack."""

WALKS = {"dev-us-east-1": MACHINE, "prod-ap-south-1": WAY_IN}


@pytest.mark.parametrize("name", WALKS)
def test_each_change_does_what_was_told_and_nothing_else(name: str, deploy: Deploy) -> None:
    stack = deploy(name)
    before = stack.resources()
    stack.run("up")
    for change in WALKS[name]:
        edit(stack, change.edit)
        expected = change.expected(stack)
        previewed, applied = apply(stack)
        assert previewed == expected, f"{change.name}: previewed"
        assert applied == expected, f"{change.name}: applied"
        assert ENTRY_POINTS.isdisjoint(expected.get("replace", ())), f"{change.name}: a way in is replaced"
        stack.run("refresh", "--expect-no-changes", "--diff")
        stack.run("up", "--expect-no-changes", "--diff")
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
    """What one `pulumi up` said beforehand and did."""

    previewed: Operations
    applied: Operations
    failed: dict[str, str]
    """By the resource's name, why its operation failed."""


def apply(stack: Deployment) -> tuple[Operations, Operations]:
    """Make a change: what was told beforehand, and what was done in the end."""
    first = update = up(stack)
    applied = first.applied
    for _ in range(ROUNDS):
        if not update.failed:
            return first.previewed, applied
        assert all(PROVIDER_GAP in said for said in update.failed.values()), update.failed
        stack.run("refresh")
        update = up(stack)
        for kind, names in update.applied.items():
            applied.setdefault(kind, set()).update(names)
    raise AssertionError(f"not done after {ROUNDS} more rounds: {update.failed}")


def up(stack: Deployment) -> Update:
    """`pulumi up` with its preview. Resources that need nothing of a failed one are still made."""
    said = stack.execute(PROJECT, "up", "--yes", "--json", "--continue-on-error", *stack.options()).stdout
    digest, end = json.JSONDecoder().raw_decode(said, said.index("{\n"))
    events = [json.loads(line) for line in said[end:].splitlines() if line.startswith("{")]
    errors = {
        e["urn"]: e["message"] for e in kinds_of(events, "diagnosticEvent") if e["severity"] == "error" and "urn" in e
    }
    failed = [e["metadata"] for e in kinds_of(events, "resOpFailedEvent")]
    done = [e["metadata"] for e in kinds_of(events, "resOutputsEvent")]
    return Update(
        previewed=operations(digest["steps"]),
        applied=operations([*done, *failed]),
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


def short_name(urn: str) -> str:
    """A resource's logical name without the fleet's."""
    return urn.rpartition("::")[2].removeprefix("gpufleet-")
