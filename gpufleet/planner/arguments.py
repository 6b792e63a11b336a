"""The user's own arguments of the server, as its parser would read them.

Owns reading them. Leaves what they mean to `server` (do they contradict the plan) and `host` (do they cost RAM).
"""

from __future__ import annotations

from collections.abc import Iterable


def argument_pairs(args: Iterable[str]) -> list[tuple[str, str]]:
    """Flags with their values, for `--flag value`, `--flag=value` and bare flags; underscores as vLLM takes them."""
    pairs: list[tuple[str, str]] = []
    for arg in args:
        if arg.startswith("-") and not _is_number(arg):
            flag, _, value = arg.partition("=")
            pairs.append((flag.replace("_", "-"), value))
        elif pairs and not pairs[-1][1]:
            pairs[-1] = (pairs[-1][0], arg)
    return pairs


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
