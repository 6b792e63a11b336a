"""Writes the table of configuration keys into the README, from the models that enforce them.

Run `.venv/bin/python tools/document_keys.py`; `tests/test_readme.py` fails while the README is behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gpufleet.planner.requirements import Requirements

README = Path(__file__).parent.parent / "README.md"
START = "<!-- keys: generated from the models by tools/document_keys.py -->\n"
END = "<!-- end of keys -->\n"


def rows(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, default and description of every key under a section."""
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        nested = _section_of(field)
        if nested is None:
            yield key, _default(field), field.description or ""
            continue
        if field.description:
            yield key, _default(field), field.description
        yield from rows(nested, f"{key}.")


def table() -> str:
    """The table as Markdown."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for key, default, meaning in rows(Requirements):
        written = "`aws:region`" if key == "region" else f"`{key}`"
        lines.append(f"| {written} | {default} | {meaning.replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """The README's text with the table between its marks."""
    before, rest = text.split(START)
    return before + START + "\n" + table() + "\n" + END + rest.split(END)[1]


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    candidates = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value: Any = field.default
    if "Defaults to" in (field.description or "") or value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | dict):
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
