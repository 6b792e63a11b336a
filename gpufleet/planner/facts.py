"""What only the account can tell: its zones, the given subnets, the AMI behind `latest`.

Owns the shape of those facts. Leaves reading them to the program, which asks AWS once, before planning. Without an
account (`gpufleet plan`) there are none, and the plan says less.
"""

from typing import NamedTuple


class Zone(NamedTuple):
    """An availability zone. The id is the same in every account, the name is the account's own."""

    id: str
    name: str


class SubnetFact(NamedTuple):
    """A subnet that the user named."""

    id: str
    vpc_id: str
    zone_id: str


class AccountFacts(NamedTuple):
    """The account's view of the region. `subnets` and `load_balancer_subnets` are those that the user named."""

    zones: tuple[Zone, ...]
    subnets: tuple[SubnetFact, ...] = ()
    load_balancer_subnets: tuple[SubnetFact, ...] = ()
    vpc_cidr: str | None = None
    """Of the user's VPC; None where the program makes one."""
    ami_id: str | None = None
