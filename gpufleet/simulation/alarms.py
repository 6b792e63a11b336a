"""When a CloudWatch alarm is in ALARM.

Owns the evaluation of its latest datapoints. Leaves the metrics to `signals`, and what an alarm sets off to the policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
MissingData = Literal["missing", "notBreaching"]

PERIOD_SECONDS = 60
"""Of every metric here: detailed monitoring, and the agents' interval."""

EXTRA_PERIODS = 2
"""CloudWatch looks at more periods than it evaluates, to find enough datapoints: at 5 where it evaluates 3 (CloudWatch User
Guide, "How alarm state is evaluated when data is missing")."""


class Alarm(NamedTuple):
    """M out of N datapoints, one a period."""

    evaluation_periods: int
    datapoints_to_alarm: int
    missing_data: MissingData


def state_of(alarm: Alarm, breaching: Sequence[bool | None]) -> State:
    """The state after these periods, the latest one last; None is a period without a datapoint.

    Enough real datapoints decide alone. Too few are filled up: `notBreaching` with good ones; `missing` with nothing, where a
    bad one alarms early only if it is as old as the datapoints that an alarm takes, and nothing good came after it. CloudWatch
    User Guide, "Configuring how CloudWatch alarms treat missing data".
    """
    looked_at = breaching[-(alarm.evaluation_periods + EXTRA_PERIODS) :]
    real = [point for point in looked_at if point is not None][-alarm.evaluation_periods :]
    if sum(real) >= alarm.datapoints_to_alarm:
        return "ALARM"
    if len(real) == alarm.evaluation_periods or alarm.missing_data == "notBreaching" or not all(real):
        return "OK"
    oldest = next(
        (age for age, point in enumerate(reversed(looked_at), 1) if point and age >= alarm.datapoints_to_alarm), 0
    )
    return "ALARM" if oldest else "INSUFFICIENT_DATA"
