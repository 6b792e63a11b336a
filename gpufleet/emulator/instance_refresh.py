"""Instance refresh, which moto lacks: a rolling replacement of a group's instances by its current launch template.

Owns the life of one refresh: pending, in progress, successful, cancelled, failed or rolled back. Leaves launching and
terminating to the group. There is no clock: each look at the refreshes (DescribeInstanceRefreshes) moves a running one
forward by one instance, so a test sees every state and waits for none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.utils import utcnow

if TYPE_CHECKING:
    from gpufleet.emulator.autoscaling_group import Group

RUNNING = frozenset({"Pending", "InProgress", "Cancelling", "RollbackInProgress"})

DEFAULT_PREFERENCES = {
    "MinHealthyPercentage": 90,
    "SkipMatching": False,
    "AutoRollback": False,
    "ScaleInProtectedInstances": "Wait",
    "StandbyInstances": "Wait",
}
"""What the API fills in (Amazon EC2 Auto Scaling API reference, RefreshPreferences)."""


class RefreshInProgressError(AutoscalingClientError):
    code = "InstanceRefreshInProgress"
    message = "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh."


class NoActiveRefreshError(AutoscalingClientError):
    code = "ActiveInstanceRefreshNotFound"
    message = "No in progress or pending Instance Refresh found for Auto Scaling group."


@dataclass(kw_only=True)
class InstanceRefresh:
    """One refresh. Attribute names are those of the API, in snake case, because moto serialises them so."""

    group: Group
    preferences: dict[str, Any]
    desired_configuration: dict[str, Any] | None
    strategy: str = "Rolling"
    instance_refresh_id: str = field(default_factory=lambda: str(uuid4()))
    status: str = "Pending"
    status_reason: str | None = None
    start_time: datetime = field(default_factory=utcnow)
    end_time: datetime | None = None
    rollback_details: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.auto_scaling_group_name = self.group.name
        self._previous_configuration = self.group.configuration()
        self._waiting = [state.instance_id for state in self.group.instance_states]
        self._total = len(self._waiting)

    @property
    def instances_to_update(self) -> int:
        return len(self._waiting)

    @property
    def percentage_complete(self) -> int:
        return 100 * (self._total - len(self._waiting)) // self._total if self._total else 0

    @property
    def running(self) -> bool:
        return self.status in RUNNING

    def advance(self) -> None:
        """One step: start, replace one instance, or end."""
        match self.status:
            case "Pending":
                self.status = "InProgress"
                self.group.configure(self.desired_configuration or {})
                if self.preferences["SkipMatching"]:
                    self._waiting = [i for i in self._waiting if not self.group.is_current(i)]
            case "Cancelling":
                self._end("Cancelled")
            case "InProgress" if alarm := self._alarm_that_is_on():
                self._stop_for(alarm)
            case "InProgress" | "RollbackInProgress":
                self._replace_next()

    def cancel(self) -> None:
        """Stop after the current step."""
        self.status = "Cancelling"

    def roll_back(self, reason: str) -> None:
        """Return to the configuration that the group had when the refresh began."""
        self.rollback_details = {
            "RollbackReason": reason,
            "RollbackStartTime": utcnow(),
            "PercentageCompleteOnRollback": self.percentage_complete,
            "InstancesToUpdateOnRollback": self.instances_to_update,
        }
        self.group.configure(self._previous_configuration)
        self._waiting = [s.instance_id for s in self.group.instance_states if not self.group.is_current(s.instance_id)]
        self._total = len(self._waiting)
        self.status = "RollbackInProgress"

    def _alarm_that_is_on(self) -> str | None:
        """The first of the watched alarms in state ALARM."""
        watched = (self.preferences.get("AlarmSpecification") or {}).get("Alarms", [])
        alarms = cloudwatch_backends[self.group.account_id][self.group.region].alarms
        return next((name for name in watched if name in alarms and alarms[name].state_value == "ALARM"), None)

    def _stop_for(self, alarm: str) -> None:
        self.status_reason = f"The CloudWatch alarm {alarm} is in the ALARM state."
        if self.preferences["AutoRollback"]:
            self.roll_back(self.status_reason)
        else:
            self._end("Failed")

    def _replace_next(self) -> None:
        present = {state.instance_id for state in self.group.instance_states}
        self._waiting = [i for i in self._waiting if i in present]
        if not self._waiting:
            self._end("RollbackSuccessful" if self.status == "RollbackInProgress" else "Successful")
        elif self.group.replace(self._waiting[0]):
            self._waiting.pop(0)
        elif self.status == "InProgress" and self.preferences["AutoRollback"]:
            self.roll_back("The replacement instance could not be launched.")
        else:
            self._end("RollbackFailed" if self.status == "RollbackInProgress" else "Failed")

    def _end(self, status: str) -> None:
        self.status, self.end_time = status, utcnow()


def start(
    group: Group, *, preferences: dict[str, Any], desired_configuration: dict[str, Any] | None, strategy: str
) -> InstanceRefresh:
    """A new refresh of the group; raises the API's errors when one runs already or rollback is impossible."""
    if active(group):
        raise RefreshInProgressError
    _check_checkpoints(preferences)
    if preferences.get("AutoRollback"):
        _check_rollback(group, desired_configuration)
    refresh = InstanceRefresh(
        group=group,
        preferences=DEFAULT_PREFERENCES | preferences,
        desired_configuration=desired_configuration,
        strategy=strategy,
    )
    group.refreshes.insert(0, refresh)
    return refresh


def active(group: Group) -> InstanceRefresh | None:
    """The group's running refresh."""
    return next((refresh for refresh in group.refreshes if refresh.running), None)


def require_active(group: Group) -> InstanceRefresh:
    """The group's running refresh; raises the API's error when there is none."""
    if (refresh := active(group)) is None:
        raise NoActiveRefreshError
    return refresh


def _check_checkpoints(preferences: dict[str, Any]) -> None:
    """Ascending and unique, and no delay without them (API reference, RefreshPreferences)."""
    percents = [int(percent) for percent in preferences.get("CheckpointPercentages") or []]
    if percents != sorted(set(percents)):
        raise ValidationError("CheckpointPercentages must be unique and in ascending order.")
    if preferences.get("CheckpointDelay") is not None and not percents:
        raise ValidationError("CheckpointDelay requires CheckpointPercentages.")


def _check_rollback(group: Group, desired: dict[str, Any] | None) -> None:
    """Rollback needs a desired configuration with a numbered version and an AMI's id (API reference, RefreshPreferences)."""
    if not desired:
        raise ValidationError("AutoRollback requires a desired configuration.")
    template = desired.get("LaunchTemplate") or desired["MixedInstancesPolicy"]["LaunchTemplate"].get(
        "LaunchTemplateSpecification", {}
    )
    if str(template.get("Version") or "$Default").startswith("$"):
        raise ValidationError("AutoRollback requires a launch template version by number, not $Latest or $Default.")
    if group.image_of(template).startswith("resolve:ssm:"):
        raise ValidationError(
            "AutoRollback requires an AMI id in the launch template, not a Systems Manager parameter."
        )
