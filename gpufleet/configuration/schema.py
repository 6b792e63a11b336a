"""JSON Schema of a stack file, for editors that complete and check it while it is written.

Owns how a kind of value is said in JSON Schema. Never stricter than the parser, so that no editor marks a valid file; names
that the catalogue knows are closed lists, as they are for a plan. Draft 7, with patterns that JavaScript reads: what the YAML
language server takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpufleet.configuration.keys import Key, Kind, listed, section_keys
from gpufleet.planner.catalog import Catalog
from gpufleet.planner.requirements import Section
from gpufleet.planner.units import NUMBER

Schema = dict[str, Any]

PULUMI_KEYS = {
    "secretsprovider": "What encrypts the stack's secrets; written by Pulumi.",
    "encryptedkey": "The encrypted data key; written by Pulumi.",
    "encryptionsalt": "The salt of the passphrase; written by Pulumi.",
    "environment": "Pulumi ESC environments that the stack imports.",
}


def stack_schema(catalog: Catalog, model_ids: Iterable[str]) -> Schema:
    """The schema of a whole stack file, with the catalogue's names and, as suggestions, these models."""
    return _StackSchema(
        closed={
            "region": catalog.regions,
            "instance.type": catalog.type_names,
            "instance.families": catalog.families,
            "instance.exclude": (*catalog.families, *catalog.type_names),
        },
        suggested={"model.id": tuple(sorted(model_ids))},
    ).whole()


class _StackSchema:
    """Builds the schema; `closed` and `suggested` are names by the path of the key that takes them."""

    def __init__(self, *, closed: dict[str, tuple[str, ...]], suggested: dict[str, tuple[str, ...]]) -> None:
        self._closed, self._suggested = closed, suggested

    def whole(self) -> Schema:
        """The stack file."""
        keys = {("aws:region" if key.path == "region" else f"gpufleet:{key.path}"): key for key in section_keys()}
        config = {
            "type": "object",
            "description": "The stack's configuration: aws:region, gpufleet's sections, and keys of other namespaces.",
            "properties": {name: self._key(key) for name, key in keys.items()},
            "patternProperties": {"^(?!gpufleet:).*:": True},
            "additionalProperties": False,
            "required": [name for name, key in keys.items() if key.required],
        }
        pulumis = {name: {"description": words} for name, words in PULUMI_KEYS.items()}
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "gpufleet stack file",
            "description": "One environment in one region. docs/configuration.md tells every key.",
            "type": "object",
            "properties": {"config": config, **pulumis},
            "required": ["config"],
        }

    def _key(self, key: Key) -> Schema:
        """What a key takes, after the words for it."""
        words: Schema = {"description": key.description}
        if key.default is not None:
            words["default"] = key.default
        if key.example is not None:
            words["examples"] = [key.example]
        return words | (self._section(key) if key.kind.section else self._kind(key.kind, key.path))

    def _section(self, key: Key) -> Schema:
        assert key.kind.section
        section = self._keys_of(key.kind.section, f"{key.path}.")
        # YAML reads a section with nothing in it as null.
        return section if key.required else _or_null(section)

    def _keys_of(self, section: type[Section], prefix: str) -> Schema:
        inside = section_keys(section, prefix)
        schema: Schema = {
            "type": "object",
            "properties": {inner.name: self._key(inner) for inner in inside},
            "additionalProperties": False,
        }
        if required := [inner.name for inner in inside if inner.required]:
            schema["required"] = required
        return schema

    def _kind(self, kind: Kind, path: str = "") -> Schema:
        if kind.section:
            members = self._keys_of(kind.section, f"{path}.")
            return _or_null(members) if kind.nullable else members
        if kind.members and kind.names:
            mapping = {"propertyNames": self._kind(kind.names), "additionalProperties": self._kind(kind.members)}
            is_section = path and "." not in path
            return _or_null({"type": "object", **mapping}) if is_section else {"type": "object", **mapping}
        if kind.members:
            return {"type": "array", "items": self._kind(kind.members, path)}
        if names := self._closed.get(path):
            found: Schema = {"enum": list(names)}
        elif kind.choices and not kind.written:
            found = {"enum": list(kind.choices)}
        else:
            named = self._suggested.get(path) or kind.choices or (kind.written.others if kind.written else ())
            found = {"anyOf": [_value(kind), {"enum": list(named)}]} if named else _value(kind)
        return _or_null(found) if kind.nullable else found


def _value(kind: Kind) -> Schema:
    """One flat schema: bounds speak of numbers only and patterns of text only, so that each mistake is told by itself."""
    assert kind.written
    written, matching, within = kind.written, kind.matching, kind.within
    types = ["string"]
    if written.units:
        types.insert(0, "integer" if written.whole else "number")
    if kind.is_mapping:
        types.append("object")
    value: Schema = {"type": types if len(types) > 1 else types[0], "pattern": f"^(?:{_pattern(kind)})$"}
    lows = [bound for bound in (written.minimum, within.low if within else None) if bound is not None]
    highs = [bound for bound in (written.maximum, within.high if within else None) if bound is not None]
    value |= {"minimum": _number(max(lows))} if lows else {}
    value |= {"maximum": _number(min(highs))} if highs else {}
    takes = matching.forms if matching else listed(kind.choices) if kind.choices else written.name
    value["patternErrorMessage"] = f"Takes: {takes}."
    return value


def _number(bound: float) -> float:
    return int(bound) if float(bound).is_integer() else bound


def _pattern(kind: Kind) -> str:
    """The text forms of a value, as one pattern."""
    assert kind.written
    written = kind.written
    if written.pattern:
        return written.pattern
    if kind.matching:
        return kind.matching.pattern
    forms = [_in_any_case(word) for word in (*kind.choices, *written.words)]
    if written.units:
        unit = "|".join(_in_any_case(unit) for unit in written.units)
        forms.append(rf"{NUMBER}\s*(?:{unit})" if unit else NUMBER)
    return rf"\s*(?:{'|'.join(forms)})\s*"


def _in_any_case(word: str) -> str:
    """JavaScript has no flag for it inside of a pattern."""
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in word)


def _or_null(schema: Schema) -> Schema:
    """The schema, or null."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*types, "null"]}
