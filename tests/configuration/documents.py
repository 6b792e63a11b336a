"""A document with every key in it, each as its example has it."""

from __future__ import annotations

from typing import Any

from gpufleet.configuration.keys import all_keys, kind_of, section_keys
from gpufleet.planner.alarm_keys import Alarms
from gpufleet.planner.requirements import parse_section
from gpufleet.planner.scaling_keys import Schedule

LEAST: dict[str, Any] = {
    "region": "us-east-1",
    "model": {"id": "Qwen/Qwen3-8B"},
    "scaling": {"min": 1, "max": 2},
}


def with_key(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with a value at a dotted path; sections on the way are made."""
    name, _, rest = path.partition(".")
    inner = document.get(name, {})
    return {**document, name: with_key(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def at(parsed: Any, path: str) -> Any:
    """What a parsed document has at a dotted path; a section that is parsed later is parsed on the way."""
    name, _, rest = path.partition(".")
    field = next(f for f, info in type(parsed).model_fields.items() if (info.alias or f) == name)
    found = getattr(parsed, field)
    if not rest:
        return found
    later = next(
        (kind_of(i.annotation, i.metadata).section for f, i in type(parsed).model_fields.items() if f == field)
    )
    return at(parse_section(later, found or {}) if isinstance(found, dict | None) else found, rest)


def check_later(parsed: Any) -> None:
    """A RequirementError where a section that is parsed later is no section of its kind."""
    for path in ("model.pipeline", "model.lora", "model.draft", "serving.diffusion"):
        if at(parsed, path) is not None:
            at(parsed, f"{path}.{section_keys(kind_at(path))[0].name}")
    for schedule in at(parsed, "scaling.schedules"):
        parse_section(Schedule, schedule)
    parse_section(Alarms, parsed.alarms or {})


def kind_at(path: str) -> Any:
    """The section's model at a path."""
    return next(key.kind.section for key in all_keys() if key.path == path)


def of_examples() -> dict[str, Any]:
    """Every key at its example."""
    document: dict[str, Any] = {}
    for key in all_keys():
        document = with_key(document, key.path, key.example)
    return document
