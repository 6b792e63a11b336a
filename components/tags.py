"""The tags that every resource carries.

Owns which they are. Auto Scaling groups and launch templates need them in other shapes; those components make them
from the same mapping. Resources that AWS does not tag (routes, policies, dashboards) have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STACK_TAG = "gpufleet:stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """The stack's name, beside what the user asked for. The program's own keys win."""

    stack: str
    extra: Mapping[str, str] = field(default_factory=dict)

    def named(self, suffix: str) -> dict[str, str]:
        """Tags of one resource, whose `Name` is `<stack>-<suffix>`."""
        return {**self.extra, STACK_TAG: self.stack, "Name": f"{self.stack}-{suffix}"}
