"""The tables of `docs/configuration.md`: every key of a stack file, section by section.

Owns their layout as Markdown. Leaves what a key is to `keys`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpufleet.configuration.keys import Key, Kind, all_keys, section_keys
from gpufleet.configuration.yaml_text import yaml_text

START = "<!-- keys: generated from the models by tools/generate_configuration.py -->\n"
END = "<!-- end of keys -->\n"


def with_tables(page: str) -> str:
    """The page with the tables between its marks."""
    before, rest = page.split(START)
    return before + START + "\n" + "\n\n".join(_sections()) + "\n\n" + END + rest.split(END)[1]


def _sections() -> Iterator[str]:
    """A heading, what the section is for, and a table, for each key of the document itself."""
    for key in section_keys():
        if key.kind.section:
            yield f"## `gpufleet:{key.path}`\n\n{key.meaning}\n\n{_table(all_keys(key.kind.section, f'{key.path}.'))}"
        else:
            yield f"## `{'aws:region' if key.path == 'region' else f'gpufleet:{key.path}'}`\n\n{_table([key])}"


def _table(keys: Iterable[Key]) -> str:
    rows = [("key", "type", "default", "example", "meaning")]
    rows += [("---",) * 5]
    rows += [
        (
            f"`{'aws:region' if key.path == 'region' else key.path}`",
            _type(key.kind),
            _default(key),
            f"`{yaml_text(key.example)}`",
            key.meaning,
        )
        for key in keys
    ]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows)


def _type(kind: Kind) -> str:
    """The kind's name, and the bounds of what has no unit."""
    within = kind.within
    if within is None or not kind.written or not set(kind.written.units) <= {"", "%"}:
        return kind.name
    bounds = f"{within.low:,g} or more" if within.high is None else f"{within.low:,g} to {within.high:,g}"
    return f"{kind.name}, {bounds}"


def _default(key: Key) -> str:
    """The value, what it does, or both."""
    if key.required:
        return "**required**"
    value = f"`{yaml_text(key.default)}`" if key.default is not None else ""
    return ": ".join(filter(None, (value, key.behaviour.replace("<id>", "`id`")))) or "none"
