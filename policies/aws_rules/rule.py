"""What a rule is, and the vocabulary that rules are written in.

Owns resources as rules see them, the reading of their properties, and the tests of a value. Knows nothing of Pulumi's
policy library: `pack` turns rules into policies. A value that a preview cannot know is `UNKNOWN` and breaks no rule.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Properties = Mapping[str, Any]
Config = Mapping[str, Any]
Level = Literal["mandatory", "advisory", "disabled"]
Severity = Literal["low", "medium", "high", "critical"]


class Unknown:
    """What is known only after an update."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource: its properties under Pulumi's names, and the options that rules look at."""

    type: str
    name: str
    urn: str = ""
    properties: Properties = field(default_factory=dict)
    uses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """URNs of what a property's value was made from."""
    ignore_changes: Sequence[str] = ()
    protect: bool = False
    delete_before_replace: bool = False

    @property
    def stack(self) -> str:
        """Name of the stack: `urn:pulumi:<stack>::…`."""
        return self.urn.removeprefix("urn:pulumi:").partition("::")[0]

    def get(self, path: str) -> Any:
        """The value at a path such as `metadataOptions.httpTokens`: None where there is none, or `UNKNOWN`."""
        return next((value for _, value in read(self.properties, path)), None)

    def items(self, path: str) -> list[Any]:
        """The elements of a list; none where the list is missing or not known."""
        return elements(self.get(path))


@dataclass(frozen=True, slots=True)
class Stack:
    """All resources of a stack."""

    resources: Sequence[Resource]

    def users(self, used: Resource, type_: str, *properties: str) -> list[Resource]:
        """Resources of a type, one of whose properties was made from another resource."""
        return [
            resource
            for resource in self.resources
            if resource.type == type_ and any(used.urn in resource.uses.get(name, ()) for name in properties)
        ]

    def used(self, user: Resource, property_: str, type_: str) -> list[Resource]:
        """Resources of a type that a property was made from."""
        return [r for r in self.resources if r.type == type_ and r.urn in user.uses.get(property_, ())]


