"""What Pulumi would do to the resources, told from two runs of the program."""

from __future__ import annotations

import json

import pytest

from gpufleet.offline import run_program, stack_config
from gpufleet.review.operations import ANEW, TABLE, operations, replacement_table
from stacks.config import stack_names
from tests.review.conftest import snapshot

VPC_TYPE, BALANCER_TYPE = "aws:ec2/vpc:Vpc", "aws:lb/loadBalancer:LoadBalancer"
VPC = {
    "vpcId": "vpc-0123456789abcdef0",
    "subnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
}
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"


def resource(name, kind="aws:ec2/subnet:Subnet", **inputs):
    options = {"ignoreChanges": inputs.pop("ignore", []), "replaceOnChanges": inputs.pop("replace_on", [])}
    made_from = {key: [source["urn"]] for key, source in inputs.pop("made_from", {}).items()}
    identity = {"urn": f"urn:{kind}::{name}", "type": kind, "name": name}
    return {**identity, "inputs": inputs, "propertyDependencies": made_from, **options}


def between(before, after):
    """Kind of operation by name."""
    return {o.name: o.kind for o in operations(before, after)}


def of_program(before, after):
    """Kinds of operations by name, without the project's prefix."""
    found = operations(before.resources, after.resources)
    return {o.name.removeprefix("gpufleet-"): o for o in found}


def test_what_stays_has_no_operation(plain):
    assert operations(plain.resources, plain.resources) == ()


def test_create_update_delete():
    before = [resource("old", tags={}), resource("kept", tags={"a": "1"})]
    after = [resource("new", tags={}), resource("kept", tags={"a": "2"})]
    assert between(before, after) == {"old": "delete", "new": "create", "kept": "update"}


def test_a_property_that_the_provider_cannot_change_replaces():
    [operation] = operations([resource("s", cidrBlock="10.0.0.0/24")], [resource("s", cidrBlock="10.0.1.0/24")])
    assert (operation.kind, operation.forced_by) == ("replace", ("cidrBlock",))
    assert [(c.path, c.before, c.after) for c in operation.changes] == [("cidrBlock", "10.0.0.0/24", "10.0.1.0/24")]


def test_a_property_that_the_program_wants_replaced_for_replaces():
    pair = [resource("s", tags={"a": "1"}, replace_on=["tags"])], [resource("s", tags={"a": "2"}, replace_on=["tags"])]
    assert between(*pair) == {"s": "replace"}


def test_ignored_properties_change_nothing():
    pair = (
        [resource("g", desiredCapacity=1, ignore=["desiredCapacity"])],
        [resource("g", desiredCapacity=2, ignore=["desiredCapacity"])],
    )
    assert between(*pair) == {}


def test_replacement_is_followed_through_what_names_the_resource():
    """A VPC replaced takes its subnets with it, and these the load balancer's list, which can be changed in place."""

    def chain(cidr):
        vpc = resource("vpc", VPC_TYPE, cidrBlock=cidr)
        subnet = resource("subnet", vpcId="<vpc.id>", cidrBlock="10.0.0.0/24", made_from={"vpcId": vpc})
        balancer = resource("lb", BALANCER_TYPE, subnets=["<subnet.id>"], internal=True, made_from={"subnets": subnet})
        return [vpc, subnet, balancer, resource("other", vpcId="vpc-1", cidrBlock="10.0.0.0/24")]

    found = {o.name: o for o in operations(chain("10.0.0.0/16"), chain("10.1.0.0/16"))}
    assert {name: o.kind for name, o in found.items()} == {"vpc": "replace", "subnet": "replace", "lb": "update"}
    assert found["subnet"].forced_by == ("vpcId",)
    assert found["lb"].changes[0].after == ANEW


def test_a_new_template_version_moves_whoever_names_it():
    def pair(**inputs):
        template = resource("template", "aws:ec2/launchTemplate:LaunchTemplate", **inputs)
        names = {"version": "<template.latestVersion>", "id": "<template.id>"}
        return [
            template,
            resource("group", "aws:autoscaling/group:Group", **names, made_from=dict.fromkeys(names, template)),
        ]

    assert between(pair(imageId="ami-1"), pair(imageId="ami-2")) == {"template": "update", "group": "update"}
    assert between(pair(tags={"a": "1"}), pair(tags={"a": "2"})) == {"template": "update"}


def test_another_type_of_the_same_name_is_not_followed():
    """A load balancer and its security group may have the same logical name."""

    def pair(internal):
        group = resource("lb", "aws:ec2/securityGroup:SecurityGroup", description="x")
        balancer = resource("lb", BALANCER_TYPE, internal=internal)
        rule = resource(
            "rule",
            "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
            securityGroupId="<lb.id>",
            made_from={"securityGroupId": group},
        )
        return [group, balancer, rule]

    assert between(pair(True), pair(False)) == {"lb": "replace"}


def test_larger_model_updates_template_and_group_and_replaces_nothing(plain):
    found = of_program(plain, snapshot(model={"id": "Qwen/Qwen2.5-14B-Instruct", "precision": "fp16"}))
    assert {"template", "group"} <= set(found)
    assert {o.kind for o in found.values()} == {"update"}
    assert any(c.path.startswith("mixedInstancesPolicy.launchTemplate.overrides") for c in found["group"].changes)


def test_another_port_replaces_the_target_group_only(plain):
    found = of_program(plain, snapshot(serving={"port": 9000}))
    assert [name for name, o in found.items() if o.kind == "replace"] == ["targets"]
    assert found["http"].kind == "update"
    assert found["group"].kind == "update"


def test_desired_counts_at_creation_only(plain):
    found = of_program(plain, snapshot(scaling={"min": 1, "desired": 2, "max": 4}))
    assert found == {}


def test_internet_facing_replaces_the_load_balancer(plain):
    public = {"internal": False, "certificateArn": CERTIFICATE, "allowedCidrs": ["203.0.113.0/24"]}
    found = of_program(plain, snapshot(network=public))
    assert found["lb"].kind == "replace"
    assert "internal" in found["lb"].forced_by
    assert found["http"].kind == "replace"  # a listener cannot move to another load balancer
    assert found["https"].kind == "create"
    assert not {"targets", "group", "template", "vpc"} & set(found)


def test_moving_into_a_given_network_removes_ours(plain):
    found = of_program(plain, snapshot(network=VPC))
    assert found["vpc"].kind == "delete"
    assert found["lb-to-fleet"].kind == "replace"
    assert found["targets"].forced_by == ("vpcId",)


@pytest.mark.parametrize("stack", stack_names())
def test_the_table_knows_every_type_that_the_program_makes(stack):
    made = {r.type for r in run_program(stack, stack_config(stack)).resources if r.custom}
    assert made <= set(replacement_table())


def test_the_table_names_its_source():
    assert "pulumi-aws 7.51.1" in json.loads(TABLE.read_bytes())["source"]
