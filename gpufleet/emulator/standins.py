"""Stand-ins for what a stack file names and the emulator's empty account lacks: VPC, subnets, certificate, parameter.

Owns making them under the very ids that the stack file gives. Leaves to `inventory` what belongs to a stack: stand-ins
do not, they are the account's. Asked for again, a stand-in stays as it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from unittest import mock

from moto.acm.models import CertBundle, acm_backends
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ssm.models import ssm_backends

from gpufleet.emulator.ssm import PUBLIC_IMAGES

VPC_CIDR = ipaddress.ip_network("10.0.0.0/16")
SUBNET_PREFIX = 20

made: set[str] = set()
"""The ids of every stand-in."""


@dataclass(frozen=True, kw_only=True)
class Standins:
    """What to make in a region, by the ids that it shall have; empty where nothing is asked for.

    The subnets of a list are spread over the zones: those of `zone_ids` first, then the region's others.
    """

    region: str
    vpc_id: str = ""
    subnet_ids: Sequence[str] = ()
    load_balancer_subnet_ids: Sequence[str] = ()
    zone_ids: Sequence[str] = ()
    certificate_arn: str = ""
    ami_parameter: str = ""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Standins:
        """From a request body; raises ValueError with the known keys when one is unknown or missing."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(document) - set(known)):
            raise ValueError(f"unknown key {unknown[0]}; known: {', '.join(known)}")
        try:
            return cls(**document)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def make(self) -> None:
        """Make what does not exist yet."""
        ec2 = ec2_backends[DEFAULT_ACCOUNT_ID][self.region]
        if self.vpc_id and self.vpc_id not in ec2.vpcs:
            with mock.patch("moto.ec2.models.vpcs.random_vpc_id", return_value=self.vpc_id):
                ec2.create_vpc(str(VPC_CIDR))
            made.add(self.vpc_id)
        for subnet_ids in (self.subnet_ids, self.load_balancer_subnet_ids):
            for position, subnet_id in enumerate(subnet_ids):
                if subnet_id not in {known for zone in ec2.subnets.values() for known in zone}:
                    self._make_subnet(ec2, subnet_id, position)
        if self.certificate_arn:
            self._make_certificate()
        if self.ami_parameter:
            self._make_parameter()

    def _make_subnet(self, ec2: Any, subnet_id: str, position: int) -> None:
        """A subnet in the zone of this position, with the address range that comes next."""
        taken = len(ec2.describe_subnets(filters={"vpc-id": [self.vpc_id]}))
        zones = sorted(ec2.describe_availability_zones(), key=lambda z: (z.zone_id not in self.zone_ids, z.name))
        cidr = list(VPC_CIDR.subnets(new_prefix=SUBNET_PREFIX))[taken]
        with mock.patch("moto.ec2.models.subnets.random_subnet_id", return_value=subnet_id):
            ec2.create_subnet(self.vpc_id, str(cidr), availability_zone=zones[position % len(zones)].name)
        made.add(subnet_id)

    def _make_certificate(self) -> None:
        certificates = acm_backends[DEFAULT_ACCOUNT_ID][self.region]._certificates
        if self.certificate_arn not in certificates:
            bundle = CertBundle.generate_cert("fleet.example.com", DEFAULT_ACCOUNT_ID, self.region)
            bundle.arn, bundle.status = self.certificate_arn, "ISSUED"
            certificates[self.certificate_arn] = bundle
            made.add(self.certificate_arn)

    def _make_parameter(self) -> None:
        ssm = ssm_backends[DEFAULT_ACCOUNT_ID][self.region]
        if self.ami_parameter.startswith("/aws/") or self.ami_parameter in ssm._parameters:
            return  # AWS's own exist or do not
        ssm.put_parameter(
            name=self.ami_parameter,
            description="",
            value=PUBLIC_IMAGES[0].image_id(self.region),
            parameter_type="String",
            allowed_pattern="",
            keyid="",
            overwrite=False,
            tags=[],
            data_type="aws:ec2:image",
            tier="",
            policies="",
        )
        made.add(self.ami_parameter)
