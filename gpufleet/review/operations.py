"""What Pulumi would do to the resources: create, update, replace or delete each, and because of which properties.

Owns the prediction, made from the inputs of two runs of the program and from a table of the properties that the AWS
provider cannot change in place (`replacements.json`, asked of the provider itself by `tools/generate_replacements.py`).
What follows from another resource's replacement is followed through its placeholders. Leaves the risk in it to `risks`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gpufleet.review.changes import Change, changes

Kind = Literal["create", "update", "replace", "delete"]
"""Pulumi's own words."""

Resource = Mapping[str, Any]

TABLE = Path(__file__).parent / "replacements.json"

PLACEHOLDER = re.compile(r"<([^<>]+)\.(\w+)>")
"""What an offline run has for a property that only AWS can tell."""

ANEW = "<known after the update>"
"""After a change: what AWS decides again."""

VERSION_ATTRIBUTE = "latestVersion"
KEEPS_ITS_VERSION = frozenset({"tags", "updateDefaultVersion", "defaultVersion"})
"""Properties of a launch template whose change makes no new version of it."""

USER_DATA = "userData"
"""Rendered text, which is compared as a file."""


class Operation(NamedTuple):
    """One resource that Pulumi would touch."""

    kind: Kind
    type: str
    name: str
    changes: tuple[Change, ...]
    """Of its inputs; all of them where it is created or deleted."""
    forced_by: tuple[str, ...]
    """The properties that cannot be changed in place."""

    @property
    def short_type(self) -> str:
        """The type as people write it: `aws:ec2:LaunchTemplate`."""
        package, module, name = self.type.split(":")
        return f"{package}:{module.partition('/')[0]}:{name}"

    @property
    def new_version_because_of(self) -> tuple[str, ...]:
        """The properties of a launch template that make a new version of it; none where it keeps its version."""
        if not self.type.endswith(":LaunchTemplate"):
            return ()
        return tuple(dict.fromkeys(p for p in map(property_of, self.changes) if p not in KEEPS_ITS_VERSION))


def property_of(change: Change) -> str:
    """The resource's property that a change lies in: `ebs` of `ebs[0].encrypted`."""
    return re.split(r"[.\[]", change.path, maxsplit=1)[0]


def operations(before: Iterable[Resource], after: Iterable[Resource]) -> tuple[Operation, ...]:
    """Everything that would be done, by URN; resources that stay as they are have no operation."""
    old, new = ({resource["urn"]: resource for resource in side} for side in (before, after))
    direct = {urn: _direct_changes(old[urn], new[urn]) for urn in old.keys() & new.keys()}
    kept = _with_consequences({urn: _operation(new[urn], found) for urn, found in direct.items() if found}, new)
    lone = {
        **{urn: _whole("create", new[urn]) for urn in new.keys() - old.keys()},
        **{urn: _whole("delete", old[urn]) for urn in old.keys() - new.keys()},
    }
    everything = kept | lone
    return tuple(everything[urn] for urn in sorted(everything))


@functools.cache
def replacement_table() -> Mapping[str, frozenset[str]]:
    """The properties that force a replacement, by resource type."""
    table: dict[str, list[str]] = json.loads(TABLE.read_bytes())["replacedOnChange"]
    return {kind: frozenset(properties) for kind, properties in table.items()}


def _direct_changes(before: Resource, after: Resource) -> tuple[Change, ...]:
    ignored = set(after.get("ignoreChanges", ()))
    return tuple(c for c in changes(before["inputs"], after["inputs"]) if property_of(c) not in ignored)


def _operation(resource: Resource, found: tuple[Change, ...]) -> Operation:
    """An update, or a replacement where a property forces one."""
    fixed = replacement_table().get(resource["type"], frozenset()) | set(resource.get("replaceOnChanges", ()))
    forced = tuple(dict.fromkeys(property_of(c) for c in found if property_of(c) in fixed))
    return Operation("replace" if forced else "update", resource["type"], resource["name"], found, forced)


def _whole(kind: Kind, resource: Resource) -> Operation:
    inputs = resource["inputs"]
    found = changes(inputs, None) if kind == "delete" else changes(None, inputs)
    return Operation(kind, resource["type"], resource["name"], found, ())


def _with_consequences(found: dict[str, Operation], resources: Mapping[str, Resource]) -> dict[str, Operation]:
    """Adds what follows: a replaced resource has another id, a changed launch template another version. By URN."""
    known = dict(found)
    while True:
        replaced = {urn for urn, operation in known.items() if operation.kind == "replace"}
        versioned = {urn for urn, operation in known.items() if operation.new_version_because_of}
        more: dict[str, Operation] = {}
        for urn, resource in resources.items():
            own = known[urn].changes if urn in known else ()
            paths = {change.path for change in own}
            follow = [c for c in _consequences(resource, replaced, versioned) if c.path not in paths]
            if follow:
                more[urn] = _operation(resource, (*own, *follow))
        if not more:
            return known
        known |= more


def _consequences(resource: Resource, replaced: set[str], versioned: set[str]) -> Iterator[Change]:
    """The properties that AWS will decide anew for this resource."""
    sources, ignored = resource.get("propertyDependencies", {}), resource.get("ignoreChanges", ())
    for change in changes(None, resource["inputs"]):
        made_from = set(sources.get(property_of(change), ()))
        gone, newer = ({_name_of(urn) for urn in made_from & urns} for urns in (replaced, versioned))
        placeholders = PLACEHOLDER.findall(json.dumps(change.after)) if gone or newer else []
        follows = any(
            name in gone or (name in newer and attribute == VERSION_ATTRIBUTE) for name, attribute in placeholders
        )
        if follows and property_of(change) not in ignored:
            yield Change(change.path, change.after, ANEW)


def _name_of(urn: str) -> str:
    return urn.rpartition("::")[2]
