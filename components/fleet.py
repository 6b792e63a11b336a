"""The Auto Scaling group: which types it boots, where, how many, and how it replaces them.

Owns the group. Leaves moving its size to `scaling_policies` and how an instance starts to `launch_template`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner.lifecycle import LAUNCHING_HOOK, TERMINATING_HOOK, termination_timeout_seconds
from gpufleet.planner.plan import Capacity, DeploymentPlan

TERMINATION_POLICIES = ("OldestLaunchTemplate", "AllocationStrategy", "Default")
"""Outdated instances first, then those of the types that the plan likes least."""

GROUP_METRICS = (
    "GroupMinSize",
    "GroupMaxSize",
    "GroupDesiredCapacity",
    "GroupInServiceInstances",
    "GroupPendingInstances",
    "GroupTerminatingInstances",
    "GroupTotalInstances",
)

DELETE_TIMEOUT = "30m"
"""Instances finish their requests before the group is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetArgs:
    """The plan, and what the group's instances start from, where and behind what.

    `alarm_names` are those that end a rollout. `after` is what the first instance needs beyond the group's own inputs: its
    rights and its way to the internet.
    """

    plan: DeploymentPlan
    template_id: pulumi.Input[str]
    template_version: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    target_group_arn: pulumi.Input[str]
    alarm_names: Sequence[pulumi.Input[str]]
    after: Sequence[pulumi.Resource]
    tags: Tags


class Fleet(pulumi.ComponentResource):
    """An Auto Scaling group over the zones that offer its types."""

    group_name: pulumi.Output[str]

    def __init__(self, name: str, args: FleetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:fleet:Fleet", name, None, opts)
        plan = args.plan
        group = aws.autoscaling.Group(
            f"{name}-group",
            min_size=plan.capacity.min,
            max_size=plan.capacity.max,
            desired_capacity=plan.capacity.desired,
            vpc_zone_identifiers=args.subnet_ids,
            mixed_instances_policy=_mixed_instances_policy(args),
            capacity_rebalance=plan.capacity.spot_percentage > 0,
            target_group_arns=[args.target_group_arn],
            health_check_type="ELB",
            health_check_grace_period=plan.timing.health_check_grace_period_seconds,
            default_instance_warmup=plan.timing.instance_warmup_seconds,
            # A type that is short of capacity must not fail the whole update: the group goes on trying.
            wait_for_capacity_timeout="0",
            instance_refresh=_instance_refresh(args),
            instance_maintenance_policy={
                "min_healthy_percentage": plan.rollout.min_healthy_percent,
                "max_healthy_percentage": plan.rollout.max_healthy_percent,
            },
            capacity_reservation_specification=_reservations(plan.capacity),
            termination_policies=TERMINATION_POLICIES,
            # On the group itself, for its first instances; the hooks below hold what a change makes of them.
            initial_lifecycle_hooks=[
                {
                    "name": hook.name,
                    "lifecycle_transition": hook.transition,
                    "default_result": hook.default_result,
                    "heartbeat_timeout": hook.timeout_seconds,
                }
                for hook in lifecycle_hooks(plan)
            ],
            enabled_metrics=[aws.autoscaling.Metric(metric) for metric in GROUP_METRICS],
            # The provider's default tags do not reach the instances of a group.
            tags=[
                {"key": key, "value": value, "propagate_at_launch": True}
                for key, value in sorted(args.tags.named("instance").items())
            ],
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=args.after,
                # The scaling policies own the one from then on: setting it would undo what they did. AWS reads the other
                # when it makes the group, and never again.
                ignore_changes=["desiredCapacity", "initialLifecycleHooks", *_scheduled_properties(plan)],
                custom_timeouts=pulumi.CustomTimeouts(delete=DELETE_TIMEOUT),
            ),
        )
        for hook in lifecycle_hooks(plan):
            aws.autoscaling.LifecycleHook(
                f"{name}-{hook.purpose}",
                name=hook.name,
                autoscaling_group_name=group.name,
                lifecycle_transition=hook.transition,
                default_result=hook.default_result,
                heartbeat_timeout=hook.timeout_seconds,
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.group_name = group.name
        self.register_outputs({"groupName": self.group_name})


def _scheduled_properties(plan: DeploymentPlan) -> Sequence[str]:
    """What schedules own: at noon the group has the day's bounds, and an `up` must not put back the night's. A change of the
    stack's own bounds goes into the schedules, and reaches the group with the next of them."""
    return ["minSize", "maxSize"] if plan.scaling.schedules else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A lifecycle hook: the group waits for the instance, and takes the default result where it hears nothing."""

    purpose: str
    name: str
    transition: str
    default_result: str
    timeout_seconds: int


def lifecycle_hooks(plan: DeploymentPlan) -> tuple[Hook, ...]:
    """An instance gets requests when its servers answer, and ends when it has answered what it took."""
    return (
        Hook(
            purpose="launching",
            name=LAUNCHING_HOOK,
            transition="autoscaling:EC2_INSTANCE_LAUNCHING",
            default_result="ABANDON",
            timeout_seconds=plan.timing.lifecycle_timeout_seconds,
        ),
        Hook(
            purpose="terminating",
            name=TERMINATING_HOOK,
            transition="autoscaling:EC2_INSTANCE_TERMINATING",
            default_result="CONTINUE",
            timeout_seconds=termination_timeout_seconds(plan.timing.longest_request_seconds),
        ),
    )


def _mixed_instances_policy(args: FleetArgs) -> aws.autoscaling.GroupMixedInstancesPolicyArgsDict:
    """The plan's types by name and in its order: on demand takes the first that has capacity."""
    capacity = args.plan.capacity
    return {
        "launch_template": {
            "launch_template_specification": {
                "launch_template_id": args.template_id,
                "version": args.template_version,
            },
            "overrides": [{"instance_type": planned.type} for planned in args.plan.types],
        },
        "instances_distribution": {
            "on_demand_allocation_strategy": "prioritized",
            "on_demand_base_capacity": capacity.on_demand_base,
            "on_demand_percentage_above_base_capacity": round(100 - capacity.spot_percentage),
            "spot_allocation_strategy": "price-capacity-optimized",
        },
    }


def _reservations(capacity: Capacity) -> aws.autoscaling.GroupCapacityReservationSpecificationArgsDict | None:
    """The reservations first, and on-demand capacity beside them: a rollout needs an instance more than the fleet has."""
    if not capacity.reservation_ids and not capacity.reservation_group_arns:
        return None
    return {
        "capacity_reservation_preference": "capacity-reservations-first",
        "capacity_reservation_target": {
            "capacity_reservation_ids": capacity.reservation_ids or None,
            "capacity_reservation_resource_group_arns": capacity.reservation_group_arns or None,
        },
    }


def _instance_refresh(args: FleetArgs) -> aws.autoscaling.GroupInstanceRefreshArgsDict:
    """A new version of the template replaces the instances in turn, and stops where it fails or an alarm is on."""
    rollout = args.plan.rollout
    preferences: aws.autoscaling.GroupInstanceRefreshPreferencesArgsDict = {
        "min_healthy_percentage": rollout.min_healthy_percent,
        "max_healthy_percentage": rollout.max_healthy_percent,
        "skip_matching": rollout.skips_matching,
    }
    if rollout.checkpoint_percents:
        preferences["checkpoint_percentages"] = rollout.checkpoint_percents
        preferences["checkpoint_delay"] = str(rollout.checkpoint_delay_seconds)
    if rollout.watches_alarms:
        preferences["alarm_specification"] = {"alarms": args.alarm_names}
    return {"strategy": "Rolling", "preferences": preferences}
