"""Values as YAML that reads back as the same values, in Python and in Pulumi.

Owns the quoting: text stays plain only where no version of YAML takes it for something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

_PLAIN = r"[A-Za-z/][\w./:-]*[\w/]|[A-Za-z/]|\d+(\.\d+)?[A-Za-z]{1,3}|\d+%"
"""Names, paths, addresses and quantities."""


def yaml_text(value: Any) -> str:
    """A value on one line; lists and mappings in flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_text(key)}: {yaml_text(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(yaml_text, value))}]"
    if not isinstance(value, str):
        return json.dumps(value)
    return value if _stays_text(value) else yaml.safe_dump(value, default_style='"', width=float("inf")).rstrip("\n")


def _stays_text(value: str) -> bool:
    """Whether plain text is read as text: `no`, `null` and `1e3` are something else in one version of YAML or another."""
    return bool(re.fullmatch(_PLAIN, value, re.ASCII)) and bool(yaml.safe_load(f"[{value}]") == [value])
