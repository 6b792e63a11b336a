"""A document with every key in it, each as its example has it."""

from __future__ import annotations

from typing import Any

from gpufleet.configuration.keys import all_keys

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
    """What a parsed document has at a dotted path."""
    for name in path.split("."):
        fields = type(parsed).model_fields
        parsed = getattr(parsed, next(field for field, info in fields.items() if (info.alias or field) == name))
    return parsed


def of_examples() -> dict[str, Any]:
    """Every key at its example."""
    document: dict[str, Any] = {}
    for key in all_keys():
        document = with_key(document, key.path, key.example)
    return document
