"""Two documents, value by value: which paths differ, and how.

Owns what counts as a difference. Leaves to others which paths matter and what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Change(NamedTuple):
    """A value that differs. None stands for "not there"; lists of plain values stand as a whole."""

    path: str
    before: Any
    after: Any


def changes(before: Any, after: Any, path: str = "") -> tuple[Change, ...]:
    """Every path at which the two differ, sorted as the documents are; null, empty and absent are the same."""
    return tuple(_changes(_readable(before), _readable(after), path))


def _changes(before: Any, after: Any, path: str) -> Iterator[Change]:
    if before == after or (_is_empty(before) and _is_empty(after)):
        return
    if isinstance(before, Mapping | None) and isinstance(after, Mapping | None):
        old, new = before or {}, after or {}
        for key in dict.fromkeys([*old, *new]):
            yield from _changes(_readable(old.get(key)), _readable(new.get(key)), f"{path}.{key}" if path else str(key))
        return
    if _has_members(before) and _has_members(after):
        for place in range(max(len(before), len(after))):
            yield from _changes(_member(before, place), _member(after, place), f"{path}[{place}]")
        return
    yield Change(path, before, after)


def _readable(value: Any) -> Any:
    """A value in the form in which its differences read best: documents parsed, tags by key, lists of one key flat."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if not _has_members(value):
        return value
    keys = [sorted(member) for member in value]
    if all(k[:1] == ["key"] and k[-1:] == ["value"] for k in keys):
        return {member["key"]: member["value"] for member in value}
    if all(len(k) == 1 and k == keys[0] for k in keys):
        return [member[keys[0][0]] for member in value]
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value == [] or value == {}


def _member(members: list[Any], place: int) -> Any:
    return _readable(members[place]) if place < len(members) else None


def _has_members(value: Any) -> bool:
    """Whether it is a list of mappings, which are compared one by one."""
    return isinstance(value, list) and bool(value) and all(isinstance(member, Mapping) for member in value)
