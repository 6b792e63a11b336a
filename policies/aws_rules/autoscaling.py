"""Rules for Auto Scaling: groups, scaling policies, lifecycle hooks, schedules and notifications."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from aws_rules.rule import (
    UNKNOWN,
    Config,
    Resource,
    Rule,
    Stack,
    StackRule,
    expect,
    integer,
    is_list,
    is_one_of,
    is_set,
    is_unset,
    shown,
    unset_or,
    where,
)

GROUP = "aws:autoscaling/group:Group"
POLICY = "aws:autoscaling/policy:Policy"
HOOK = "aws:autoscaling/lifecycleHook:LifecycleHook"
SCHEDULE = "aws:autoscaling/schedule:Schedule"
NOTIFICATION = "aws:autoscaling/notification:Notification"

MIXED = "mixedInstancesPolicy"
SPECIFICATION = f"{MIXED}.launchTemplate.launchTemplateSpecification"
MOVING_VERSIONS = ("$Latest", "$Default")
ERRORS = ("autoscaling:EC2_INSTANCE_LAUNCH_ERROR", "autoscaling:EC2_INSTANCE_TERMINATE_ERROR")


def behind_a_balancer(group: Resource) -> bool:
    return any(group.get(key) not in (None, []) for key in ("targetGroupArns", "loadBalancers", "trafficSources"))


def takes_spot(group: Resource) -> bool:
    percent = group.get(f"{MIXED}.instancesDistribution.onDemandPercentageAboveBaseCapacity")
    return isinstance(percent, int | float) and percent < 100


def few_zones(group: Resource, config: Config) -> Iterator[str]:
    counts = {key: len(group.items(key)) for key in ("vpcZoneIdentifiers", "availabilityZones")}
    if any(group.get(key) is UNKNOWN for key in counts):
        return
    if max(counts.values()) < config["minimum"]:
        yield f"it has {max(counts.values())} subnets, must have at least {shown(config['minimum'])}, each in another zone"


def few_types(group: Resource, config: Config) -> Iterator[str]:
    path = f"{MIXED}.launchTemplate.overrides"
    overrides = group.items(path)
    if group.get(path) is UNKNOWN or any(o is UNKNOWN or o.get("instanceRequirements") for o in overrides):
        return
    types = {o.get("instanceType") for o in overrides}
    if len(types) < config["minimum"]:
        yield f"it may launch {len(types)} types by name, must have at least {shown(config['minimum'])}"


def moving_versions(group: Resource, _: Config) -> Iterator[str]:
    for path in ("launchTemplate", SPECIFICATION):
        template, version = group.get(path), group.get(f"{path}.version")
        if (
            template not in (None, UNKNOWN)
            and version is not UNKNOWN
            and (version or MOVING_VERSIONS[1]) in (MOVING_VERSIONS)
        ):
            yield f"{path}.version is {shown(version)}, must be a number"


def no_template(group: Resource, _: Config) -> Iterator[str]:
    if group.get("launchConfiguration") not in (None, ""):
        yield "it starts instances from a launch configuration"
    elif group.get("launchTemplate") is None and group.get(MIXED) is None:
        yield "it names no launch template"


def unpropagated_tags(group: Resource, config: Config) -> Iterator[str]:
    if group.get("tags") in (None, []):
        yield "tags is not set"
    yield from expect(("tags[].propagateAtLaunch", is_one_of(True)))(group, config)


def no_base(group: Resource, _: Config) -> Iterator[str]:
    base = group.get(f"{MIXED}.instancesDistribution.onDemandBaseCapacity")
    if base is not UNKNOWN and (base or 0) < 1:
        yield f"it takes Spot instances and its On-Demand base is {shown(base)}, must be at least 1"


def managed_size(group: Resource, _: Config) -> Iterator[str]:
    sizes = [group.get(key) for key in ("minSize", "maxSize")]
    if UNKNOWN in sizes or sizes[0] == sizes[1]:
        return
    if group.get("desiredCapacity") is not None and "desiredCapacity" not in group.ignore_changes:
        yield f"desiredCapacity is {shown(group.get('desiredCapacity'))} and every update sets it again"


def no_notification(group: Resource, stack: Stack, _: Config) -> Iterator[str]:
    if not stack.users(group, NOTIFICATION, "groupNames"):
        yield "nobody is told when an instance fails to start or to stop"


def tracks_latency(policy: Resource, _: Config) -> Iterator[str]:
    metric = policy.get("targetTrackingConfiguration.customizedMetricSpecification.metricName")
    if isinstance(metric, str) and ("latency" in metric.lower() or "responsetime" in metric.lower()):
        yield f"it tracks {metric}, which does not change in proportion to capacity"


def disorder(schedule: Resource, _: Config) -> Iterator[str]:
    sizes = [(key, schedule.get(key)) for key in ("minSize", "desiredCapacity", "maxSize")]
    known = [(key, size) for key, size in sizes if isinstance(size, int | float) and size >= 0]
    for (smaller, low), (larger, high) in pairwise(known):
        if low > high:
            yield f"{smaller} is {low:g} and {larger} is {high:g}"


def untold_errors(notification: Resource, _: Config) -> Iterator[str]:
    told = notification.get("notifications")
    if is_list(told) and UNKNOWN not in told:
        yield from (f"notifications lacks {event}" for event in ERRORS if event not in told)


RULES: tuple[Rule | StackRule, ...] = (
    Rule(
        name="group-elb-health-check",
        types=(GROUP,),
        says="A group behind a load balancer replaces instances that the load balancer finds unhealthy.",
        mend='Set health_check_type to "ELB", and health_check_grace_period to longer than an instance takes to serve.',
        ids=("AutoScaling.1", "CKV2_AWS_15", "AwsSolutions-AS2", "prowler:autoscaling_group_elb_health_check_enabled"),
        find=where(behind_a_balancer, expect(("healthCheckType", is_one_of("ELB")))),
    ),
    Rule(
        name="group-several-zones",
        types=(GROUP,),
        says="A group outlives the loss of a zone.",
        mend="Give vpc_zone_identifiers subnets of several zones, or lower the option `minimum`.",
        ids=("AutoScaling.2", "CT.AUTOSCALING.PR.1", "prowler:autoscaling_group_multiple_az"),
        options={"minimum": integer(2, "Least number of subnets", minimum=1)},
        find=few_zones,
    ),
    Rule(
        name="group-several-types",
        types=(GROUP,),
        says="A group can launch another type when EC2 is short of the first.",
        mend="Name further types in mixed_instances_policy.launch_template.overrides, or lower the option `minimum`.",
        ids=("AutoScaling.6", "CT.AUTOSCALING.PR.6", "prowler:autoscaling_group_multiple_instance_types"),
        level="advisory",
        options={"minimum": integer(2, "Least number of instance types", minimum=1)},
        find=few_types,
    ),
    Rule(
        name="group-launch-template",
        types=(GROUP,),
        says="A group starts its instances from a launch template; launch configurations get no new types or options.",
        mend="Set mixed_instances_policy or launch_template, and remove launch_configuration.",
        ids=("AutoScaling.9", "CKV_AWS_315"),
        find=no_template,
    ),
    Rule(
        name="group-numbered-template-version",
        types=(GROUP,),
        says="A new version of the template is a change of the group, which shows in a preview and rolls out.",
        mend="Set version to the template's latest_version as a text; with $Latest no instance is ever replaced.",
        find=moving_versions,
    ),
    Rule(
        name="group-tags-instances",
        types=(GROUP,),
        says="A group's instances carry its tags; the provider's default tags do not reach them.",
        mend='List every tag as {"key", "value", "propagate_at_launch": True}.',
        ids=("CKV_AWS_153",),
        severity="low",
        find=unpropagated_tags,
    ),
    Rule(
        name="group-capacity-rebalance",
        types=(GROUP,),
        says="A Spot instance is replaced before EC2 takes it back.",
        mend="Set capacity_rebalance to True.",
        ids=("prowler:autoscaling_group_capacity_rebalance_enabled",),
        find=where(takes_spot, expect(("capacityRebalance", is_one_of(True)))),
    ),
    Rule(
        name="group-on-demand-base",
        types=(GROUP,),
        says="A group with Spot instances keeps at least one that EC2 does not take back.",
        mend="Set instances_distribution.on_demand_base_capacity to 1 or more: a group never falls back from Spot to"
        " On-Demand by itself.",
        level="advisory",
        find=where(takes_spot, no_base),
    ),
    Rule(
        name="group-instance-warmup",
        types=(GROUP,),
        says="Scaling does not count an instance before it serves.",
        mend="Set default_instance_warmup to the seconds from launch to the first answer; default_cooldown has no"
        " effect on step scaling and target tracking.",
        ids=("AwsSolutions-AS1",),
        find=expect(("defaultInstanceWarmup", is_set)),
    ),
    Rule(
        name="group-instance-refresh",
        types=(GROUP,),
        says="A change of the template reaches the instances that run.",
        mend='Set instance_refresh with strategy "Rolling".',
        level="advisory",
        severity="low",
        find=expect(("instanceRefresh", is_set)),
    ),
    Rule(
        name="group-size-left-to-scaling",
        types=(GROUP,),
        says="An update does not undo what scaling policies did.",
        mend='Leave desired_capacity out, or add "desiredCapacity" to ignore_changes.',
        find=managed_size,
    ),
    StackRule(
        name="group-notifications",
        types=(GROUP,),
        says="Somebody is told when an instance fails to start or to stop.",
        mend="Add an aws.autoscaling.Notification with the error events and a topic.",
        ids=("AwsSolutions-AS3",),
        severity="low",
        level="disabled",
        reason="Alarms on healthy instances call people when it matters; a group that is short of capacity would"
        " otherwise send a mail for each try.",
        find=no_notification,
    ),
    Rule(
        name="scaling-policy-not-by-latency",
        types=(POLICY,),
        says="Target tracking follows a metric that changes in proportion to capacity; latency does not.",
        mend="Use step scaling on an alarm of the latency, or track utilisation or requests per target.",
        find=tracks_latency,
    ),
    Rule(
        name="scaling-policy-kind",
        types=(POLICY,),
        says="Scaling goes on while instances start; simple scaling waits for a cooldown instead.",
        mend='Set policy_type to "TargetTrackingScaling", "StepScaling" or "PredictiveScaling".',
        ids=("AwsSolutions-AS1",),
        severity="low",
        find=expect(("policyType", is_one_of("TargetTrackingScaling", "StepScaling", "PredictiveScaling"))),
    ),
    Rule(
        name="lifecycle-hook-abandons",
        types=(HOOK,),
        says="An instance that never says that it serves gets no requests.",
        mend='Set default_result to "ABANDON", or leave it out.',
        find=where(
            lambda hook: hook.get("lifecycleTransition") == "autoscaling:EC2_INSTANCE_LAUNCHING",
            expect(("defaultResult", unset_or("ABANDON"))),
        ),
    ),
    Rule(
        name="schedule-in-order",
        types=(SCHEDULE,),
        says="A schedule sets sizes that a group can have.",
        mend="Set min_size, desired_capacity and max_size in ascending order; -1 leaves one as it is.",
        severity="low",
        find=disorder,
    ),
    Rule(
        name="schedule-time-zone",
        types=(SCHEDULE,),
        says="A recurring schedule says in whose time zone.",
        mend="Set time_zone to a name such as Europe/Berlin or Etc/UTC: without one it is UTC, and moves by an hour"
        " against the working day twice a year.",
        severity="low",
        level="advisory",
        find=where(lambda schedule: schedule.get("recurrence") is not None, expect(("timeZone", is_set))),
    ),
    Rule(
        name="notification-of-errors",
        types=(NOTIFICATION,),
        says="Notifications of a group include its errors.",
        mend=f"Add {' and '.join(ERRORS)} to notifications.",
        ids=("AwsSolutions-AS3",),
        severity="low",
        level="advisory",
        find=untold_errors,
    ),
    Rule(
        name="launch-configuration-none",
        types=("aws:ec2/launchConfiguration:LaunchConfiguration",),
        says="Instances start from launch templates; launch configurations get no new types or options.",
        mend="Replace it by an aws.ec2.LaunchTemplate.",
        ids=("AutoScaling.9", "CKV_AWS_315"),
        find=expect(("imageId", is_unset)),
    ),
)
