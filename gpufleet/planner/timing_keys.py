"""The keys of `gpufleet:timing`: what a user knows better than the planner of how long things take.

Owns their names and bounds. Parsed only for documents that have the section, so that no other plan pays for it. Leaves what
is derived to `timing`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from gpufleet.planner import units, values
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.lifecycle import MAX_TIMEOUT_SECONDS
from gpufleet.planner.requirements import Section, parse_section


def _whole_seconds(value: Any) -> int:
    return math.ceil(units.parse_seconds(value))


WholeSeconds = Annotated[
    int, BeforeValidator(_whole_seconds), values.Written("duration", units=tuple(units.SECOND_UNITS))
]


class TimingKeys(Section):
    """How long things take, where you know better: a measured start, or a limit of your own."""

    boot_seconds: Annotated[WholeSeconds, values.within(0, 3600, "a duration in seconds")] | None = Field(
        None, alias="boot", description="From launch to a loaded driver. Defaults to 60s.", examples=["45s"]
    )
    image_pull_seconds: Annotated[WholeSeconds, values.within(0, 7200, "a duration in seconds")] | None = Field(
        None,
        alias="imagePull",
        description="Pull and unpack of the image. Defaults to its bytes over the published rate.",
        examples=["2m"],
    )
    weights_seconds: Annotated[WholeSeconds, values.within(0, 28800, "a duration in seconds")] | None = Field(
        None,
        alias="weights",
        description="Download of the weights. Defaults to their bytes over the type's network and disk.",
        examples=["90s"],
    )
    engine_start_seconds: Annotated[WholeSeconds, values.within(0, 28800, "a duration in seconds")] | None = Field(
        None,
        alias="engineStart",
        description="From weights on disk to the first answer. Defaults to what was published, by size.",
        examples=["3m"],
    )
    health_check_grace_period_seconds: (
        Annotated[WholeSeconds, values.within(0, 172800, "a duration in seconds")] | None
    ) = Field(
        None,
        alias="healthCheckGracePeriod",
        description="For which an instance that fails its health check is not replaced. Defaults to 1.5 times the start of "
        "the slowest type, 5 minutes at least.",
        examples=["20m"],
    )
    instance_warmup_seconds: Annotated[WholeSeconds, values.within(0, 3600, "a duration in seconds")] | None = Field(
        None,
        alias="instanceWarmup",
        description="How long after its servers answer an instance counts in the group's metrics, and a rollout goes on. "
        "Defaults to 4m, which metrics take to arrive.",
        examples=["10m"],
    )
    lifecycle_timeout_seconds: (
        Annotated[WholeSeconds, values.within(30, MAX_TIMEOUT_SECONDS, "a duration in seconds")] | None
    ) = Field(
        None,
        alias="lifecycleTimeout",
        description="In which an instance must have come up, or is given up. Defaults to 1.5 times the start of the slowest "
        "type, 5 minutes at least and 2 hours at most.",
        examples=["30m"],
    )
    longest_request_seconds: Annotated[WholeSeconds, values.within(1, 3600, "a duration in seconds")] | None = Field(
        None,
        alias="longestRequest",
        description="Longest that one request may take, and that an instance waits for its last ones. Defaults to 5m.",
        examples=["10m"],
    )


def timing_keys(given: dict[str, Any]) -> TimingKeys:
    """The section; a RequirementError with every problem in it."""
    try:
        return parse_section(TimingKeys, given)
    except RequirementError as error:
        raise error.under("timing") from None
