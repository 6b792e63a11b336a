"""Every key of a stack file, as its model has it: name, kind, default, example and meaning.

Owns reading pydantic's fields and the metadata of `gpufleet.planner.values`. Leaves the page for people to `reference`,
JSON Schema to `schema` and a new file's text to `new_stack`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from gpufleet.planner.requirements import Requirements, Section
from gpufleet.planner.units import GIB
from gpufleet.planner.values import Later, Matching, Within, Written

_T = TypeVar("_T")


class Kind(NamedTuple):
    """What a key takes. A list has members, a mapping names and members, a section keys of its own."""

    written: Written | None = None
    matching: Matching | None = None
    within: Within | None = None
    choices: tuple[str, ...] = ()
    nullable: bool = False
    members: Kind | None = None
    names: Kind | None = None
    section: type[Section] | None = None
    is_mapping: bool = False
    """Of anything, beside the text that `written` tells."""

    @property
    def name(self) -> str:
        """For people: `list of subnet ids`."""
        if self.section:
            return "section"
        if self.members:
            return (
                f"mapping of {self.names.plural} to {self.members.plural}"
                if self.names
                else f"list of {self.members.plural}"
            )
        return listed(f"`{choice}`" for choice in self.choices) if self.choices else self._written.name

    @property
    def plural(self) -> str:
        """For people: `subnet ids`."""
        if self.section:
            return "sections"
        if self.choices:
            return self.name
        return self._written.plural or f"{self._written.name}s"

    @property
    def _written(self) -> Written:
        if self.written is None:
            raise TypeError("a kind of value that no Written describes")
        return self.written


class Key(NamedTuple):
    """A key of a stack file. Default and example are as YAML writes them."""

    path: str
    """Dotted, as problems name it: `serving.port`. `region` stands as `aws:region` in a stack file."""
    kind: Kind
    required: bool
    default: Any
    """None where there is none, or where it is a behaviour alone."""
    behaviour: str
    """What the default does; empty where the value says it all."""
    meaning: str
    example: Any

    @property
    def name(self) -> str:
        """The key itself."""
        return self.path.rpartition(".")[2]

    @property
    def description(self) -> str:
        """What it means, and what its default does."""
        return f"{self.meaning} Defaults to {self.behaviour}." if self.behaviour else self.meaning


def section_keys(section: type[Section] = Requirements, prefix: str = "") -> tuple[Key, ...]:
    """The keys of one section, in its model's order."""
    return tuple(_key(name, field, prefix) for name, field in section.model_fields.items())


def all_keys(section: type[Section] = Requirements, prefix: str = "") -> Iterator[Key]:
    """Every key below a section; the document's own sections are told by what is in them."""
    for key in section_keys(section, prefix):
        if "." in key.path or not key.kind.section:
            yield key
        if key.kind.section:
            yield from all_keys(key.kind.section, f"{key.path}.")


def listed(names: Iterable[str]) -> str:
    """Names as alternatives: `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _key(name: str, field: FieldInfo, prefix: str) -> Key:
    kind = kind_of(field.annotation, field.metadata)
    words = field.description or _purpose(kind.section)
    meaning, _, behaviour = words.partition("Defaults to ")
    return Key(
        path=f"{prefix}{field.alias or name}",
        kind=kind,
        required=field.is_required(),
        default=None if field.is_required() or kind.section else _as_written(kind, field.default),
        behaviour=behaviour.strip().removesuffix("."),
        meaning=meaning.strip(),
        example=field.examples[0] if field.examples else None,
    )


def _purpose(section: type[Section] | None) -> str:
    """What a section is for."""
    return (section.__doc__ or "").split("\n\n")[0] if section else ""


def _as_written(kind: Kind, default: Any) -> Any:
    """A default as a person would write it; None for an empty one."""
    if default in (None, (), {}):
        return None
    if kind.written and "gib" in kind.written.units:
        return f"{default / GIB:g}GiB"
    return int(default) if isinstance(default, float) and default.is_integer() else default


def kind_of(annotation: Any, metadata: Sequence[Any] = ()) -> Kind:
    """The kind behind a type annotation, with the metadata that stands beside it."""
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if origin is Annotated:
        return kind_of(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, UnionType):
        parts = [part for part in arguments if part is not NoneType]
        return kind_of(parts[0] if len(parts) == 1 else Any, metadata)._replace(nullable=NoneType in arguments)
    checks = [getattr(item, "func", item) for item in metadata]
    if later := _last(checks, Later):
        return Kind(section=later.section())
    kind = Kind(written=_last(checks, Written), matching=_last(checks, Matching), within=_last(checks, Within))
    if origin is Literal:
        return kind._replace(choices=arguments)
    if origin is tuple:
        return kind._replace(members=kind_of(arguments[0]))
    if origin is dict and kind.written:
        return kind._replace(is_mapping=True)
    if origin is dict:
        return kind._replace(names=kind_of(arguments[0]), members=kind_of(arguments[1]))
    return kind._replace(section=origin) if isinstance(origin, type) and issubclass(origin, Section) else kind


def _last(items: Iterable[Any], kind: type[_T]) -> _T | None:
    return next((item for item in reversed(list(items)) if isinstance(item, kind)), None)
