"""The text of a new stack file: what was asked for, and every other key as a comment.

Owns the file's layout. Keys, words and defaults are the models' own; quoting is `yaml_text`'s.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from gpufleet.configuration.keys import Key, section_keys
from gpufleet.configuration.yaml_text import yaml_text

WIDTH = 100
"""Of comments."""

HEAD = """\
# yaml-language-server: $schema={schema}
# Every key is told in docs/configuration.md; `gpufleet check` finds what is wrong here.
# A key behind a # is optional. It stands there with its default or, where that is worked out, with an example.
# To set one, take the # away, and the one before its section's name.
config:
  aws:region: {region}
"""


def stack_file_text(document: Mapping[str, Any], *, schema: str, notes: Mapping[str, str] | None = None) -> str:
    """A stack file with this requirements document. `schema` is the schema's path from the file; `notes` are further words
    by the path of the key that they stand over."""
    head = HEAD.format(schema=schema, region=yaml_text(document["region"]))
    sections = (
        "\n".join(_section(key, document.get(key.path), notes or {})) for key in section_keys() if key.path != "region"
    )
    return head + "".join(f"\n{section}\n" for section in sections)


def _section(key: Key, value: Any, notes: Mapping[str, str]) -> Iterator[str]:
    """A section of the document, or a key that has none; behind a # where nothing in it is given."""
    if not key.kind.section and not key.kind.members:
        yield from _comment(key.description, "  ")
        shown = yaml_text((key.example if key.default is None else key.default) if value is None else value)
        yield f"  {'#' if value is None else ''}gpufleet:{key.path}: {shown}"
        return
    given: Mapping[str, Any] = value or {}
    yield from _comment(key.meaning, "  ")
    yield f"  {'' if given else '#'}gpufleet:{key.path}:"
    if key.kind.section:
        yield from _keys(section_keys(key.kind.section, f"{key.path}."), given, notes, "    ")
        return
    yield from (f"    {yaml_text(name)}: {yaml_text(value)}" for name, value in given.items())
    yield from (f"    #{yaml_text(n)}: {yaml_text(v)}" for n, v in key.example.items() if n not in given)


def _keys(keys: tuple[Key, ...], given: Mapping[str, Any], notes: Mapping[str, str], indent: str) -> Iterator[str]:
    """Those that are given, as the models order them; then the others, each under what it means."""
    for key in keys:
        value = given.get(key.name)
        if value is None:
            continue
        yield from _comment(notes.get(key.path, ""), indent)
        if key.kind.section:
            yield f"{indent}{key.name}:"
            yield from _keys(section_keys(key.kind.section, f"{key.path}."), value, notes, f"{indent}  ")
        else:
            yield f"{indent}{key.name}: {yaml_text(value)}"
    for key in keys:
        if given.get(key.name) is None:
            yield from _comment(key.description, indent)
            yield f"{indent}#{key.name}: {yaml_text(key.example if key.default is None else key.default)}"


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(text, WIDTH)]
