"""Interface endpoints: AWS services inside the fleet's own VPC, which instances reach without its NAT gateways.

Owns their security group. Leaves S3's gateway endpoint, which is a route, to `network`, and which services to the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner.plan import NetworkPlan

HTTPS_PORT = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointsArgs:
    """The VPC with the instances' subnets, one per zone, and the security group of those who call."""

    plan: NetworkPlan
    region: str
    vpc_id: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    fleet_security_group_id: pulumi.Input[str]
    tags: Tags


class Endpoints(pulumi.ComponentResource):
    """One endpoint for each service, under the service's own name: nothing on an instance changes for it."""

    def __init__(self, name: str, args: EndpointsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:endpoints:Endpoints", name, None, opts)
        child, tags = pulumi.ResourceOptions(parent=self), args.tags
        group = aws.ec2.SecurityGroup(
            f"{name}-endpoints",
            description="AWS services of the inference fleet",
            vpc_id=args.vpc_id,
            tags=tags.named("endpoints"),
            opts=child,
        )
        rule = aws.vpc.SecurityGroupIngressRule(
            f"{name}-endpoints-from-fleet",
            security_group_id=group.id,
            ip_protocol="tcp",
            from_port=HTTPS_PORT,
            to_port=HTTPS_PORT,
            referenced_security_group_id=args.fleet_security_group_id,
            description="Calls from the fleet",
            tags=tags.named("endpoints-from-fleet"),
            opts=child,
        )
        for service in args.plan.endpoint_services:
            suffix = f"endpoint-{service.replace('.', '-')}"
            aws.ec2.VpcEndpoint(
                f"{name}-{suffix}",
                vpc_id=args.vpc_id,
                service_name=f"com.amazonaws.{args.region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=args.subnet_ids,
                security_group_ids=[group.id],
                tags=tags.named(suffix),
                # From the moment that it stands the service's name leads here: who may call must be in place.
                opts=pulumi.ResourceOptions(parent=self, depends_on=[rule]),
            )
        self.register_outputs({})
