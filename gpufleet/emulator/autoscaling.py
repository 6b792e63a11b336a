"""Auto Scaling with the state that moto forgets and the actions that it lacks.

Owns groups (attributes, launching from the numbered template version, activities), policies per group, lifecycle
hooks as they were given, notifications, and the API of instance refresh; the refresh itself is in
`gpufleet.emulator.instance_refresh`. Instances boot at once and report healthy: no program runs on them, so lifecycle
hooks are recorded and never hold an instance back. Weighted capacity is not modelled.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from moto.autoscaling import models, urls
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import (
    Activity,
    AutoScalingBackend,
    FakeAutoScalingGroup,
    FakeScalingPolicy,
    InstanceState,
    LifecycleHook,
)
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import camelcase_to_underscores, utcnow
from moto.ec2.utils import convert_tag_spec
from moto.ssm.models import ssm_backends
from moto.utilities.utils import get_partition

from gpufleet.emulator import instance_refresh
from gpufleet.emulator.faults import FAULTS
from gpufleet.emulator.instance_refresh import InstanceRefresh

REMEMBERED = {
    "AvailabilityZoneDistribution": {"CapacityDistributionStrategy": "balanced-best-effort"},
    "AvailabilityZoneImpairmentPolicy": None,
    "CapacityRebalance": False,
    "CapacityReservationSpecification": {"CapacityReservationPreference": "default"},
    "Context": None,
    "DefaultCooldown": models.DEFAULT_COOLDOWN,
    "DefaultInstanceWarmup": None,
    "DesiredCapacityType": None,
    "HealthCheckGracePeriod": 0,
    "InstanceMaintenancePolicy": None,
    "MaxInstanceLifetime": None,
    "PlacementGroup": None,
    "TerminationPolicies": ["Default"],
}
"""Attributes of a group that are stored as given, with the API's value where none is."""


class State(InstanceState):
    """An instance of a group, with the template version that it was launched from (none if it was attached)."""

    def __init__(self, instance: Any, *, version: str | None = None, **kwargs: Any) -> None:
        super().__init__(instance, **kwargs)
        self._version = version

    @property
    def launch_template(self) -> dict[str, Any] | None:
        template = super().launch_template
        return {**template, "Version": self._version} if template and self._version else None


