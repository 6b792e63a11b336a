"""Rules for security groups: who may talk to whom, as rules of their own or within a group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aws_rules.rule import (
    UNKNOWN,
    Config,
    Find,
    Option,
    Resource,
    Rule,
    Stack,
    StackRule,
    expect,
    integers,
    is_unset,
    listed,
    shown,
)

GROUP = "aws:ec2/securityGroup:SecurityGroup"
DEFAULT_GROUP = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
OLD_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
VPC = "aws:ec2/vpc:Vpc"

EVERYWHERE = ("0.0.0.0/0", "::/0")
ALL_PORTS = (0, 65535)
CIDR_KEYS = ("cidrIpv4", "cidrIpv6", "cidrBlocks", "ipv6CidrBlocks")
"""Of rules that stand alone, and of those within a group."""
DEFAULT_DESCRIPTION = "Managed by Pulumi"


class Permission(NamedTuple):
    """Who may talk, on which ports."""

    at: str
    """Where it stands in the resource; empty for a rule that is a resource."""
    cidrs: tuple[str, ...]
    first_port: int
    last_port: int


def permission(at: str, rule: Mapping[str, Any]) -> Permission:
    """A permission with all ports where its protocol has no ports or they are not given."""
    cidrs = tuple(c for key in CIDR_KEYS for c in listed(rule.get(key)) if isinstance(c, str))
    protocol = rule.get("ipProtocol", rule.get("protocol"))
    ports = (rule.get("fromPort"), rule.get("toPort"))
    if protocol in ("-1", "all", -1) or not all(isinstance(port, int | float) for port in ports):
        ports = ALL_PORTS
    return Permission(at, cidrs, *(int(port) for port in ports if isinstance(port, int | float)))


def permissions(resource: Resource, direction: str, own_type: str) -> Iterator[Permission]:
    """Of a rule of that direction, or of those within a group."""
    if resource.type == own_type or (resource.type == OLD_RULE and resource.get("type") == direction):
        if UNKNOWN not in (resource.get("fromPort"), resource.get("toPort")):
            yield permission("", resource.properties)
    elif resource.type in (GROUP, DEFAULT_GROUP):
        for index, rule in enumerate(resource.items(direction)):
            if rule is not UNKNOWN:
                yield permission(f"{direction}[{index}]: ", rule)


def open_to_everybody(direction: str, own_type: str, says: str) -> Find:
    """Permissions for the whole internet on other ports than the option allows."""

    def find(resource: Resource, config: Config) -> Iterator[str]:
        for each in permissions(resource, direction, own_type):
            everywhere = [cidr for cidr in each.cidrs if cidr in EVERYWHERE]
            one_allowed = each.first_port == each.last_port and each.first_port in config["openPorts"]
            if everywhere and not one_allowed:
                ports = "every port" if (each.first_port, each.last_port) == ALL_PORTS else ports_of(each)
                yield f"{each.at}{says} {', '.join(everywhere)} on {ports}"

    return find


def ports_of(each: Permission) -> str:
    one = each.first_port == each.last_port
    return f"port {each.first_port}" if one else f"ports {each.first_port} to {each.last_port}"


def undescribed(resource: Resource, _: Config) -> Iterator[str]:
    if resource.get("description") in (None, "", DEFAULT_DESCRIPTION):
        yield f"description is {shown(resource.get('description'))}"
    for direction in ("ingress", "egress"):
        for index, rule in enumerate(resource.items(direction)):
            if rule is not UNKNOWN and not rule.get("description"):
                yield f"{direction}[{index}].description is not set"


def open_default_group(vpc: Resource, stack: Stack, _: Config) -> Iterator[str]:
    if not stack.users(vpc, DEFAULT_GROUP, "vpcId"):
        yield "its default security group keeps AWS's rules, which let its members talk to each other and everybody"


def open_ports(what: str) -> dict[str, Option]:
    return {"openPorts": integers([443], f"Single ports on which {what}")}


RULES: tuple[Rule | StackRule, ...] = (
    Rule(
        name="security-group-no-open-ports",
        types=(GROUP, DEFAULT_GROUP, INGRESS, OLD_RULE),
        says="The internet may come in on HTTPS at most: never by SSH, RDP, in clear text or on every port.",
        mend="Name the networks of the clients, or the security group that may come in; the option `openPorts` lists"
        " the ports that may be open to everybody.",
        ids=(
            "EC2.18",
            "EC2.19",
            "EC2.13",
            "EC2.14",
            "CKV_AWS_24",
            "CKV_AWS_25",
            "CKV_AWS_260",
            "CKV_AWS_277",
            "AWS-0107",
            "AwsSolutions-EC23",
        ),
        severity="critical",
        options=open_ports("everybody may come in"),
        find=open_to_everybody("ingress", INGRESS, "it lets in"),
    ),
    Rule(
        name="security-group-no-open-egress",
        types=(GROUP, DEFAULT_GROUP, EGRESS, OLD_RULE),
        says="What is inside may talk to the internet by HTTPS at most.",
        mend="Allow port 443, or networks, prefix lists and security groups by name; DNS, time and metadata need no"
        " rule. The option `openPorts` lists the ports on which everybody may be talked to.",
        ids=("CKV_AWS_382", "AWS-0104"),
        severity="high",
        options=open_ports("everybody may be talked to"),
        find=open_to_everybody("egress", EGRESS, "it lets out to"),
    ),
    Rule(
        name="security-group-described",
        types=(GROUP, INGRESS, EGRESS, OLD_RULE),
        says="A security group and each of its rules say what they are for.",
        mend="Set description; do it at creation, because AWS replaces a group whose description changes.",
        ids=("CKV_AWS_23", "AWS-0099", "AWS-0124", "AwsSolutions-EC27"),
        severity="low",
        find=undescribed,
    ),
    Rule(
        name="default-security-group-closed",
        types=(DEFAULT_GROUP,),
        says="The default security group has no rules: whatever gets it by mistake can talk to nobody.",
        mend="Remove ingress and egress from the aws.ec2.DefaultSecurityGroup.",
        ids=("EC2.2", "CKV2_AWS_12"),
        severity="high",
        find=expect(("ingress", is_unset), ("egress", is_unset)),
    ),
    StackRule(
        name="vpc-default-security-group-closed",
        types=(VPC,),
        says="A VPC's default security group is closed.",
        mend="Add an aws.ec2.DefaultSecurityGroup with its vpc_id and no rules.",
        ids=("EC2.2", "CKV2_AWS_12"),
        severity="high",
        find=open_default_group,
    ),
)
