"""The Auto Scaling API with the state that moto forgets and the actions that it lacks.

Owns the actions: attributes of groups, policies, lifecycle hooks, notifications, instance refresh, and putting all of it
in the place of moto's. Leaves what they act on to `autoscaling_group`, `autoscaling_backend` and `instance_refresh`.
"""

from __future__ import annotations

from typing import Any

from moto.autoscaling import models, urls
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from gpufleet.emulator import instance_refresh
from gpufleet.emulator.autoscaling_backend import Backend, Keyed, Policy
from gpufleet.emulator.autoscaling_group import REMEMBERED, Group, State


class AlreadyExistsError(ValidationError):
    code = "AlreadyExists"


class Response(AutoScalingResponse):
    """Moto's Auto Scaling API and what it lacks. Parameters are validated as far as the program depends on it."""

    @property
    def autoscaling_backend(self) -> Backend:
        backend = super().autoscaling_backend
        assert isinstance(backend, Backend)
        return backend

    def _group(self) -> Group:
        return self.autoscaling_backend.group(self._get_param("AutoScalingGroupName"))

    def create_auto_scaling_group(self) -> ActionResult:
        if self._get_param("AutoScalingGroupName") in self.autoscaling_backend.autoscaling_groups:
            raise AlreadyExistsError("AutoScalingGroup by this name already exists")  # moto would make it anew
        result = super().create_auto_scaling_group()
        params = self._get_params()
        self._group().remember({**REMEMBERED, **params})
        for specification in params.get("LifecycleHookSpecificationList", []):
            self.autoscaling_backend.put_hook(self._group().name, specification)
        return result

    def update_auto_scaling_group(self) -> ActionResult:
        result = super().update_auto_scaling_group()
        self._group().remember(self._get_params())
        return result

    def describe_scaling_activities(self) -> ActionResult:
        name = self._get_param("AutoScalingGroupName")
        groups = [self._group()] if name else self.autoscaling_backend.autoscaling_groups.values()
        return ActionResult({"Activities": [a for g in groups if isinstance(g, Group) for a in g.activities]})

    def disable_metrics_collection(self) -> ActionResult:
        group, metrics = self._group(), self._get_param("Metrics", [])
        group.metrics = [m for m in group.metrics if m not in metrics] if metrics else []
        return EmptyResult()

    def put_scaling_policy(self) -> ActionResult:
        super().put_scaling_policy()
        params = self._get_params()
        policy = self.autoscaling_backend.find_policy(params["PolicyName"], params["AutoScalingGroupName"])
        policy.enabled = params.get("Enabled", True)
        return ActionResult({"PolicyARN": policy.arn, "Alarms": []})

    def delete_policy(self) -> ActionResult:
        policy = self.autoscaling_backend.find_policy(
            self._get_param("PolicyName"), self._get_param("AutoScalingGroupName")
        )
        key: Any = Keyed(policy.auto_scaling_group_name, policy.name)
        del self.autoscaling_backend.policies[key]
        return EmptyResult()

    def execute_policy(self) -> ActionResult:
        policy = self.autoscaling_backend.find_policy(
            self._get_param("PolicyName"), self._get_param("AutoScalingGroupName")
        )
        policy.run(
            metric_value=float(self._get_param("MetricValue", 0)),
            breach_threshold=float(self._get_param("BreachThreshold", 0)),
        )
        return EmptyResult()

    def put_lifecycle_hook(self) -> ActionResult:
        self.autoscaling_backend.put_hook(self._group().name, self._get_params())
        return EmptyResult()

    def complete_lifecycle_action(self) -> ActionResult:
        return self._known_hook()

    def record_lifecycle_action_heartbeat(self) -> ActionResult:
        return self._known_hook()

    def _known_hook(self) -> ActionResult:
        group, name = self._group(), self._get_param("LifecycleHookName")
        if not self.autoscaling_backend.describe_lifecycle_hooks(group.name, [name]):
            raise ValidationError(f"No Lifecycle Action found with hook {name} in group {group.name}")
        instance = self._get_param("InstanceId")
        if instance and all(s.instance_id != instance for s in group.instance_states):
            raise ValidationError(f"No active Lifecycle Action found with instance ID {instance}")
        return EmptyResult()

    def put_notification_configuration(self) -> ActionResult:
        self._group().notifications[self._get_param("TopicARN")] = self._get_param("NotificationTypes", [])
        return EmptyResult()

    def delete_notification_configuration(self) -> ActionResult:
        self._group().notifications.pop(self._get_param("TopicARN"), None)
        return EmptyResult()

    def describe_notification_configurations(self) -> ActionResult:
        wanted = self._get_param("AutoScalingGroupNames", [])
        configurations = [
            {"AutoScalingGroupName": group.name, "TopicARN": topic, "NotificationType": notification}
            for group in self.autoscaling_backend.autoscaling_groups.values()
            if isinstance(group, Group) and (not wanted or group.name in wanted)
            for topic, types in group.notifications.items()
            for notification in types
        ]
        return ActionResult({"NotificationConfigurations": configurations})

    def start_instance_refresh(self) -> ActionResult:
        refresh = instance_refresh.start(
            self._group(),
            preferences=self._get_param("Preferences", {}),
            desired_configuration=self._get_param("DesiredConfiguration"),
            strategy=self._get_param("Strategy", "Rolling"),
        )
        return ActionResult({"InstanceRefreshId": refresh.instance_refresh_id})

    def describe_instance_refreshes(self) -> ActionResult:
        group, wanted = self._group(), self._get_param("InstanceRefreshIds", [])
        if refresh := instance_refresh.active(group):
            refresh.advance()
        chosen = [r for r in group.refreshes if not wanted or r.instance_refresh_id in wanted]
        return ActionResult({"InstanceRefreshes": chosen})

    def cancel_instance_refresh(self) -> ActionResult:
        refresh = instance_refresh.require_active(self._group())
        refresh.cancel()
        return ActionResult({"InstanceRefreshId": refresh.instance_refresh_id})

    def rollback_instance_refresh(self) -> ActionResult:
        refresh = instance_refresh.require_active(self._group())
        if not refresh.desired_configuration:
            raise ValidationError("Rollback requires an instance refresh with a desired configuration.")
        refresh.roll_back("Rollback requested by the user.")
        return ActionResult({"InstanceRefreshId": refresh.instance_refresh_id})


def install() -> None:
    """Put these in the place of moto's."""
    models.FakeAutoScalingGroup = Group  # type: ignore[misc, assignment]
    models.FakeScalingPolicy = Policy  # type: ignore[misc]
    models.InstanceState = State  # type: ignore[misc, assignment]
    models.autoscaling_backends.backend = Backend
    urls.url_paths = {"{0}/$": Response.dispatch}
