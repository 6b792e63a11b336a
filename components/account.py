"""What the account has in the region: its zones, the subnets that the user named, the AMI behind `latest`, its quotas.

Owns the questions to AWS, each a Pulumi invoke, asked once: before planning, but for the quotas, of which the plan says
which count. Leaves to the planner what the answers mean; a question that AWS cannot answer is an error that names the key
behind it, but for a quota, without which an update goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import pulumi
import pulumi_aws as aws

from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.facts import AccountFacts, SubnetFact, Zone
from gpufleet.planner.machine_image import ami_parameter, checked_ami_id
from gpufleet.planner.plan import QuotaNeed
from gpufleet.planner.quota import SERVICE, AccountQuota
from gpufleet.planner.requirements import Requirements

_Answer = TypeVar("_Answer")


def read_account_facts(requirements: Requirements) -> AccountFacts:
    """The account's facts that this plan needs; a `RequirementError` where something named does not exist."""
    network = requirements.network
    return AccountFacts(
        zones=_zones(requirements.region),
        subnets=tuple(_subnet("network.subnetIds", s, requirements.region) for s in network.subnet_ids),
        load_balancer_subnets=tuple(
            _subnet("network.loadBalancerSubnetIds", s, requirements.region) for s in network.load_balancer_subnet_ids
        ),
        vpc_cidr=_vpc_cidr(network.vpc_id, requirements.region) if network.vpc_id else None,
        ami_id=_ami_id(requirements),
    )


def _zones(region: str) -> tuple[Zone, ...]:
    """The zones that the account may use; never local or wavelength zones, which have no load balancers of ours."""
    answer = _ask(
        lambda: aws.get_availability_zones(
            state="available", filters=[{"name": "zone-type", "values": ["availability-zone"]}]
        ),
        path="region",
        given=region,
        next_step="check that the AWS credentials are valid and that the region is enabled for the account",
    )
    return tuple(Zone(id=id_, name=name) for id_, name in sorted(zip(answer.zone_ids, answer.names, strict=True)))


def _subnet(path: str, subnet_id: str, region: str) -> SubnetFact:
    answer = _ask(
        lambda: aws.ec2.get_subnet(id=subnet_id),
        path=path,
        given=subnet_id,
        next_step=f"check that the subnet exists in {region} and that the AWS credentials may describe it",
    )
    return SubnetFact(id=answer.id, vpc_id=answer.vpc_id, zone_id=answer.availability_zone_id)


def _vpc_cidr(vpc_id: str, region: str) -> str:
    answer = _ask(
        lambda: aws.ec2.get_vpc(id=vpc_id),
        path="network.vpcId",
        given=vpc_id,
        next_step=f"check that the VPC exists in {region} and that the AWS credentials may describe it",
    )
    return answer.cidr_block


def _ami_id(requirements: Requirements) -> str | None:
    """The AMI behind `latest`; None where the stack pins an id, or EC2 reads the parameter itself."""
    parameter = ami_parameter(requirements)
    if parameter is None or requirements.instance.ami == "launch":
        return None
    answer = _ask(
        lambda: aws.ssm.get_parameter(name=parameter),
        path="instance.amiParameter",
        given=parameter,
        next_step=f"check that the parameter exists in {requirements.region}, or pin an AMI with instance.ami",
    )
    # `value` is always secret and would hide the user's preview; an AMI id is none.
    return checked_ami_id(parameter, answer.insecure_value)


def read_quotas(needs: Iterable[QuotaNeed]) -> tuple[AccountQuota, ...]:
    """What the account allows of each need, or why that is not known; never an error."""
    return tuple(_quota(need) for need in needs)


def _quota(need: QuotaNeed) -> AccountQuota:
    if need.code is None:
        return AccountQuota(need, None, "its code is not known")
    code = need.code
    try:
        answer = _ask(
            lambda: aws.servicequotas.get_service_quota(service_code=SERVICE, quota_code=code),
            path="",
            given=code,
            next_step="",
        )
    except RequirementError as error:
        return AccountQuota(need, None, error.problems[0].message)
    return AccountQuota(need, answer.value, "" if answer.value is not None else "AWS has no answer")


def account_id() -> pulumi.Output[str]:
    """The account itself, which policies of resources name; nothing that a plan depends on."""
    return aws.get_caller_identity_output().account_id


def _ask(question: Callable[[], _Answer], *, path: str, given: str, next_step: str) -> _Answer:
    """The answer of an invoke. Pulumi raises a bare Exception for whatever the provider could not do."""
    try:
        return question()
    except Exception as error:
        raise RequirementError(
            Problem(path=path, message=f"AWS has no answer: {_reason(error)}", given=given, next_step=next_step)
        ) from None


def _reason(error: Exception) -> str:
    """The provider's own words, on one line, without Pulumi's wrapping."""
    text = " ".join(str(error).split())
    return re.sub(r"^invoke of \S+ failed: (invocation of \S+ returned an error: )?", "", text)
