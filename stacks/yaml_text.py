"""YAML text to plain values, as Pulumi reads a stack file, whatever is in the text.

Owns what of YAML is refused: what nests or repeats itself without end, tags, keys that are no text, numbers that nothing
counts. Leaves files, and how a refusal is shown, to `config`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import yaml

MOST_LEVELS = 60
"""How deep values may lie in each other; a stack file has about six levels, a config.json less than ten."""
MOST_VALUES = 200_000
"""Values of a document, with every alias written out: a few lines of aliases can stand for billions."""
LARGEST_WHOLE_NUMBER = 2**63

_TEXT_TAG = "tag:yaml.org,2002:str"
_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str) -> Any:
    """The only document in the text; None for none. Raises yaml.YAMLError or ValueError for what is refused.

    Only `true` and `false` are booleans, dates stay text, and a key written twice is refused: the second would win unseen.
    """
    _check(yaml.parse(text, Loader=_BASE))
    return yaml.load(text, Loader=_Loader)


def check_json(value: Any) -> None:
    """Refuse, by a ValueError, what JSON can say and neither YAML nor a file in UTF-8: endless depth, half a character."""
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        level = [
            inner for v in level if isinstance(v, dict | list) for inner in (v.values() if isinstance(v, dict) else v)
        ]
        if not level:
            break
    else:
        raise ValueError(f"values lie more than {MOST_LEVELS} levels deep in each other")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair, which is no character") from None


def _check(events: Iterator[Any]) -> None:
    """Refuse a text by its events alone, before any value is made: the loader recurses, and in C that ends the process."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    values = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise _refusal(event, f"*{event.anchor} stands for a value that holds it")
            values += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            values += 1
            if event.tag is not None and not (event.tag == _TEXT_TAG and isinstance(event, yaml.ScalarEvent)):
                raise _refusal(event, f"the tag {event.tag} is not read; values are written plainly")
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, values))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor:
                sizes[anchor] = values - before + 1
        if len(opened) > MOST_LEVELS:
            raise _refusal(event, f"values lie more than {MOST_LEVELS} levels deep in each other")
        if values > MOST_VALUES:
            raise _refusal(event, f"more than {MOST_VALUES:,} values, aliases written out")


def _refusal(event: Any, message: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, message, event.start_mark)


class _Loader(_BASE):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[Any] = {
        first: [
            r for r in resolvers if r[0].rpartition(":")[2] != "timestamp" and (first in "tTfF" or "bool" not in r[0])
        ]
        for first, resolvers in _BASE.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no text", key_node.start_mark)
            if key_node.value in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key_node.value} is written twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)

    def whole_number(self, node: Any) -> int:
        number = self.construct_yaml_int(node)
        if abs(number) > LARGEST_WHOLE_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number of more than 64 bits", node.start_mark)
        return int(number)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)
