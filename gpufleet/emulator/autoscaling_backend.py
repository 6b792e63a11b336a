"""Auto Scaling of one region: what belongs to its groups, by name within each group, and nothing left of deleted ones.

Owns policies (each with an ARN, executed in steps, disabled), scheduled actions and lifecycle hooks as they were given.
Leaves the groups to `autoscaling_group` and the API to `autoscaling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from moto.autoscaling import urls
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, FakeScalingPolicy, LifecycleHook
from moto.utilities.utils import get_partition

from gpufleet.emulator.autoscaling_group import Group


class Policy(FakeScalingPolicy):
    """A policy with an ARN of its own, which can be disabled and executed in steps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.uuid = str(uuid4())
        self.enabled = True
        # An empty block would come back as one, and the provider would see a change.
        self.predictive_scaling_configuration = self.predictive_scaling_configuration or None  # type: ignore[assignment]

    @property
    def arn(self) -> str:
        region, account = self.autoscaling_backend.region_name, self.autoscaling_backend.account_id
        return (
            f"arn:{get_partition(region)}:autoscaling:{region}:{account}:scalingPolicy:{self.uuid}:"
            f"autoScalingGroupName/{self.auto_scaling_group_name}:policyName/{self.name}"
        )

    policy_arn = arn

    def run(self, *, metric_value: float, breach_threshold: float) -> None:
        """What the policy's alarm does: one adjustment, within the group's bounds, kept until something changes it."""
        group = self.autoscaling_backend.autoscaling_groups[self.auto_scaling_group_name]
        adjustment = self._adjustment(metric_value - breach_threshold)
        current = group.desired_capacity or 0
        match self.adjustment_type:
            case "ExactCapacity":
                wanted = adjustment
            case "PercentChangeInCapacity":
                change = current * adjustment / 100
                wanted = current + (int(change) or (1 if change > 0 else -1 if change < 0 else 0))
            case _:
                wanted = current + adjustment
        group.set_desired_capacity(min(max(wanted, group.min_size or 0), group.max_size or 0))

    def _adjustment(self, excess: float) -> int:
        if self.policy_type != "StepScaling":
            return int(self.scaling_adjustment or 0)
        steps: list[dict[str, Any]] = self.step_adjustments or []  # type: ignore[assignment]
        for step in steps:
            low, high = step.get("MetricIntervalLowerBound"), step.get("MetricIntervalUpperBound")
            if (low is None or float(low) <= excess) and (high is None or excess < float(high)):
                return int(step["ScalingAdjustment"])
        return 0


@dataclass(frozen=True, slots=True)
class Keyed:
    """A name within a group: policies and scheduled actions of two groups may have the same."""

    group: str
    name: str


class Backend(AutoScalingBackend):
    """Moto's Auto Scaling of one region, with names per group and nothing left of a deleted group."""

    _url_module = urls

    def group(self, name: str) -> Group:
        """A group by name; raises the API's error when there is none."""
        group = self.autoscaling_groups.get(name)
        if not isinstance(group, Group):
            raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        return group

    def update_auto_scaling_group(self, name: str, **kwargs: Any) -> FakeAutoScalingGroup:  # type: ignore[override]
        if not kwargs["mixed_instances_policy"] and not kwargs["launch_template"] and not kwargs["launch_config_name"]:
            kwargs["mixed_instances_policy"] = self.group(name).mixed_instances_policy
        return super().update_auto_scaling_group(name=name, **kwargs)

    def delete_auto_scaling_group(self, group_name: str) -> None:
        super().delete_auto_scaling_group(group_name)
        for records in (self.policies, self.scheduled_actions, self.lifecycle_hooks):
            own: dict[Any, Any] = records
            for key in [key for key, record in own.items() if record.auto_scaling_group_name == group_name]:
                del own[key]

    def put_scaling_policy(self, *, name: str, as_name: str, **kwargs: Any) -> Policy:  # type: ignore[override]
        self.group(as_name)
        key: Any = Keyed(as_name, name)
        before = self.policies.get(key)
        policy = super().put_scaling_policy(name=name, as_name=as_name, **kwargs)
        assert isinstance(policy, Policy)
        if isinstance(before, Policy):
            policy.uuid = before.uuid
        self.policies[key] = self.policies.pop(name)
        return policy

    def find_policy(self, name_or_arn: str, group_name: str | None) -> Policy:
        """A policy by ARN, or by name within its group."""
        for policy in self.policies.values():
            if name_or_arn == policy.arn or (policy.name, policy.auto_scaling_group_name) == (name_or_arn, group_name):
                assert isinstance(policy, Policy)
                return policy
        raise ValidationError("PolicyName not found.")

    def put_scheduled_update_group_action(self, name: str, **kwargs: Any) -> Any:  # type: ignore[override]
        self.group(name)
        action = super().put_scheduled_update_group_action(name=name, **kwargs)
        key: Any = Keyed(name, action.scheduled_action_name)
        self.scheduled_actions[key] = self.scheduled_actions.pop(action.scheduled_action_name)
        return action

    def delete_scheduled_action(self, auto_scaling_group_name: str, scheduled_action_name: str) -> None:
        key: Any = Keyed(auto_scaling_group_name, scheduled_action_name)
        if self.scheduled_actions.pop(key, None) is None:
            raise ValidationError("Scheduled action name not found")

    def put_hook(self, group_name: str, specification: dict[str, Any]) -> None:
        """A lifecycle hook exactly as it was given."""
        self.group(group_name)
        hook: LifecycleHook = self.create_lifecycle_hook(
            name=specification["LifecycleHookName"],
            as_name=group_name,
            transition=specification["LifecycleTransition"],
            timeout=specification.get("HeartbeatTimeout"),
            result=specification.get("DefaultResult") or "ABANDON",
        )
        hook.lifecycle_hook_name = hook.name  # type: ignore[attr-defined]
        hook.notification_target_arn = specification.get("NotificationTargetARN")  # type: ignore[assignment]
        hook.role_arn = specification.get("RoleARN")  # type: ignore[assignment]
        hook.notification_metadata = specification.get("NotificationMetadata")  # type: ignore[attr-defined]
        hook.global_timeout = min(172800, 100 * hook.heartbeat_timeout)
