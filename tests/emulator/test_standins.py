"""What a stack file names in the user's account, made in the emulator under the same ids."""

from __future__ import annotations

import urllib.error
from typing import Any

import pytest

from tests.emulator.running import Emulator

REGION = "ca-central-1"
VPC = "vpc-0123456789abcdef0"
INSTANCES = ["subnet-0000000000000000a", "subnet-0000000000000000b"]
BALANCER = ["subnet-0000000000000000c", "subnet-0000000000000000d"]
CERTIFICATE = f"arn:aws:acm:{REGION}:111122223333:certificate/12345678-1234-1234-1234-123456789012"

STANDINS: dict[str, Any] = {
    "region": REGION,
    "vpc_id": VPC,
    "subnet_ids": INSTANCES,
    "load_balancer_subnet_ids": BALANCER,
    "zone_ids": ["cac1-az4"],
    "certificate_arn": CERTIFICATE,
    "ami_parameter": "/custom/ami",
}


def zones(emulator: Emulator) -> dict[str, str]:
    """The zone ids of the VPC's subnets."""
    filters = [{"Name": "vpc-id", "Values": [VPC]}]
    subnets = emulator.client("ec2", REGION).describe_subnets(Filters=filters)["Subnets"]
    return {subnet["SubnetId"]: subnet["AvailabilityZoneId"] for subnet in subnets}


def test_everything_named_exists_under_its_own_id(emulator: Emulator) -> None:
    emulator.control("POST", "standins", STANDINS)

    placed = zones(emulator)
    assert set(placed) == {*INSTANCES, *BALANCER}
    assert placed[INSTANCES[0]] == placed[BALANCER[0]] == "cac1-az4"
    assert placed[INSTANCES[1]] == placed[BALANCER[1]] != "cac1-az4"
    certificate = emulator.client("acm", REGION).describe_certificate(CertificateArn=CERTIFICATE)["Certificate"]
    assert certificate["Status"] == "ISSUED"
    image = emulator.client("ssm", REGION).get_parameter(Name="/custom/ami")["Parameter"]["Value"]
    assert emulator.client("ec2", REGION).describe_images(ImageIds=[image])["Images"]


def test_asked_for_again_a_stand_in_stays_as_it_is(emulator: Emulator) -> None:
    emulator.control("POST", "standins", STANDINS)
    before = zones(emulator)
    emulator.control("POST", "standins", {**STANDINS, "zone_ids": ["cac1-az2"]})
    assert zones(emulator) == before


def test_stand_ins_belong_to_no_stack(emulator: Emulator) -> None:
    emulator.control("POST", "standins", STANDINS)
    assert emulator.resources(REGION) == {}


def test_an_unknown_key_is_refused(emulator: Emulator) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        emulator.control("POST", "standins", {"region": REGION, "vpc": VPC})
