"""Reads the fields of a nested config (`vision_config`, `audio_config`…), naming them in full where they are wrong.

Owns that one record. Leaves what the fields mean to `vision`, `audio` and `projectors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from gpufleet.planner.models.fields import fail, whole


class Nested(NamedTuple):
    """A nested config and the field that it lies under."""

    field: str
    values: Mapping[str, Any]

    def _path(self, name: str) -> str:
        return f"{self.field}.{name}" if self.field else name

    def size(self, *names: str, default: int = 0) -> int:
        """The first of these whole numbers that is given and above 0. A pair (height, width) counts as its first."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, list | tuple) and value:
                value = value[0]
            if value is not None and (number := whole(value, self._path(name))):
                return number
        return default

    def ratio(self, name: str, default: float) -> float:
        """A number that need not be whole."""
        value = self.values.get(name)
        if value is None:
            return default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not 0 < value < 1000:
            fail(self._path(name), "must be a number above 0", given=value, allowed="a number such as 4.0")
        return float(value)

    def flag(self, name: str, default: bool | None) -> bool | None:
        """True, false, or the default where it is neither."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else default

    def count_of(self, *names: str) -> int:
        """How many a list has, under the first of its names that is given; 0 where there is none."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, list | tuple):
                return len(value)
            if value is not None and not isinstance(value, int):
                fail(self._path(name), "must be a list", given=value, allowed="a list of whole numbers")
        return 0

    def text(self, name: str) -> str:
        """A name; empty where there is none."""
        return str(self.values.get(name) or "")

    def inner(self, name: str) -> Nested:
        """A config nested in this one; empty where there is none."""
        value = self.values.get(name)
        return Nested(self._path(name), value if isinstance(value, Mapping) else {})
