"""Where the fleet lives: a small VPC of its own, or the user's.

Owns the VPC, its subnets, gateways and routes. Leaves the security groups to `load_balancer` and the choice of zones
and address ranges to the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner.plan import NetworkPlan

EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkArgs:
    """`zone_ids` are the zones whose subnets instances may use: those that offer the types."""

    plan: NetworkPlan
    zone_ids: Sequence[str]
    region: str
    tags: Tags


class Network(pulumi.ComponentResource):
    """The VPC, and the subnets of the instances and of the load balancer.

    In a VPC of its own, instances have private addresses in one subnet per zone and reach the internet through their zone's
    NAT gateway, or the first zone's where theirs has none; S3 is reached without it. The user's VPC is passed through
    untouched.
    """

    vpc_id: pulumi.Output[str]
    instance_subnet_ids: Sequence[pulumi.Input[str]]
    load_balancer_subnet_ids: Sequence[pulumi.Input[str]]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:network:Network", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        if args.plan.vpc_id:
            self._use_given_vpc(args.plan.vpc_id)
        else:
            self._make_vpc()
        self.register_outputs(
            {
                "vpcId": self.vpc_id,
                "instanceSubnetIds": self.instance_subnet_ids,
                "loadBalancerSubnetIds": self.load_balancer_subnet_ids,
            }
        )

    def _use_given_vpc(self, vpc_id: str) -> None:
        self.vpc_id = pulumi.Output.from_input(vpc_id)
        self.instance_subnet_ids = self._args.plan.instance_subnet_ids
        self.load_balancer_subnet_ids = self._args.plan.load_balancer_subnet_ids

    def _make_vpc(self) -> None:
        plan = self._args.plan
        vpc = aws.ec2.Vpc(
            f"{self._name}-vpc",
            cidr_block=plan.vpc_cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags=self._args.tags.named("vpc"),
            opts=self._child,
        )
        # Without rules: whatever is put into the VPC later must say whom it talks to.
        aws.ec2.DefaultSecurityGroup(
            f"{self._name}-closed-default",
            vpc_id=vpc.id,
            tags=self._args.tags.named("closed-default"),
            opts=self._child,
        )
        internet = aws.ec2.InternetGateway(
            f"{self._name}-internet", vpc_id=vpc.id, tags=self._args.tags.named("internet"), opts=self._child
        )
        # A load balancer or a NAT gateway in a public subnet needs the internet gateway before, and it goes after them.
        public = self._create_subnets(vpc, "public", {s.zone_id: s.public_cidr for s in plan.subnets}, [internet])
        private = self._create_subnets(vpc, "private", {s.zone_id: s.private_cidr for s in plan.subnets})
        self._create_public_routes(vpc, internet, public)
        self._create_private_routes(vpc, public, private)

        self.vpc_id = vpc.id
        self.instance_subnet_ids = [subnet.id for zone, subnet in private.items() if zone in self._args.zone_ids]
        self.load_balancer_subnet_ids = [s.id for s in (private if plan.internal else public).values()]

    def _create_subnets(
        self, vpc: aws.ec2.Vpc, kind: str, cidr_by_zone: Mapping[str, str], after: Sequence[pulumi.Resource] = ()
    ) -> dict[str, aws.ec2.Subnet]:
        """One subnet per zone id. No subnet gives its instances a public address."""
        return {
            zone_id: aws.ec2.Subnet(
                f"{self._name}-{kind}-{zone_id}",
                vpc_id=vpc.id,
                availability_zone_id=zone_id,
                cidr_block=cidr,
                map_public_ip_on_launch=False,
                tags=self._args.tags.named(f"{kind}-{zone_id}"),
                opts=pulumi.ResourceOptions(parent=self, depends_on=after),
            )
            for zone_id, cidr in cidr_by_zone.items()
        }

    def _create_public_routes(
        self, vpc: aws.ec2.Vpc, internet: aws.ec2.InternetGateway, subnets: Mapping[str, aws.ec2.Subnet]
    ) -> None:
        table = self._create_route_table(vpc, "public")
        route = aws.ec2.Route(
            f"{self._name}-public-internet",
            route_table_id=table.id,
            destination_cidr_block=EVERYWHERE,
            gateway_id=internet.id,
            opts=self._child,
        )
        for zone_id, subnet in subnets.items():
            self._associate(f"public-{zone_id}", subnet, table, route)

    def _create_private_routes(
        self, vpc: aws.ec2.Vpc, public: Mapping[str, aws.ec2.Subnet], private: Mapping[str, aws.ec2.Subnet]
    ) -> None:
        """A table with its own way out for each NAT gateway. A subnet changes its table in place, once the other leads out:
        while gateways come and go, no zone is without one."""
        first, *others = self._args.plan.nat_zone_ids
        ways = {first: self._create_way_out(vpc, public[first])}
        ways |= {zone_id: self._create_way_out(vpc, public[zone_id], f"-{zone_id}") for zone_id in others}
        for zone_id, subnet in private.items():
            self._associate(f"private-{zone_id}", subnet, *ways.get(zone_id, ways[first]))

    def _create_way_out(
        self, vpc: aws.ec2.Vpc, public: aws.ec2.Subnet, suffix: str = ""
    ) -> tuple[aws.ec2.RouteTable, aws.ec2.Route]:
        """A NAT gateway in a public subnet, and the table of those who use it; `suffix` goes into the names. The table has an
        endpoint for S3 of its own, so that none of them changes when another table comes or goes."""
        address = aws.ec2.Eip(
            f"{self._name}-nat-address{suffix}",
            domain="vpc",
            tags=self._args.tags.named(f"nat-address{suffix}"),
            opts=self._child,
        )
        nat = aws.ec2.NatGateway(
            f"{self._name}-nat{suffix}",
            allocation_id=address.id,
            subnet_id=public.id,
            tags=self._args.tags.named(f"nat{suffix}"),
            opts=self._child,
        )
        table = self._create_route_table(vpc, f"private{suffix}")
        route = aws.ec2.Route(
            f"{self._name}-private-internet{suffix}",
            route_table_id=table.id,
            destination_cidr_block=EVERYWHERE,
            nat_gateway_id=nat.id,
            opts=self._child,
        )
        aws.ec2.VpcEndpoint(
            f"{self._name}-s3{suffix}",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{self._args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id],
            tags=self._args.tags.named(f"s3{suffix}"),
            opts=self._child,
        )
        return table, route

    def _create_route_table(self, vpc: aws.ec2.Vpc, kind: str) -> aws.ec2.RouteTable:
        return aws.ec2.RouteTable(
            f"{self._name}-{kind}", vpc_id=vpc.id, tags=self._args.tags.named(kind), opts=self._child
        )

    def _associate(self, name: str, subnet: aws.ec2.Subnet, table: aws.ec2.RouteTable, way_out: aws.ec2.Route) -> None:
        aws.ec2.RouteTableAssociation(
            f"{self._name}-{name}",
            route_table_id=table.id,
            subnet_id=subnet.id,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[way_out]),
        )
