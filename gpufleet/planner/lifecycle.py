"""The two moments at which a fleet's group waits for an instance: before its first request, and before its end.

Owns the names of the hooks, which instances complete by themselves, and how long draining may take. Leaves how long a start
may take to `timing`.
"""

from __future__ import annotations

LAUNCHING_HOOK = "gpufleet-launching"
"""Completed when every server of the instance answers; abandoned when the boot has failed for good."""
TERMINATING_HOOK = "gpufleet-terminating"
"""Completed when the instance has answered what it took."""

STOP_SECONDS = 120
"""For containers to stop and the group to hear of it, once an instance is drained."""
MAX_TIMEOUT_SECONDS = 7200
"""EC2 Auto Scaling's limit of a hook's time-out; an instance that needs longer sends heartbeats."""


def termination_timeout_seconds(longest_request_seconds: int) -> int:
    """How long the group waits for a draining instance: the longest request twice, for the instance as a whole and then
    for a replica that still has some, and the time to stop."""
    return min(MAX_TIMEOUT_SECONDS, 2 * longest_request_seconds + STOP_SECONDS)
