"""Which risks are called, by real plans and real runs of the program; and when they are not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gpufleet.review.risks import CONSEQUENCES, KINDS
from tests.repository import PROJECT
from tests.review.conftest import MODEL, compared, snapshot

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"
PUBLIC = {"internal": False, "certificateArn": CERTIFICATE, "allowedCidrs": ["203.0.113.0/24"]}
LARGER = {"id": "Qwen/Qwen2.5-14B-Instruct", "precision": "fp16"}


def _time(minutes):
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def risks(before, after, **options):
    """Messages by kind."""
    found = {}
    for risk in compared(before, after, **options).risks:
        assert risk.kind in KINDS
        found.setdefault(risk.kind, []).append(risk.message)
    return found


def test_no_change_has_no_risk(plain):
    assert risks(plain, plain) == {}


def test_a_new_template_version_rolls_the_whole_fleet_out_in_batches(plain):
    after = snapshot(scaling={"min": 1, "max": 30}, tags={"team": "search"})
    [message] = risks(plain, after)["rollout"]
    warmup_min = after.plan["timing"]["instanceWarmupSeconds"] // 60
    # One instance at a time up to 19, then a tenth of the group: 30 instances are 10 batches of 3, and two waits of 10 min.
    assert f"about {warmup_min} min at 1 instance, " in message
    assert f"about {_time(10 * warmup_min + 20)} at 30 instances" in message
    assert message.endswith("tagSpecifications")


def test_what_makes_no_new_version_rolls_nothing_out(plain):
    assert "rollout" not in risks(plain, snapshot(scaling={"min": 1, "max": 5}))
    assert "rollout" not in risks(plain, snapshot(scaling={"min": 1, "max": 4, "gpuUtilization": 60}))


def test_a_new_stack_has_nothing_to_roll_out(plain):
    assert "rollout" not in risks(None, plain)


def test_a_replacement_names_the_property_and_what_it_means(plain):
    messages = risks(plain, snapshot(serving={"port": 9000}))["replacement"]
    assert messages == [
        "aws:lb:TargetGroup gpufleet-targets is replaced, because port cannot be changed in place: requests may fail until "
        "its targets are healthy"
    ]
    public = " ".join(risks(plain, snapshot(network=PUBLIC))["replacement"])
    assert "the endpoint gets another DNS name" in public


def test_a_protected_load_balancer_comes_with_the_two_commands_that_let_it_go(plain):
    before, after = snapshot(protect=True), snapshot(protect=True, network=PUBLIC)
    [message] = risks(before, after)["protected"]
    assert "refuses to replace aws:lb:LoadBalancer gpufleet-lb" in message
    assert re.search(
        r"`pulumi state unprotect 'urn:pulumi:test-us-east-1::.+::gpufleet-lb' --stack test-us-east-1`", message
    )
    assert message.endswith("then `pulumi up`")
    assert "protected" not in risks(plain, snapshot(network=PUBLIC))
    assert "protected" not in risks(before, snapshot(protect=True, tags={"team": "search"}))


def test_deleting_what_holds_traffic_is_a_removal(plain):
    given = {"vpcId": "vpc-0123456789abcdef0", "subnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]}
    messages = risks(plain, snapshot(network=given))["removal"]
    assert any("aws:ec2:Vpc gpufleet-vpc is deleted" in message for message in messages)
    assert any("gpufleet-nat" in message for message in messages)


def test_a_stack_file_that_is_gone_leaves_everything_running(plain):
    comparison = compared(plain, None)
    assert comparison.status == "removed"
    [risk] = comparison.risks
    assert risk.kind == "removal"
    assert f"{len(plain.resources)} resources go on running" in risk.message
    assert "pulumi destroy" in risk.message
    assert not comparison.touched


@pytest.mark.parametrize(("threshold", "called"), [(5, False), (99, True)])
def test_headroom_below_the_threshold(plain, threshold, called):
    larger = snapshot(serving={"maxModelLen": 12_000})
    found = risks(plain, larger, min_headroom_percent=threshold)
    assert ("headroom" in found) is called
    if called:
        per_gpu = larger.plan["memory"]["perGpu"]
        share = 100 * per_gpu["headroomGiB"] / per_gpu["budgetGiB"]
        assert (
            f"{per_gpu['headroomGiB']:.2f} GiB of each GPU's memory budget are left ({share:.1f}%, "
            in found["headroom"][0]
        )


def repriced(snapshot, **prices):
    """The snapshot as a catalogue with these prices has it; None for a type that is not offered."""
    names = {name.replace("_", "."): price for name, price in prices.items()}
    rows = [
        {**row, "hourlyUsd": names.get(row["type"], row["hourlyUsd"])}
        for row in snapshot.plan["candidates"]
        if names.get(row["type"], 0) is not None
    ]
    return replace(snapshot, plan={**snapshot.plan, "candidates": rows})


def test_a_type_that_moves_by_itself(plain):
    """Only the catalogue differs between the sides: what `exclude` does here, a price does there."""
    moved = replace(snapshot(instance={"exclude": ["g6.xlarge"]}), requirements=plain.requirements)
    [message] = risks(plain, moved)["choice"]
    new = moved.plan["instance"]["type"]
    assert f"from g6.xlarge to {new}" in message
    assert message.endswith("g6.xlarge cannot serve it any more: excluded: instance.exclude names g6.xlarge")
    [message] = risks(plain, repriced(moved, g6_xlarge=None))["choice"]
    price = next(row["hourlyUsd"] for row in plain.plan["candidates"] if row["type"] == "g6.xlarge")
    assert f"g6.xlarge {price:.4f} → not offered" in message
    assert message.endswith("g6.xlarge cannot serve it any more: it is not offered")


def test_a_type_that_moves_because_it_was_asked_to(plain):
    moved = snapshot(instance={"exclude": ["g6.xlarge"]})
    assert "choice" not in risks(plain, moved)
    assert "choice" not in risks(None, moved)
    tagged = replace(moved, requirements={**plain.requirements, "tags": {"team": "search"}, "aws:profile": "other"})
    assert "choice" in risks(plain, tagged), "a tag asks for no other machine"


def test_headroom_that_grows_is_no_risk_even_if_it_is_small(plain):
    tight = snapshot(serving={"maxModelLen": 12_000})
    assert "headroom" not in risks(tight, plain, min_headroom_percent=99)


def test_one_fallback_at_most(plain):
    pinned = risks(plain, snapshot(instance={"type": "g6.xlarge"}))
    assert pinned["fallback"] == ["nothing can stand in when EC2 is short of g6.xlarge"]
    one = snapshot(instance={"maxPricePerHour": 1.0})
    assert one.plan["fallbacks"] != []
    if len(one.plan["fallbacks"]) == 1:
        assert one.plan["fallbacks"][0] in risks(plain, one)["fallback"][0]
    assert "fallback" not in risks(snapshot(instance={"type": "g6.xlarge"}), plain)


def test_more_spot_or_less_on_demand(plain):
    half = snapshot(instance={"spotPercentage": 50})
    assert risks(plain, half)["spot"] == ["50% of the instances above the on-demand base are Spot, 0% before"]
    assert "spot" not in risks(half, plain)
    more_base = snapshot(instance={"spotPercentage": 50, "onDemandBase": 3})
    assert risks(more_base, half)["spot"] == [
        "the on-demand base falls from 3 to 1 instances, and 50% above it are Spot"
    ]


def test_reachable_from_the_internet(plain):
    public = snapshot(network=PUBLIC)
    assert risks(plain, public)["public"] == ["the endpoint becomes internet-facing", "newly admitted: 203.0.113.0/24"]
    wider = snapshot(network={**PUBLIC, "allowedCidrs": ["203.0.113.0/24", "0.0.0.0/0"]})
    assert risks(public, wider)["public"] == ["newly admitted: 0.0.0.0/0"]
    narrower = snapshot(network={**PUBLIC, "allowedCidrs": ["203.0.113.0/25"]})
    assert "public" not in risks(public, narrower)
    assert "public" not in risks(public, plain)
    assert "public" in risks(None, public)


def test_private_networks_are_not_the_internet(plain):
    assert "public" not in risks(plain, snapshot(network={"allowedCidrs": ["10.0.0.0/8", "192.168.0.0/16"]}))


def test_a_rule_that_only_the_program_opens_is_seen_too(plain):
    """A change of the components that no key of the stack file shows."""
    opened = [
        {**r, "inputs": {**r["inputs"], "cidrIpv4": "0.0.0.0/0"}} if "lb-80-from" in r["name"] else r
        for r in plain.resources
    ]
    assert risks(plain, replace(plain, resources=tuple(opened)))["public"] == ["newly admitted: 0.0.0.0/0"]


def test_rights_that_the_instances_gain(plain):
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/serving/hf-token"
    with_secret = snapshot(serving={"secrets": {"HF_TOKEN": arn}})
    assert risks(plain, with_secret)["permissions"] == [f"the instance role gains ssm:GetParameter on {arn}"]
    assert "permissions" not in risks(with_secret, plain)


def test_one_zone(plain):
    zone = plain.plan["availabilityZoneIds"][0]
    alone = replace(plain, plan={**plain.plan, "availabilityZoneIds": [zone]})
    assert risks(plain, alone)["zones"] == [f"the fleet can run in {zone} only"]
    assert "zones" not in risks(alone, alone)


def test_every_kind_is_documented_and_no_other():
    text = (PROJECT / "docs" / "diff.md").read_text(encoding="utf-8")
    table = text.partition("| `--fail-on` |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == list(KINDS)


def test_every_type_with_a_consequence_is_made_by_the_program():
    found = snapshot(network={"accessLogs": True}).resources
    made = {f"aws:{r['type'].split(':')[1].partition('/')[0]}:{r['type'].split(':')[2]}" for r in found}
    assert set(CONSEQUENCES) <= made


def test_why_the_type_moved_is_said_in_the_plans_own_words(plain):
    after = snapshot(model=LARGER)
    comparison = compared(plain, after)
    old = next(c for c in after.plan["candidates"] if c["type"] == "g6.xlarge")
    assert old["verdict"] == "rejected"
    assert f"g6.xlarge is rejected now: {old['reason']}" in comparison.reasons["instance.type"]
    assert f"{after.plan['instance']['type']}: the lowest price" in comparison.reasons["instance.type"]
    back = compared(after, plain)
    assert f"{after.plan['instance']['type']} would do, but ranks lower" in back.reasons["instance.type"]


def test_a_plan_of_another_schema_version_is_said_and_the_rest_compared(plain):
    old = replace(plain, plan=None, unreadable="a plan of schema version 0, and this gpufleet reads version 1")
    comparison = compared(old, snapshot(model={**MODEL, "precision": "fp8"}))
    assert comparison.notes == ("base: a plan of schema version 0, and this gpufleet reads version 1",)
    assert comparison.plan == ()
    assert comparison.cost.difference.highest is None
    assert [c.path for c in comparison.requirements] == ["model.precision"]
    assert comparison.operations


def test_a_larger_fleet_needs_more_of_a_quota(plain):
    one_type = {"type": "g6.xlarge"}
    small, large = snapshot(instance=one_type), snapshot(instance=one_type, scaling={"min": 1, "max": 40})
    expected = "up to 176 vCPU in us-east-1 of Running On-Demand G and VT instances (L-DB2E81BA), 20 before"
    assert risks(small, large)["quota"] == [expected]
    assert "quota" not in risks(large, small)
    spot = snapshot(instance={**one_type, "onDemandBase": 1, "spotPercentage": 100})
    assert risks(small, spot)["quota"] == [
        "up to 16 vCPU in us-east-1 of All G and VT Spot Instance Requests (L-3819A6DF), 0 before"
    ]


def test_a_revision_that_does_not_tell_its_quotas_is_not_compared(plain):
    silent = replace(plain, plan={key: value for key, value in plain.plan.items() if key != "quotas"})
    assert "quota" not in risks(silent, snapshot(scaling={"min": 1, "max": 40}))


def test_what_a_network_gains_is_no_right_of_the_instances_and_what_it_loses_is_told(plain):
    more = snapshot(network={"natPerZone": True, "flowLogs": True, "accessLogs": True, "endpoints": ["ssm"]})
    assert not risks(plain, more).keys() & {"permissions", "public", "removal", "replacement", "protected"}
    removed = "\n".join(risks(more, plain)["removal"])
    assert "aws:s3:Bucket gpufleet-access-logs is deleted: AWS refuses it while there are logs in it" in removed
    assert "aws:cloudwatch:LogGroup gpufleet-flow-logs is deleted: its logs are lost" in removed
    assert "aws:ec2:NatGateway gpufleet-nat-use1-az2 is deleted: the instances' open connections" in removed
