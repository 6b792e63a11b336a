"""Rules for VPCs, subnets, addresses, endpoints and flow logs."""

from __future__ import annotations

from collections.abc import Iterator

from aws_rules.rule import (
    PRODUCTION_STACKS,
    UNKNOWN,
    Config,
    Resource,
    Rule,
    Stack,
    StackRule,
    expect,
    in_stacks,
    is_one_of,
    is_set,
    strings,
    unset_or,
    where,
)
from aws_rules.security_groups import VPC

SUBNET = "aws:ec2/subnet:Subnet"
ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
FLOW_LOG = "aws:ec2/flowLog:FlowLog"
ADDRESS = "aws:ec2/eip:Eip"
ADDRESS_USERS = (
    ("aws:ec2/natGateway:NatGateway", ("allocationId", "secondaryAllocationIds")),
    ("aws:ec2/eipAssociation:EipAssociation", ("allocationId",)),
    ("aws:lb/loadBalancer:LoadBalancer", ("subnetMappings",)),
)


def no_flow_log(vpc: Resource, stack: Stack, config: Config) -> Iterator[str]:
    if in_stacks(vpc, config) and not stack.users(vpc, FLOW_LOG, "vpcId"):
        yield "nothing records who talks to whom in it"


def missing_endpoints(vpc: Resource, stack: Stack, config: Config) -> Iterator[str]:
    names = [endpoint.get("serviceName") for endpoint in stack.users(vpc, ENDPOINT, "vpcId")]
    if UNKNOWN in names:
        return
    for service in config["services"]:
        if not any(isinstance(name, str) and name.endswith(f".{service}") for name in names):
            yield f"it has no endpoint for {service}"


def unused_address(address: Resource, stack: Stack, _: Config) -> Iterator[str]:
    attached = any(address.get(key) not in (None, "", UNKNOWN) for key in ("instance", "networkInterface"))
    if not attached and not any(stack.users(address, type_, *keys) for type_, keys in ADDRESS_USERS):
        yield "nothing uses it, and it is paid for"


RULES: tuple[Rule | StackRule, ...] = (
    StackRule(
        name="vpc-flow-logs",
        types=(VPC,),
        says="A VPC records who talks to whom.",
        mend="Add an aws.ec2.FlowLog with its vpc_id, and a log group or bucket with a retention.",
        ids=("EC2.6", "CKV2_AWS_11"),
        options={"stacks": PRODUCTION_STACKS},
        find=no_flow_log,
    ),
    StackRule(
        name="vpc-endpoints",
        types=(VPC,),
        says="A VPC reaches the services that it uses most without the internet.",
        mend="Add an aws.ec2.VpcEndpoint for it, or take it out of the option `services`.",
        ids=("EC2.10", "EC2.55", "EC2.56", "EC2.57"),
        severity="low",
        level="advisory",
        options={
            "services": strings(
                ["s3"],
                "Services that need one, as the end of their endpoint's name: s3, ecr.api, ecr.dkr, logs, ssm,"
                " ssmmessages, ec2messages; all but s3 and dynamodb cost by the hour and zone",
            )
        },
        find=missing_endpoints,
    ),
    Rule(
        name="vpc-dns",
        types=(VPC,),
        says="Names of AWS's endpoints lead to the VPC's own.",
        mend="Set enable_dns_support and enable_dns_hostnames to True.",
        severity="low",
        find=expect(("enableDnsSupport", unset_or(True)), ("enableDnsHostnames", is_one_of(True))),
    ),
    Rule(
        name="subnet-no-public-addresses",
        types=(SUBNET,),
        says="A subnet gives no public addresses by itself.",
        mend="Set map_public_ip_on_launch to False, or leave it out.",
        ids=("EC2.15", "CKV_AWS_130"),
        find=expect(("mapPublicIpOnLaunch", unset_or(False))),
    ),
    Rule(
        name="vpc-endpoint-guarded",
        types=(ENDPOINT,),
        says="An interface endpoint is what AWS's names lead to, and says who may use it.",
        mend="Set private_dns_enabled to True, and security_group_ids to a group that lets in port 443 of the clients.",
        find=where(
            lambda endpoint: endpoint.get("vpcEndpointType") == "Interface",
            expect(("privateDnsEnabled", is_one_of(True)), ("securityGroupIds", is_set)),
        ),
    ),
    Rule(
        name="flow-log-of-rejected",
        types=(FLOW_LOG,),
        says="A flow log has at least what was refused.",
        mend='Set traffic_type to "REJECT" or "ALL".',
        ids=("EC2.6",),
        find=expect(("trafficType", is_one_of("REJECT", "ALL"))),
    ),
    StackRule(
        name="address-used",
        types=(ADDRESS,),
        says="No public address is held, and paid for, without use.",
        mend="Give its allocation id to a NAT gateway, a load balancer or an instance, or remove it.",
        ids=("EC2.12",),
        severity="low",
        level="advisory",
        find=unused_address,
    ),
)
