"""Where the fleet lives: the zones it may use and, where the user gives no VPC, the subnets and gateways to make.

Owns the intersection of zones (the type's, the account's, the given subnets'), the address layout, and which zones have a NAT
gateway. Leaves creating anything to the components.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gpufleet.planner import values
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.facts import AccountFacts, SubnetFact
from gpufleet.planner.plan import NetworkPlan, Subnet
from gpufleet.planner.requirements import Requirements

VPC_CIDR = "10.0.0.0/16"
MIN_LOAD_BALANCER_ZONES = 2
"""An Application Load Balancer needs subnets in two zones."""

ENDPOINT_SERVICES: Mapping[values.Endpoint, tuple[str, ...]] = {
    "autoscaling": ("autoscaling",),
    "ec2": ("ec2",),
    "ecr": ("ecr.api", "ecr.dkr"),
    "logs": ("logs",),
    "monitoring": ("monitoring",),
    "secretsmanager": ("secretsmanager",),
    # `ec2messages` is left out: the agent of today's AMIs has ssmmessages for it (AWS Systems Manager, VPC endpoints).
    "ssm": ("ssm", "ssmmessages"),
}
"""AWS's services behind each name that a stack file takes."""

_ZONE_NUMBER = r"-az(\d+)$"


class UsableZones(NamedTuple):
    """The zones, by id, where instances can be placed and reached; None where nothing narrows them."""

    ids: frozenset[str] | None

    def of(self, offered: Iterable[str]) -> tuple[str, ...]:
        """Those of `offered` that are usable, sorted."""
        return tuple(sorted(z for z in offered if self.ids is None or z in self.ids))


def usable_zones(requirements: Requirements, facts: AccountFacts | None) -> UsableZones:
    """The account's zones ∩ the given subnets' ∩ the load balancer's.

    A load balancer sends no traffic to a zone in which it has no subnet, so an instance there would serve nobody.
    """
    if facts is None:
        return UsableZones(ids=None)
    ids = {zone.id for zone in facts.zones}
    if requirements.network.vpc_id:
        ids &= {subnet.zone_id for subnet in facts.subnets}
        ids &= {subnet.zone_id for subnet in _load_balancer_subnets(facts)}
    return UsableZones(ids=frozenset(ids))


def check_facts(requirements: Requirements, facts: AccountFacts | None) -> list[Problem]:
    """What is wrong between the named subnets and the account."""
    if facts is None or not requirements.network.vpc_id:
        return []
    vpc_id = requirements.network.vpc_id
    problems = [
        Problem(path=f"network.{key}", message="lies in another VPC", given=s.id, allowed=f"a subnet in {vpc_id}")
        for key, subnets in (("subnetIds", facts.subnets), ("loadBalancerSubnetIds", facts.load_balancer_subnets))
        for s in subnets
        if s.vpc_id != vpc_id
    ]
    balancer = _load_balancer_subnets(facts)
    zones = [subnet.zone_id for subnet in balancer]
    key = "network.loadBalancerSubnetIds"
    if len(set(zones)) < MIN_LOAD_BALANCER_ZONES:
        problems.append(
            Problem(
                path=key,
                message="a load balancer needs subnets in two zones",
                given=", ".join(f"{s.id} in {s.zone_id}" for s in balancer),
                allowed="one subnet in each of two or more zones",
                next_step="name a subnet in a second zone",
            )
        )
    problems += [
        Problem(
            path=key,
            message=f"a load balancer takes one subnet per zone; {zone} has several",
            given=", ".join(s.id for s in balancer if s.zone_id == zone),
            next_step=f"name the load balancer's subnets in {key}, one per zone",
        )
        for zone in sorted({z for z in zones if zones.count(z) > 1})
    ]
    return problems


def plan_network(
    requirements: Requirements,
    facts: AccountFacts | None,
    *,
    region_zone_ids: Sequence[str],
    fleet_zone_ids: Sequence[str],
) -> NetworkPlan:
    """The user's VPC, or a small one with a pair of subnets in every zone of the region.

    The subnets do not depend on the chosen type, so that a change of type moves the group and nothing else.
    `region_zone_ids` are the catalogue's, used where the account is not known.
    """
    network = requirements.network
    entrance: dict[str, Any] = {
        "internal": network.internal,
        "certificate_arn": network.certificate_arn,
        "allowed_cidrs": network.allowed_cidrs,
        "tls_policy": network.tls_policy if network.certificate_arn else None,
        "access_logs": network.access_logs,
        "delete_access_logs": network.delete_access_logs,
    }
    if network.vpc_id:
        subnets = facts.subnets if facts else ()
        return NetworkPlan(
            vpc_id=network.vpc_id,
            vpc_cidr=facts.vpc_cidr if facts else None,
            subnets=(),
            instance_subnet_ids=tuple(s.id for s in subnets if s.zone_id in fleet_zone_ids) or network.subnet_ids,
            load_balancer_subnet_ids=network.load_balancer_subnet_ids or network.subnet_ids,
            **entrance,
        )
    names = {zone.id: zone.name for zone in facts.zones} if facts else dict.fromkeys(region_zone_ids)
    if len(names) < MIN_LOAD_BALANCER_ZONES:
        raise RequirementError(
            Problem(
                path="region",
                message="the account sees fewer than two availability zones here, and a load balancer needs two",
                given=f"{requirements.region}: {', '.join(names) or 'none'}",
                next_step="take another region, or enable its zones",
            )
        )
    zone_ids = sorted(names)
    services = tuple(service for name in sorted(network.endpoints) for service in ENDPOINT_SERVICES[name])
    return NetworkPlan(
        vpc_id=None,
        vpc_cidr=VPC_CIDR,
        subnets=tuple(_subnet(zone_id, names[zone_id]) for zone_id in zone_ids),
        instance_subnet_ids=(),
        load_balancer_subnet_ids=(),
        nat_zone_ids=_nat_zones(requirements, zone_ids, fleet_zone_ids),
        endpoint_services=services,
        endpoint_zone_ids=tuple(sorted(fleet_zone_ids)) if services else (),
        flow_logs=network.flow_logs,
        **entrance,
    )


def _nat_zones(requirements: Requirements, zone_ids: Sequence[str], fleet_zone_ids: Sequence[str]) -> tuple[str, ...]:
    """The first zone always has a gateway, whatever the type's zones are: it serves those that have none, so that a zone
    which gains or loses its own never lacks one."""
    first, *others = zone_ids
    per_zone = requirements.network.nat_per_zone
    return (first, *(zone for zone in others if per_zone and zone in fleet_zone_ids))


def _load_balancer_subnets(facts: AccountFacts) -> tuple[SubnetFact, ...]:
    return facts.load_balancer_subnets or facts.subnets


def _subnet(zone_id: str, zone_name: str | None) -> Subnet:
    """Addresses by the number in the zone's id, so that a new zone never moves the others.

    Zone n has 10.0.(16 n).0/20 for instances and 10.0.n.0/24 for what must be public; n is 1 to 15.
    """
    match = re.search(_ZONE_NUMBER, zone_id)
    if not match or not 1 <= int(match[1]) <= 15:
        raise ValueError(f"not the id of an availability zone: {zone_id}")
    number = int(match[1])
    return Subnet(
        zone_id=zone_id,
        zone_name=zone_name,
        private_cidr=f"10.0.{16 * number}.0/20",
        public_cidr=f"10.0.{number}.0/24",
    )
