"""The program for every shipped stack: resources, their exact inputs, parents, names and tags."""

from __future__ import annotations

import importlib
import inspect
import re

import pulumi_aws
import pytest

from gpufleet.offline import run_program, stack_config
from gpufleet.planner.lifecycle import LAUNCHING_HOOK, TERMINATING_HOOK
from gpufleet.planner.machine_image import PLACEHOLDER_AMI
from templates.render import render_user_data

COMPONENTS = {
    "gpufleet:access:Access",
    "gpufleet:alarms:Alarms",
    "gpufleet:alarms:GroupAlarms",
    "gpufleet:fleet:Fleet",
    "gpufleet:launch_template:LaunchTemplate",
    "gpufleet:load_balancer:LoadBalancer",
    "gpufleet:logs:Logs",
    "gpufleet:network:Network",
    "gpufleet:notifications:Notifications",
    "gpufleet:observability:Observability",
    "gpufleet:scaling_policies:ScalingPolicies",
}
OF_PRODUCTION = {"gpufleet:flow_logs:FlowLogs", "gpufleet:log_bucket:LogBucket"}


def sdk_parameters(type_token):
    """The arguments that pulumi-aws takes for a type, in Pulumi's spelling."""
    match = re.fullmatch(r"aws:(\w+)/\w+:(\w+)", type_token)
    resource = getattr(importlib.import_module(f"{pulumi_aws.__name__}.{match[1]}"), match[2])
    names = inspect.signature(resource._internal_init).parameters
    return {re.sub(r"_(\w)", lambda m: m[1].upper(), name) for name in names}


def test_every_resource_hangs_in_its_component(stack):
    by_urn = {r.urn: r for r in stack.run.resources}
    facade = [r for r in stack.run.resources if r.type == "gpufleet:inference_service:InferenceService"]
    assert len(facade) == 1
    assert "pulumi:pulumi:Stack" in facade[0].parent
    parts = [r for r in stack.run.resources if r.parent == facade[0].urn]
    expected = COMPONENTS | OF_PRODUCTION if stack.run.plan.protects else COMPONENTS
    assert {r.type for r in parts} == expected
    assert len(parts) == len(expected)
    for resource in stack.run.resources:
        if resource.custom:
            assert by_urn[resource.parent].type in expected, resource.name


def test_urns_are_unique(stack):
    urns = [r.urn for r in stack.run.resources]
    assert len(urns) == len(set(urns))


def test_every_taggable_resource_carries_the_stack(stack):
    for resource in stack.run.resources:
        if not resource.custom or "tags" not in sdk_parameters(resource.type):
            continue
        tags = resource.inputs["tags"]
        if isinstance(tags, list):
            assert all(tag["propagateAtLaunch"] for tag in tags)
            tags = {tag["key"]: tag["value"] for tag in tags}
        assert tags["gpufleet:stack"] == stack.run.stack, resource.name
        assert tags["Name"].startswith(stack.run.stack)
        assert stack.run.plan.tags.items() <= tags.items()


def test_inputs_are_known_to_the_sdk(stack):
    for resource in stack.run.resources:
        if resource.custom:
            assert set(resource.inputs) <= sdk_parameters(resource.type), resource.name


