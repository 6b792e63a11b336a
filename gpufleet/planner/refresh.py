"""How a change replaces the instances of a running fleet: new ones first, a few at a time.

Owns the shares of the fleet that are healthy meanwhile. Leaves the refresh to the group that does it, and what the
instances beside it need to `quota`.
"""

MIN_HEALTHY_PERCENT = 100
MAX_HEALTHY_PERCENT = 110
"""Replacements launch before their predecessors go, at least one instance and at most a tenth of the fleet at a time:
a fleet of one instance stays up, and a large one needs little spare quota."""


def extra_instances(instances: int) -> int:
    """The most that stand beside a fleet of so many while it is replaced.

    AWS does not document how it rounds a part of an instance: here it is a whole one.
    """
    return max(1, -(-instances * (MAX_HEALTHY_PERCENT - 100) // 100))
