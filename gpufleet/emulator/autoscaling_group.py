"""A group and its instances: what moto forgets of it, and launching as the real service does.

Owns a group's attributes, which template version and type an instance is launched with, where, and the record of
activities. Instances boot at once and report healthy: no program runs on them, so lifecycle hooks are recorded and never
hold an instance back. Weighted capacity is not modelled. Leaves policies and hooks to `autoscaling_backend`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from moto.autoscaling import models
from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import Activity, FakeAutoScalingGroup, InstanceState
from moto.core.utils import camelcase_to_underscores, utcnow
from moto.ec2.utils import convert_tag_spec
from moto.ssm.models import ssm_backends

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

    def image_of(self, specification: dict[str, Any]) -> str:
        """The image in a version of a launch template, by the specification that names both."""
        if name := specification.get("LaunchTemplateName"):
            template = self.ec2_backend.get_launch_template_by_name(name)
        else:
            template = self.ec2_backend.get_launch_template(specification["LaunchTemplateId"])
        return str(template.get_version(specification["Version"]).data.get("ImageId", ""))

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
