"""GitHub's expressions, as far as the workflows use them: what stands between `${{` and `}}`.

Follows docs.github.com "Evaluate expressions": `&&` and `||` give one of their operands, text is compared without
regard to case, what does not exist is null. Raises ValueError for whatever it does not know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>\d+)|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>&&|\|\||==|!=|[!().,*\[\]]))"
)

CONSTANTS = {"true": True, "false": False, "null": None}

STATUS_FUNCTIONS = frozenset({"success", "failure", "cancelled", "always"})


def evaluate(expression: str, context: Mapping[str, Any], status: str = "success") -> Any:
    """The value of an expression. `status` is that of the job so far: success, failure or cancelled."""
    return _Parser(expression, context, status).whole()


def condition(text: str | None, context: Mapping[str, Any], status: str = "success") -> bool:
    """Whether an `if:` is met. One that asks for no status asks for success."""
    expression = (text or "success()").strip()
    if expression.startswith("${{"):
        expression = expression.removeprefix("${{").removesuffix("}}")
    asks_for_status = re.search(rf"\b({'|'.join(STATUS_FUNCTIONS)})\(", expression)
    return truth(evaluate(expression, context, status)) and (bool(asks_for_status) or status == "success")


def interpolate(text: str, context: Mapping[str, Any], status: str = "success") -> str:
    """Text with every expression in it replaced by its value."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: as_text(evaluate(found[1], context, status)), text, flags=re.DOTALL)


def truth(value: Any) -> bool:
    """Null, false, zero and empty text are false; a list never is."""
    return isinstance(value, list | dict) or bool(value)


def as_text(value: Any) -> str:
    """A value as it stands in a line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        raise ValueError("a list or an object has no text")
    return "" if value is None else str(value)


class _Parser:
    def __init__(self, expression: str, context: Mapping[str, Any], status: str) -> None:
        self._expression, self._context, self._status = expression, context, status
        self._tokens = self._split(expression.strip())

    @staticmethod
    def _split(rest: str) -> list[tuple[str, str]]:
        tokens = []
        while rest:
            found = TOKEN.match(rest)
            if not found:
                raise ValueError(f"not an expression: {rest}")
            tokens.append((str(found.lastgroup), found[0].strip()))
            rest = rest[found.end() :].rstrip()
        return tokens

    def whole(self) -> Any:
        value = self._or()
        if self._tokens:
            raise ValueError(f"more than one expression: {self._expression}")
        return value

    def _take(self, *signs: str) -> str | None:
        if self._tokens and self._tokens[0][0] == "sign" and self._tokens[0][1] in signs:
            return self._tokens.pop(0)[1]
        return None

    def _require(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(f"{sign} is missing in: {self._expression}")

    def _or(self) -> Any:
        value = self._and()
        while self._take("||"):
            other = self._and()
            value = value if truth(value) else other
        return value

    def _and(self) -> Any:
        value = self._comparison()
        while self._take("&&"):
            other = self._comparison()
            value = other if truth(value) else value
        return value

    def _comparison(self) -> Any:
        value = self._not()
        while sign := self._take("==", "!="):
            value = _equal(value, self._not()) == (sign == "==")
        return value

    def _not(self) -> Any:
        return not truth(self._not()) if self._take("!") else self._primary()

    def _primary(self) -> Any:
        if self._take("("):
            value = self._or()
            self._require(")")
            return value
        kind, text = self._tokens.pop(0)
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return int(text)
        if kind == "name" and self._take("("):
            return self._call(text)
        if kind == "name":
            return CONSTANTS[text] if text in CONSTANTS else self._path(text)
        raise ValueError(f"{text} is out of place in: {self._expression}")

    def _call(self, name: str) -> Any:
        arguments = []
        while not self._take(")"):
            arguments.append(self._or())
            self._take(",")
        if name in STATUS_FUNCTIONS:
            return name in ("always", self._status)
        match name:
            case "contains":
                return any(_equal(item, arguments[1]) for item in arguments[0])
            case "fromJSON":
                return json.loads(arguments[0])
            case "format":
                return re.sub(r"\{(\d+)\}", lambda place: as_text(arguments[1 + int(place[1])]), arguments[0])
        raise ValueError(f"no function {name} here")

    def _path(self, name: str) -> Any:
        if name not in self._context:
            raise ValueError(f"no context {name} in: {self._expression}")
        value = self._context[name]
        many = False
        while self._take("."):
            if self._take("*"):
                value, many = list(value.values()) if isinstance(value, Mapping) else list(value), True
                continue
            _, key = self._tokens.pop(0)
            value = [_member(item, key) for item in value] if many else _member(value, key)
        return value


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    empty = (None, "")
    return bool(one == other or (one in empty and other in empty))