def test_launch_template_is_the_plan(stack):
    plan, template = stack.run.plan, stack.one("LaunchTemplate")
    assert template["imageId"] == PLACEHOLDER_AMI
    assert template["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }
    assert template["blockDeviceMappings"] == [
        {
            "deviceName": "/dev/xvda",
            "ebs": {
                "volumeType": "gp3",
                "volumeSize": plan.storage.root_volume_gib,
                "throughput": plan.storage.root_throughput_mibs,
                "iops": plan.storage.root_iops,
                "encrypted": "true",
                "deleteOnTermination": "true",
            },
        }
    ]
    assert template["networkInterfaces"] == [
        {
            "deviceIndex": 0,
            "associatePublicIpAddress": "false",
            "deleteOnTermination": "true",
            "securityGroups": ["<gpufleet-fleet.id>"],
        }
    ]
    assert template["iamInstanceProfile"] == {"name": "<gpufleet-profile.name>"}
    assert "keyName" not in template
    assert {s["resourceType"] for s in template["tagSpecifications"]} == {"instance", "volume", "network-interface"}
    for specification in template["tagSpecifications"]:
        assert specification["tags"]["gpufleet:stack"] == stack.run.stack


def test_user_data_is_the_rendered_script(stack):
    name = stack.run.stack
    script = stack.user_data()
    assert script == render_user_data(stack.run.plan, stack=name, log_group=f"/gpufleet/{name}")
    assert len(script.encode()) <= 16_384
    assert stack.one("LogGroup", "logs")["name"] == f"/gpufleet/{name}"


def test_group_is_the_plan(stack):
    plan, group = stack.run.plan, stack.one("Group")
    assert (group["minSize"], group["desiredCapacity"], group["maxSize"]) == (
        plan.capacity.min,
        plan.capacity.desired,
        plan.capacity.max,
    )
    assert group["mixedInstancesPolicy"] == {
        "launchTemplate": {
            "launchTemplateSpecification": {
                "launchTemplateId": "<gpufleet-template.id>",
                "version": "<gpufleet-template.latestVersion>",
            },
            "overrides": [{"instanceType": t} for t in (plan.instance.type, *plan.fallbacks)],
        },
        "instancesDistribution": {
            "onDemandAllocationStrategy": "prioritized",
            "onDemandBaseCapacity": plan.capacity.on_demand_base,
            "onDemandPercentageAboveBaseCapacity": 100 - plan.capacity.spot_percentage,
            "spotAllocationStrategy": "price-capacity-optimized",
        },
    }
    assert group["healthCheckType"] == "ELB"
    assert group["healthCheckGracePeriod"] == plan.timing.health_check_grace_period_seconds
    assert group["defaultInstanceWarmup"] == plan.timing.instance_warmup_seconds
    assert group["waitForCapacityTimeout"] == "0"
    assert group["targetGroupArns"] == ["<gpufleet-targets.arn>"]
    stops = {"checkpointPercentages": [13, 50, 100], "checkpointDelay": "600"} if plan.capacity.max == 8 else {}
    alarms = ("no-healthy-instance", "server-errors", "gateway-errors")
    assert group["instanceRefresh"] == {
        "strategy": "Rolling",
        "preferences": {
            "minHealthyPercentage": 100,
            "maxHealthyPercentage": 110,
            "skipMatching": True,
            "alarmSpecification": {"alarms": [f"<gpufleet-{name}.name>" for name in alarms]},
            **stops,
        },
    }
    assert "capacityReservationSpecification" not in group
    assert stack.of_type("Group")[0].ignore_changes == ("desiredCapacity", "initialLifecycleHooks")


def test_the_group_waits_for_instances_that_load_and_that_drain(stack):
    timing, group = stack.run.plan.timing, stack.one("Group")
    hooks = {hook["name"]: hook for hook in group["initialLifecycleHooks"]}
    kept = {hook.inputs["name"]: hook.inputs for hook in stack.of_type("LifecycleHook")}
    assert set(hooks) == set(kept) == {LAUNCHING_HOOK, TERMINATING_HOOK}
    for name, hook in hooks.items():
        assert kept[name] == hook | {"autoscalingGroupName": "<gpufleet-group.name>"}
        assert 30 <= hook["heartbeatTimeout"] <= 7200
        assert name in stack.scripts()
    launching, terminating = hooks[LAUNCHING_HOOK], hooks[TERMINATING_HOOK]
    assert launching["lifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING"
    assert launching["defaultResult"] == "ABANDON"
    assert launching["heartbeatTimeout"] >= timing.load_seconds
    assert terminating["lifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert terminating["heartbeatTimeout"] > timing.longest_request_seconds


def test_instances_speak_for_their_own_group_only(stack):
    [statement] = [s for s in stack.statements() if "autoscaling:CompleteLifecycleAction" in s["Action"]]
    region, name = stack.run.plan.region, stack.run.stack
    assert statement["Resource"] == (
        f"arn:aws:autoscaling:{region}:*:autoScalingGroup:*:autoScalingGroupName/gpufleet-group-*"
    )
    assert statement["Condition"] == {"StringEquals": {"aws:ResourceTag/gpufleet:stack": name}}
    assert {tag["key"]: tag["value"] for tag in stack.one("Group")["tags"]}["gpufleet:stack"] == name


def test_only_production_protects_its_load_balancer_and_its_logs(stack):
    is_protected = {(r.type.rpartition(":")[2], r.name) for r in stack.run.resources if r.protect}
    logs = {("Bucket", "gpufleet-access-logs"), ("LogGroup", "gpufleet-logs"), ("LogGroup", "gpufleet-flow-logs")}
    expected = {("LoadBalancer", "gpufleet-lb"), *logs} if stack.run.stack.startswith("prod-") else set()
    assert is_protected == expected


def test_first_instance_waits_for_its_rights_and_its_way_out(stack):
    waits_for = {urn.rpartition("::")[2] for urn in stack.of_type("Group")[0].dependencies}
    assert {"gpufleet-telemetry", "gpufleet-private-internet", "gpufleet-http", "gpufleet-s3"} <= waits_for


def test_network(stack):
    plan = stack.run.plan
    assert len(plan.network.subnets) >= 2
    subnets = {r.name: r.inputs for r in stack.of_type("Subnet")}
    assert {(s["availabilityZoneId"], s["cidrBlock"]) for s in subnets.values()} == {
        pair for s in plan.network.subnets for pair in ((s.zone_id, s.private_cidr), (s.zone_id, s.public_cidr))
    }
    assert not any(s["mapPublicIpOnLaunch"] for s in subnets.values())
    first = plan.network.subnets[0].zone_id
    assert stack.one("NatGateway", "nat")["subnetId"] == f"<gpufleet-public-{first}.id>"
    assert stack.one("VpcEndpoint", "s3")["serviceName"] == f"com.amazonaws.{plan.region}.s3"
    assert stack.one("Route", "private-internet")["natGatewayId"] == "<gpufleet-nat.id>"
    assert stack.one("Route", "public-internet")["gatewayId"] == "<gpufleet-internet.id>"
    own = {zone: f"-{zone}" for zone in plan.availability_zone_ids if zone != first} if plan.protects else {}
    assert {r.name for r in stack.of_type("NatGateway")} == {f"gpufleet-nat{suffix}" for suffix in ("", *own.values())}
    for zone, suffix in own.items():
        assert stack.one("NatGateway", f"nat{suffix}")["subnetId"] == f"<gpufleet-public-{zone}.id>"
        assert stack.one("Route", f"private-internet{suffix}")["natGatewayId"] == f"<gpufleet-nat{suffix}.id>"
    for suffix in ("", *own.values()):
        assert stack.one("VpcEndpoint", f"s3{suffix}")["routeTableIds"] == [f"<gpufleet-private{suffix}.id>"]
    for resource in stack.of_type("RouteTableAssociation"):
        _, kind, zone = resource.name.split("-", 2)
        suffix = own.get(zone, "") if kind == "private" else ""
        assert resource.inputs["routeTableId"] == f"<gpufleet-{kind}{suffix}.id>"
        assert resource.inputs["subnetId"] == f"<{resource.name}.id>"
        assert any(urn.endswith(f"-{kind}-internet{suffix}") for urn in resource.dependencies), "leads out first"
    assert "ingress" not in stack.one("DefaultSecurityGroup")
    assert "egress" not in stack.one("DefaultSecurityGroup")


def test_instances_stay_in_the_types_zones_and_the_balancer_takes_all(stack):
    plan = stack.run.plan
    assert stack.one("Group")["vpcZoneIdentifiers"] == [
        f"<gpufleet-private-{zone}.id>" for zone in plan.availability_zone_ids
    ]
    balancer = stack.one("LoadBalancer")
    assert balancer["internal"] is True
    assert balancer["subnets"] == [f"<gpufleet-private-{s.zone_id}.id>" for s in plan.network.subnets]


def test_security_rules_are_exactly_these(stack):
    def rule(resource):
        inputs = resource.inputs
        other = inputs.get("cidrIpv4") or inputs["referencedSecurityGroupId"]
        assert (inputs["ipProtocol"], inputs["fromPort"]) == ("tcp", inputs["toPort"])
        return inputs["securityGroupId"], other, inputs["fromPort"]

    port = stack.run.plan.server.port
    assert {rule(r) for r in stack.of_type("SecurityGroupIngressRule")} == {
        ("<gpufleet-lb.id>", "10.0.0.0/16", 80),
        ("<gpufleet-lb.id>", "<gpufleet-fleet.id>", 80),
        ("<gpufleet-fleet.id>", "<gpufleet-lb.id>", port),
    }
    assert {rule(r) for r in stack.of_type("SecurityGroupEgressRule")} == {
        ("<gpufleet-lb.id>", "<gpufleet-fleet.id>", port),
        ("<gpufleet-fleet.id>", "0.0.0.0/0", 443),
        ("<gpufleet-fleet.id>", "<gpufleet-lb.id>", 80),
    }
    for group in stack.of_type("SecurityGroup"):
        assert not {"ingress", "egress", "name"} & set(group.inputs)
        assert group.inputs["description"]


def test_load_balancer_and_targets(stack):
    plan = stack.run.plan
    balancer, targets = stack.one("LoadBalancer"), stack.one("TargetGroup")
    assert balancer["idleTimeout"] == plan.timing.longest_request_seconds
    assert balancer["dropInvalidHeaderFields"] is True
    assert balancer["desyncMitigationMode"] == "defensive"
    assert targets["loadBalancingAlgorithmType"] == "least_outstanding_requests"
    assert (targets["port"], targets["protocol"]) == (plan.server.port, "HTTP")
    assert targets["healthCheck"]["path"] == plan.server.health_path
    assert targets["deregistrationDelay"] == plan.timing.longest_request_seconds
    assert stack.one("Listener")["defaultActions"] == [{"type": "forward", "targetGroupArn": "<gpufleet-targets.arn>"}]


def test_names_that_the_provider_lengthens_are_short_and_without_the_stack(stack):
    for resource in [*stack.of_type("LoadBalancer"), *stack.of_type("TargetGroup")]:
        assert len(resource.name) <= 24
        assert stack.run.stack not in resource.name
        assert "name" not in resource.inputs


def test_role_is_the_least(stack):
    actions = stack.actions()
    assert not [a for a in actions if "*" in a]
    assert not [a for a in actions if a.startswith(("s3:", "ecr:", "secretsmanager:")) or a == "ssm:GetParameter"]
    assert "managedPolicyArns" not in stack.one("Role", "instance")
    assert not stack.of_type("RolePolicyAttachment")
    without_scope = {"ssm", "ssmmessages", "cloudwatch", "ec2"}
    for statement in stack.statements():
        listed = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if statement["Resource"] == "*":
            assert {a.split(":")[0] for a in listed} <= without_scope


def test_outputs(stack):
    plan, outputs = stack.run.plan, stack.run.outputs
    assert outputs["endpointUrl"] == "http://<gpufleet-lb.dnsName>"
    assert outputs["autoScalingGroupName"] == "<gpufleet-group.name>"
    assert outputs["instanceType"] == plan.instance.type
    assert outputs["limits"] == {"vcpu": plan.limits.vcpu, "memoryMiB": plan.limits.memory_mib}
    assert outputs["costPerHour"] == {
        "currency": "USD",
        "min": plan.cost.hourly.min,
        "desired": plan.cost.hourly.desired,
        "max": plan.cost.hourly.max,
    }
    command = outputs["connectCommand"]
    assert "--document-name AWS-StartPortForwardingSessionToRemoteHost" in command
    assert "host=<gpufleet-lb.dnsName>,portNumber=80,localPortNumber=8080" in command
    assert "--auto-scaling-group-names <gpufleet-group.name>" in command


def test_warnings_of_the_plan_are_warnings_of_the_program(stack):
    assert stack.run.warnings == stack.run.plan.warnings


def test_running_again_asks_for_the_same(dev):
    again = run_program(dev.run.stack, stack_config(dev.run.stack))
    assert again == dev.run


@pytest.mark.parametrize("kind", ["LoadBalancer", "TargetGroup", "SecurityGroup", "Role", "LaunchTemplate", "Group"])
def test_names_are_left_to_the_provider(dev, kind):
    assert all("name" not in r.inputs for r in dev.of_type(kind))