class Group(FakeAutoScalingGroup):
    """A group that launches what its template version says, in all its subnets, and keeps a record of it."""

    def __init__(self, **kwargs: Any) -> None:
        self.activities: list[Activity] = []
        self.refreshes: list[InstanceRefresh] = []
        self.notifications: dict[str, list[str]] = {}
        super().__init__(**kwargs)

    def remember(self, params: dict[str, Any]) -> None:
        """Store the attributes that moto drops."""
        for name in REMEMBERED.keys() & params.keys():
            setattr(self, camelcase_to_underscores(name), params[name])
        if (params.get("InstanceMaintenancePolicy") or {}).get("MinHealthyPercentage") == -1:
            self.instance_maintenance_policy = None  # -1 is how the API is told to remove it

    def _set_launch_configuration(
        self, launch_config_name: str, launch_template: dict[str, Any], mixed_instances_policy: dict[str, Any] | None
    ) -> None:
        # Moto stores a policy's template with id and name, but takes one of the two only when it gets it back.
        template = (mixed_instances_policy or {}).get("LaunchTemplate", {}).get("LaunchTemplateSpecification", {})
        for specification in (launch_template or {}, template):
            if specification.get("LaunchTemplateId"):
                specification.pop("LaunchTemplateName", None)
        super()._set_launch_configuration(launch_config_name, launch_template, mixed_instances_policy)

    def configuration(self) -> dict[str, Any]:
        """What an instance refresh can change, as it is now."""
        if self.mixed_instances_policy:
            return {"MixedInstancesPolicy": deepcopy(self.mixed_instances_policy)}
        return {"LaunchTemplate": self.launch_template} if self.ec2_launch_template else {}

    def configure(self, configuration: dict[str, Any]) -> None:
        """Take over the desired configuration of an instance refresh."""
        template, policy = configuration.get("LaunchTemplate"), configuration.get("MixedInstancesPolicy")
        if template or policy:
            self.mixed_instances_policy = policy
            self._set_launch_configuration("", template or {}, policy)

    @property
    def version(self) -> str | None:
        """The number of the template version that the next instance is launched from."""
        template = self.ec2_launch_template
        return str(template.get_version(self.launch_template_version).number) if template else None

    def is_current(self, instance_id: str) -> bool:
        """Whether this instance was launched from the group's template version."""
        state = next(s for s in self.instance_states if s.instance_id == instance_id)
        return (state.launch_template or {}).get("Version") == self.version

    def set_desired_capacity(self, new_capacity: int | None) -> None:
        self.desired_capacity = self.min_size if new_capacity is None else new_capacity
        self.reconcile()

    def reconcile(self) -> None:
        """Launch or terminate until the group has the instances that it should have, or a launch fails."""
        missing = (self.desired_capacity or 0) - len(self.active_instances())
        while missing > 0 and self.launch():
            missing -= 1
        surplus = [s for s in self.active_instances() if not s.protected_from_scale_in]
        surplus.sort(key=lambda s: self.is_current(s.instance_id))
        for state in surplus[: max(0, -missing)]:
            self.terminate(state)
        if self.name in self.autoscaling_backend.autoscaling_groups:
            self.autoscaling_backend.update_attached_elbs(self.name)
            self.autoscaling_backend.update_attached_target_groups(self.name)

    def replace_autoscaling_group_instances(self, count_needed: int, propagated_tags: dict[str, str]) -> None:
        for _ in range(count_needed):
            self.launch()

    def replace(self, instance_id: str) -> bool:
        """Launch a new instance, then terminate this one; False when the launch fails."""
        old = next(s for s in self.instance_states if s.instance_id == instance_id)
        if not self.launch():
            return False
        self.terminate(old)
        self.reconcile()
        return True

    def launch(self) -> bool:
        """One more instance; a fault of RunInstances becomes a failed scaling activity, as with AWS."""
        if fault := FAULTS.take("ec2", "RunInstances", self.name):
            self._record("Launching a new EC2 instance.", status="Failed", message=f"{fault.message or fault.code}")
            return False
        instance = self.ec2_backend.run_instances(**self._launch_arguments()).instances[0]
        instance.autoscaling_group = self  # type: ignore[attr-defined]
        protected = self.new_instances_protected_from_scale_in
        self.instance_states.append(State(instance, version=self.version, protected_from_scale_in=protected))
        self._record(f"Launching a new EC2 instance: {instance.id}")
        return True

    def terminate(self, state: InstanceState) -> None:
        """End one instance and take it out of the target groups."""
        self.instance_states = [s for s in self.instance_states if s is not state]
        for arn in self.target_group_arns:
            if target_group := self.autoscaling_backend.elbv2_backend.target_groups.get(arn):
                target_group.targets.pop(state.instance_id, None)
        self.ec2_backend.terminate_instances([state.instance_id])
        self._record(f"Terminating EC2 instance: {state.instance_id}")

    def _launch_arguments(self) -> dict[str, Any]:
        """The arguments of RunInstances: the template version, overridden by what the group decides."""
        data: dict[str, Any] = {}
        if template := self.ec2_launch_template:
            data = template.get_version(self.launch_template_version).data
        tags = convert_tag_spec(data.get("TagSpecifications", []))
        interfaces = data.get("NetworkInterfaces") or [{}]
        return {
            "image_id": self._resolved_image(),
            "count": 1,
            "user_data": self.user_data,
            "security_group_names": self.security_groups,
            "security_group_ids": data.get("SecurityGroupIds") or interfaces[0].get("Groups") or [],
            "instance_type": self._instance_type(),
            "is_instance_type_default": False,
            "region_name": self.region,
            "tags": tags
            | {"instance": tags.get("instance", {}) | self.get_propagated_tags() | {models.ASG_NAME_TAG: self.name}},
            "launch_config": self.launch_config,
            "launch_template": template and {"LaunchTemplateId": template.id, "Version": self.version},
            "lifecycle": "spot" if self._next_is_spot() else None,
            "metadata_options": data.get("MetadataOptions", {}),
            "ebs_optimized": data.get("EbsOptimized", False),
            **self._place(),
        }

    def _place(self) -> dict[str, Any]:
        """The subnet or zone with the fewest instances."""
        if not self.vpc_zone_identifier:
            used = [s.availability_zone for s in self.instance_states]
            return {"placement": min(sorted(self.availability_zones), key=used.count), "associate_public_ip": None}
        used = [s.instance.subnet_id for s in self.instance_states]
        subnet = min(self.vpc_zone_identifier.split(","), key=used.count)
        return {"subnet_id": subnet, "associate_public_ip": None}

    def _resolved_image(self) -> str:
        """The image's id; `resolve:ssm:` is resolved at each launch."""
        if not self.image_id.startswith("resolve:ssm:"):
            return self.image_id
        name = self.image_id.removeprefix("resolve:ssm:").split(":")[0]
        backend = ssm_backends[self.account_id][self.region]
        if not (found := backend.get_parameters([name])):
            raise ValidationError(f"The parameter {name} could not be resolved.")
        return str(found[name].value)

    def _instance_type(self) -> str:
        """The first override's type (a group has capacity of every type here), else the template's."""
        policy = self.mixed_instances_policy or {}
        overrides = policy.get("LaunchTemplate", {}).get("Overrides") or [{}]
        return overrides[0].get("InstanceType") or self.instance_type

    def _next_is_spot(self) -> bool:
        """Whether the next instance is Spot, by the share above the On-Demand base."""
        distribution = (self.mixed_instances_policy or {}).get("InstancesDistribution", {})
        above = len(self.instance_states) + 1 - int(distribution.get("OnDemandBaseCapacity") or 0)
        share = int(distribution.get("OnDemandPercentageAboveBaseCapacity", 100))
        spot = sum(s.instance.lifecycle == "spot" for s in self.instance_states)
        return above > 0 and spot < above * (100 - share) // 100

    def _record(self, description: str, *, status: str = "Successful", message: str | None = None) -> None:
        activity = Activity(
            description,
            f"At {utcnow():%Y-%m-%dT%H:%M:%SZ} the group's capacity was adjusted.",
            self,
            status_code=status,
        )
        activity.progress = 100
        activity.status_message = message  # type: ignore[attr-defined]
        self.activities.insert(0, activity)


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
