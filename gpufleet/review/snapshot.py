"""What one side says of one stack: the form in which `describe_stacks` writes it and the other modules read it.

A contract between revisions: each side writes with its own code, and the newer one reads both. Keys may be added;
`VERSION` rises when one changes its meaning. What a side does not say is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from gpufleet.planner.plan import SCHEMA_VERSION

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A stack of one side. Plans and resources are JSON, for an older revision may lack what a newer one knows."""

    requirements: Mapping[str, Any] | None = None
    """The requirements document, and the stack file's keys for others, such as `aws:defaultTags`."""
    plan: Mapping[str, Any] | None = None
    resources: tuple[Mapping[str, Any], ...] | None = None
    """Those that AWS has, not the components that they hang in."""
    outputs: Mapping[str, Any] | None = None
    files: Mapping[str, str] | None = None
    """Rendered files by name."""
    error: str | None = None
    """Why the stack cannot be applied, and why the rest is missing."""
    unreadable: str | None = None
    """Why the plan is missing although there is one."""


class _Resource(TypedDict):
    urn: str
    type: str
    name: str
    custom: bool
    inputs: dict[str, Any]
    propertyDependencies: NotRequired[dict[str, list[str]]]
    ignoreChanges: NotRequired[list[str]]
    replaceOnChanges: NotRequired[list[str]]
    protect: NotRequired[bool]


class _Document(TypedDict):
    stack: NotRequired[str]
    requirements: NotRequired[dict[str, Any] | None]
    provider: NotRequired[dict[str, Any]]
    resources: NotRequired[list[_Resource] | None]
    outputs: NotRequired[dict[str, Any] | None]
    files: NotRequired[dict[str, str] | None]
    error: NotRequired[str | None]


def check_snapshot(document: Mapping[str, Any]) -> None:
    """Hold a snapshot that anybody may have written to its form; pydantic's ValidationError where it has another."""
    TypeAdapter(_Document).validate_python(document, strict=True)


def read_snapshot(document: Mapping[str, Any]) -> Snapshot:
    """A snapshot from its JSON."""
    requirements, resources, plan = (document.get(key) for key in ("requirements", "resources", "plan"))
    version = SCHEMA_VERSION if plan is None else plan["schemaVersion"]
    return Snapshot(
        requirements=None if requirements is None else {**requirements, **document.get("provider", {})},
        plan=plan if version == SCHEMA_VERSION else None,
        resources=None if resources is None else tuple(r for r in resources if r["custom"]),
        outputs=document.get("outputs"),
        files=document.get("files"),
        error=document.get("error"),
        unreadable=None if version == SCHEMA_VERSION else _UNREADABLE.format(version, SCHEMA_VERSION),
    )


_UNREADABLE = "a plan of schema version {}, and this gpufleet reads version {}: the plans' values are not compared"
