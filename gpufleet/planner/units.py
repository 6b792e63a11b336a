"""Quantities as people write them, and the only home of 1024 and 1000.

Owns parsing (`8B`, `24GiB`, `2s`, `80%`) and conversion between units. Leaves to `requirements` which key takes which
quantity. Every parser raises `ValueError` with the forms that it takes.
"""

import math
import re
from typing import Any

KIB = 1024
MIB = 1024**2
GIB = 1024**3
GB = 1000**3
MIB_PER_GIB = 1024
HOURS_PER_MONTH = 730
"""AWS's own month in its pricing pages: 8,760 hours / 12."""

NUMBER = r"[+-]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
"""A number as text."""

_QUANTITY = rf"\s*({NUMBER})\s*([A-Za-zµ%$]*)\s*"
"""A number, and its unit where it has one."""

COUNT_UNITS = {"": 1, "k": 1000, "m": 1000**2, "b": 1000**3, "bn": 1000**3, "t": 1000**4}
BYTE_UNITS = {
    "b": 1,
    "kib": KIB, "mib": MIB, "gib": GIB, "tib": 1024**4,
    "ki": KIB, "mi": MIB, "gi": GIB, "ti": 1024**4,
    "kb": 1000, "mb": 1000**2, "gb": GB, "tb": 1000**4,
}  # fmt: skip
SECOND_UNITS = {
    "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "ms": 0.001, "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
}  # fmt: skip


def _split(value: Any, forms: str) -> tuple[float, str]:
    """The number and the unit of `value`; booleans, infinities and anything else are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(forms)
    if isinstance(value, str):
        match = re.fullmatch(_QUANTITY, value, re.ASCII)
        if not match:
            raise ValueError(forms)
        return _finite(match[1].replace("_", "").replace(",", ""), forms), match[2]
    return _finite(value, forms), ""


def _finite(value: float | str, forms: str) -> float:
    """`value` as a float; infinities, what is no number and whole numbers beyond a float's range are refused."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(forms)
    return number


def _scaled(value: Any, scale: dict[str, int] | dict[str, float], forms: str) -> float:
    number, unit = _split(value, forms)
    factor = scale.get(unit.casefold())
    if factor is None:
        raise ValueError(forms)
    return _finite(number * factor, forms)


def parse_parameters(value: Any) -> int:
    """A parameter count: `8B`, `8.19B`, `350M`, `8190000000`. Plain numbers are counts."""
    forms = "a parameter count such as 8B, 8.19B, 350M or 8190000000"
    count = _scaled(value, COUNT_UNITS, forms)
    if count < 1_000_000:
        raise ValueError(f"{forms}; at least 1M (a plain number is a count: write 8B for eight billion)")
    return round(count)


def parse_bytes(value: Any) -> int:
    """A size in bytes: `24GiB`, `512MiB`, `80GB`. A plain number is bytes; a small one lacks its unit and is refused."""
    forms = "a size such as 24GiB, 512MiB or 80GB (a plain number is bytes)"
    number, unit = _split(value, forms)
    if not unit and number != 0 and abs(number) < MIB:
        raise ValueError(f"{forms}; did you mean {number:g}GiB?")
    return round(_scaled(value, BYTE_UNITS | {"": 1}, forms))


def parse_seconds(value: Any) -> float:
    """A duration in seconds: `2s`, `500ms`, `5m`. Plain numbers are seconds."""
    return _scaled(value, SECOND_UNITS, "a duration such as 2s, 500ms or 5m (a plain number is seconds)")


def parse_percent(value: Any) -> float:
    """A percentage, 0-100: `70` or `70%`. A fraction such as 0.7 is refused: it is a share."""
    forms = "a percentage from 0 to 100, such as 70 or 70%"
    number, unit = _split(value, forms)
    if unit not in ("", "%") or not 0 <= number <= 100:
        raise ValueError(forms)
    if 0 < number < 1 and not unit:
        raise ValueError(f"{forms}; {value} looks like a share: write {number * 100:g} or {number * 100:g}%")
    return number


def parse_share(value: Any) -> float:
    """A share, 0-1: `0.9` or `90%`. A plain 90 is refused: it is a percentage."""
    forms = "a share from 0 to 1, such as 0.9, or a percentage with its sign, such as 90%"
    number, unit = _split(value, forms)
    if unit == "%":
        number = number / 100
    elif unit:
        raise ValueError(forms)
    elif number > 1:
        raise ValueError(f"{forms}; {value} looks like a percentage: write {number / 100:g} or {number:g}%")
    if not 0 <= number <= 1:
        raise ValueError(forms)
    return number


def parse_usd(value: Any) -> float:
    """US dollars: `3.00`, `$3.00`, `3 USD`."""
    forms = "US dollars per hour, such as 3.00"
    text = value.strip().removeprefix("$") if isinstance(value, str) else value
    number, unit = _split(text, forms)
    if unit.casefold() not in ("", "usd") or number <= 0:
        raise ValueError(f"{forms}; more than 0")
    return number


def parse_count(value: Any) -> int:
    """A whole number: `4` or `"4"`."""
    forms = "a whole number such as 4"
    number = _scaled(value, {"": 1}, forms)
    if number != int(number):
        raise ValueError(forms)
    return int(number)


def parse_number(value: Any) -> float:
    """A plain number: `2`, `2.5` or `"2.5"`."""
    forms = "a number such as 2 or 2.5"
    return _scaled(value, {"": 1}, forms)


def gib(size_bytes: float) -> float:
    """Bytes as GiB."""
    return size_bytes / GIB


def gib_from_mib(size_mib: float) -> float:
    """MiB as GiB."""
    return size_mib / MIB_PER_GIB


def mib_from_bytes(size_bytes: float) -> float:
    """Bytes as MiB."""
    return size_bytes / MIB


def floor_to(value: float, step: float) -> float:
    """`value` rounded down to a multiple of `step`, safe against binary fractions (6.4 stays 6.4)."""
    return round(math.floor(value / step + 1e-9) * step, 10)
