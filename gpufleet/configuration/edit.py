"""One value of a stack file set in its text: comments, order and everything else stay as they are.

Owns finding the place. The new text is read again and must hold the old document with that value and nothing else changed;
where it does not (an anchor, a form that is not foreseen) nothing is returned but the reason.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from gpufleet.configuration.yaml_text import yaml_text
from gpufleet.planner.errors import Problem, RequirementError

CONFIG = "config"


def with_value(text: str, section: str, key: str, value: str, parse: Callable[[str], Any]) -> str:
    """The text of a stack file with `key` of a section under `config` set; `parse` reads such a text.

    Raises:
        RequirementError: the text cannot be changed in that one place.
    """
    before = parse(text)
    try:
        after = _edited(text, section, key, yaml_text(value))
        is_right = parse(after) == _expected(before, section, key, value)
    except (yaml.YAMLError, RequirementError, _CannotError):
        is_right = False
    if not is_right:
        raise RequirementError(
            Problem(
                path=f"{section.partition(':')[2]}.{key}",
                message="cannot be set in this file without touching more of it; the file is left as it was",
                given=value,
                next_step=f"write `{key}: {value}` under {section} yourself",
            )
        )
    return after


class _CannotError(Exception):
    """The file has a form in which there is no place for the value."""


def _expected(before: Any, section: str, key: str, value: str) -> Any:
    after = copy.deepcopy(before)
    config = after[CONFIG]
    config[section] = {**(config.get(section) or {}), key: value}
    return after


def _edited(text: str, section: str, key: str, value: str) -> str:
    config = _member(yaml.compose(text, Loader=yaml.SafeLoader), CONFIG)
    if not isinstance(config, yaml.MappingNode) or config.flow_style or not config.value:
        raise _CannotError
    newline = "\r\n" if "\r\n" in text else "\n"
    found = _member(config, section)
    if found is None or (isinstance(found, yaml.ScalarNode) and found.start_mark.index == found.end_mark.index):
        return _with_section(text, config, section, f"{key}: {value}", newline)
    if not isinstance(found, yaml.MappingNode):
        raise _CannotError
    old = _member(found, key)
    if old is not None:
        if not isinstance(old, yaml.ScalarNode) or old.start_mark.index == old.end_mark.index:
            raise _CannotError
        return text[: old.start_mark.index] + value + text[old.end_mark.index :]
    start = found.start_mark
    if found.flow_style:
        rest = ", " if found.value else ""
        return f"{text[: start.index]}{{{key}: {value}{rest}{text[start.index + 1 :]}"
    return f"{text[: start.index]}{key}: {value}{newline}{' ' * start.column}{text[start.index :]}"


def _with_section(text: str, config: yaml.MappingNode, section: str, line: str, newline: str) -> str:
    """A section that is not there comes first; one without keys gets them under its name."""
    indent = " " * config.start_mark.column
    for name, _ in config.value:
        if name.value == section:
            end = text.find("\n", name.end_mark.index)
            head, tail = (text, "") if end < 0 else (text[: end + 1], text[end + 1 :])
            break_ = "" if head.endswith("\n") else newline
            return f"{head}{break_}{indent}  {line}{newline}{tail}"
    first = config.start_mark.index
    return f"{text[:first]}{section}:{newline}{indent}  {line}{newline}{indent}{text[first:]}"


def _member(mapping: Any, key: str) -> yaml.Node | None:
    pairs = mapping.value if isinstance(mapping, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def value_of(document: Any, section: str, key: str) -> Any:
    """The value in a stack file's content; None where it is not there."""
    config = document.get(CONFIG) if isinstance(document, Mapping) else None
    found = config.get(section) if isinstance(config, Mapping) else None
    return found.get(key) if isinstance(found, Mapping) else None