Find = Callable[[Resource, Config], Iterator[str]]
"""What is wrong with a resource, each as the beginning of a sentence without a full stop."""
FindInStack = Callable[[Resource, Stack, Config], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Option:
    """A value that a user of the pack may set: a JSON Schema, its default within."""

    schema: Mapping[str, Any]

    @property
    def default(self) -> Any:
        return self.schema["default"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule about single resources."""

    name: str
    types: tuple[str, ...]
    """Pulumi's type tokens; empty: every type of AWS's."""
    says: str
    """What holds for a resource that keeps it; one sentence."""
    mend: str
    """What to do; one sentence."""
    ids: tuple[str, ...] = ()
    """The same rule elsewhere: Security Hub, checkov, trivy, cdk-nag, prowler, Control Tower."""
    severity: Severity = "medium"
    level: Level = "mandatory"
    reason: str = ""
    """Why a rule is disabled unless asked for."""
    options: Mapping[str, Option] = field(default_factory=dict)
    find: Find

    def applies(self, resource: Resource) -> bool:
        return _applies(self.types, resource)

    def findings(self, resource: Resource, config: Config) -> list[str]:
        """A message for each thing that is wrong: which resource, what, and how to mend it."""
        found = self.find(resource, complete(self.options, config))
        return [message(resource, text, self.mend) for text in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRule:
    """A rule about what stands beside a resource. Fields as in `Rule`."""

    name: str
    types: tuple[str, ...]
    says: str
    mend: str
    ids: tuple[str, ...] = ()
    severity: Severity = "medium"
    level: Level = "mandatory"
    reason: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
    find: FindInStack

    def applies(self, resource: Resource) -> bool:
        return _applies(self.types, resource)

    def findings(self, resource: Resource, stack: Stack, config: Config) -> list[str]:
        """As `Rule.findings`, for one resource of the stack."""
        found = self.find(resource, stack, complete(self.options, config))
        return [message(resource, text, self.mend) for text in found]


def _applies(types: tuple[str, ...], resource: Resource) -> bool:
    return resource.type in types if types else resource.type.startswith("aws:")


def complete(options: Mapping[str, Option], config: Config) -> dict[str, Any]:
    """The user's configuration with the defaults of what it leaves out."""
    return {name: config.get(name, option.default) for name, option in options.items()}


def message(resource: Resource, finding: str, mend: str) -> str:
    return f"{resource.name} ({resource.type}): {finding}. {mend}"


# Reading


def is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def elements(value: Any) -> list[Any]:
    """Of a list, but for empty ones; none where it is missing or not known."""
    return [element for element in value if element is not None] if is_list(value) else []


def read(properties: Any, path: str, at: str = "") -> Iterator[tuple[str, Any]]:
    """Each value at a path, with the path where it was found; `[]` stands for every element of a list.

    A missing value is None, a missing list has no elements, and what lies in something unknown is UNKNOWN.
    """
    head, _, rest = path.partition(".")
    name = head.removesuffix("[]")
    value = properties.get(name) if isinstance(properties, Mapping) else properties and UNKNOWN
    here = f"{at}.{name}" if at else name
    if value is UNKNOWN:
        yield here, UNKNOWN
    elif head.endswith("[]"):
        for index, element in enumerate(elements(value)):
            yield from read(element, rest, f"{here}[{index}]") if rest else [(f"{here}[{index}]", element)]
    elif rest:
        yield from read({} if value is None else value, rest, here)
    else:
        yield here, value


def canonical(value: Any) -> Any:
    """Booleans are booleans, also where the SDK types them as text."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def shown(value: Any) -> str:
    """A value in a message; Pulumi hands every number over as a floating-point one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "not set" if value is None else json.dumps(canonical(value), default=repr)


def one_of(values: Sequence[Any]) -> str:
    """Allowed values in a message."""
    *others, last = [shown(v) for v in values]
    return f"{', '.join(others)} or {last}" if others else last


def document(value: Any) -> Mapping[str, Any]:
    """A JSON text as a mapping; empty where it is missing, unknown or no mapping."""
    if isinstance(value, Mapping):
        return value
    try:
        parsed = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """What AWS takes as one value or as a list of them."""
    return elements(value) if is_list(value) or value in (None, UNKNOWN) else [value]


# Tests of a value: what it must be, or nothing where it is that

Test = Callable[[Any, Config], str | None]
"""Empty where the message says enough by naming the value."""


def is_one_of(*allowed: Any) -> Test:
    return lambda value, _: None if canonical(value) in allowed else f"must be {one_of(allowed)}"


def unset_or(*allowed: Any) -> Test:
    test = is_one_of(*allowed)
    return lambda value, config: None if value is None else test(value, config)


def is_not(*refused: Any) -> Test:
    return lambda value, _: f"must not be {one_of(refused)}" if canonical(value) in refused else None


def is_set(value: Any, _: Config) -> str | None:
    """Neither missing nor empty."""
    return "" if value in (None, "", [], {}) else None


def is_unset(value: Any, _: Config) -> str | None:
    return None if value in (None, "", [], {}) else "must not be set"


def at_least(option: str) -> Test:
    """A number, compared with one of the options."""
    return lambda value, config: (
        None
        if isinstance(value, int | float) and value >= config[option]
        else f"must be at least {shown(config[option])}"
    )


def at_most(option: str) -> Test:
    """A number or nothing, compared with one of the options."""
    return lambda value, config: (
        None if value is None or float(value) <= config[option] else f"must be at most {shown(config[option])}"
    )


def in_option(option: str) -> Test:
    return lambda value, config: None if value in config[option] else f"must be {one_of(config[option])}"


def expect(*checks: tuple[str, Test]) -> Find:
    """Every value at each path passes its test."""

    def find(resource: Resource, config: Config) -> Iterator[str]:
        for path, test in checks:
            for at, value in read(resource.properties, path):
                wanted = None if value is UNKNOWN else test(value, config)
                if wanted is not None:
                    yield f"{at} is {shown(value)}, {wanted}".removesuffix(", ")

    return find


def where(condition: Callable[[Resource], bool], find: Find) -> Find:
    """Only for resources of which something holds."""
    return lambda resource, config: find(resource, config) if condition(resource) else iter(())


# Options that several rules have


def strings(default: Sequence[str], description: str) -> Option:
    return Option({"type": "array", "items": {"type": "string"}, "default": list(default), "description": description})


def integers(default: Sequence[int], description: str) -> Option:
    return Option({"type": "array", "items": {"type": "integer"}, "default": list(default), "description": description})


def integer(default: int, description: str, minimum: int = 0) -> Option:
    return Option({"type": "integer", "minimum": minimum, "default": default, "description": description})


PRODUCTION_STACKS = strings(
    ["prod", "prod-*", "production*"], "Names of the stacks for which it holds; `*` is any text"
)


def in_stacks(resource: Resource, config: Config) -> bool:
    """Whether the option `stacks` names the resource's stack."""
    return any(fnmatch.fnmatchcase(resource.stack, pattern) for pattern in config["stacks"])


# Whose rule an id is

FRAMEWORKS: tuple[tuple[str, str], ...] = (
    (r"CKV2?_AWS_\d+", "Checkov"),
    (r"AwsSolutions-\w+", "cdk-nag"),
    (r"AWS-\d{4}", "Trivy"),
    (r"CT\.[\w.]+", "AWS Control Tower"),
    (r"prowler:\w+", "Prowler"),
    (r"[A-Za-z0-9]+\.\d+", "AWS Security Hub"),
)


def framework(id_: str) -> str:
    """The name of the collection that an id is of."""
    return next(name for pattern, name in FRAMEWORKS if re.fullmatch(pattern, id_))
