"""Values as YAML that reads back as the same values, in Python and in Pulumi.

Owns the quoting: text stays plain only where no version of YAML takes it for something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PLAIN = r"[A-Za-z/][\w./:-]*[\w/]|[A-Za-z/]|\d+(\.\d+)?[A-Za-z]{1,3}|\d+%"
"""Names, paths, addresses and quantities."""


def yaml_text(value: Any) -> str:
    """A value on one line; lists and mappings in flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_text(str(key))}: {yaml_text(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(yaml_text, value))}]"
    return value if isinstance(value, str) and _stays_text(value) else json.dumps(value)


def _stays_text(value: str) -> bool:
    """Whether plain text is text: `no`, `null` and `1e3` are something else in one version of YAML or another."""
    import yaml

    return bool(re.fullmatch(_PLAIN, value, re.ASCII)) and yaml.safe_load(f"[{value}]") == [value]
