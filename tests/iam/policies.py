"""The policies in docs/iam as the tests look at them: which role has which, and what a role may do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "iam"

ROLES = {
    "preview": ("read", "state-read"),
    "deploy": ("read", "write", "state-read", "state-write"),
    "catalog": ("catalog",),
}
"""Files by role, as docs/ci.md has them put there; `catalog` is for whoever refreshes the catalogue. Without an S3 backend,
those of the state are left out."""

MANAGED = frozenset({"read"})
"""Files that are policies of their own, attached to roles; every other one is inline."""

Statement = dict[str, Any]


def document(name: str) -> dict[str, Any]:
    """A file of docs/iam."""
    content: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    return content


def statements(role: str) -> Iterator[Statement]:
    """Every statement of a role."""
    for name in ROLES[role]:
        yield from document(name)["Statement"]


def as_list(value: Any) -> list[Any]:
    """A policy writes a list of one without the list."""
    return value if isinstance(value, list) else [value]


def allowed_actions(role: str) -> set[str]:
    """Every action that some statement of the role allows, on whatever resource."""
    return {action for statement in statements(role) for action in as_list(statement["Action"])}


def allows_on(role: str, actions: set[str], arn: str) -> bool:
    """Whether a statement of the role allows one of the actions on a resource; conditions are not looked at."""
    return any(
        actions & set(as_list(statement["Action"]))
        and any(fnmatchcase(arn, pattern) for pattern in as_list(statement["Resource"]))
        for statement in statements(role)
    )
