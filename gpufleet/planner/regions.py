"""The same requirements in every region of the catalogue, ranked.

Owns the order, and which keys of a document are one region's own. Leaves each plan to `planning`. Regions are compared by
what the catalogue has of them: a key that holds in one region only decides no type and no price, and is not carried to
another.

Rank: the monthly cost of the fleet at its desired size (with `optimize: costPerReplica`, of a replica), then the price of
an instance, then more zones, more fallbacks, a Spot price, name. What is unknown comes last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from gpufleet.planner.catalog import Catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.machine_image import ami_parameter
from gpufleet.planner.plan import Candidate, DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import Requirements

ECR_IMAGE = re.compile(r"\d{12}\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.amazonaws\.com")


class RegionPlan(NamedTuple):
    """A region and its plan, or why there is none."""

    region: str
    plan: DeploymentPlan | None
    error: PlanningError | None = None

    @property
    def choice(self) -> Candidate | None:
        """The row of the chosen type."""
        return next((c for c in self.plan.candidates if c.verdict == "choice"), None) if self.plan else None


def plan_regions(requirements: Requirements, catalog: Catalog) -> list[RegionPlan]:
    """Every region of the catalogue: those with a plan in order of rank, then those without by name."""
    found = [_planned(requirements.model_copy(update={"region": region}), catalog) for region in catalog.regions]
    per_replica = requirements.instance.optimize == "costPerReplica"
    return sorted(found, key=lambda row: _rank(row, per_replica))


def _planned(requirements: Requirements, catalog: Catalog) -> RegionPlan:
    try:
        return RegionPlan(requirements.region, plan_deployment(requirements, catalog))
    except PlanningError as error:
        return RegionPlan(requirements.region, None, error)


def _rank(row: RegionPlan, per_replica: bool) -> tuple[object, ...]:
    plan, choice = row.plan, row.choice
    if plan is None or choice is None:
        return True, row.region
    replicas = plan.replicas_per_instance if per_replica else 1
    return (
        False,
        *_known_first(plan.cost.monthly.desired, replicas),
        *_known_first(choice.hourly_usd, replicas),
        -len(plan.availability_zone_ids),
        -len(plan.fallbacks),
        *_known_first(choice.spot_hourly_usd, replicas),
        row.region,
    )


def _known_first(usd: float | None, replicas: int) -> tuple[bool, float]:
    return usd is None, (usd or 0.0) / replicas


def region_keys(requirements: Requirements) -> tuple[str, ...]:
    """The keys whose values another region does not know."""
    return tuple(_region_keys(requirements))


def _region_keys(requirements: Requirements) -> Iterator[str]:
    instance, network, serving = requirements.instance, requirements.network, requirements.serving
    if requirements.model.weights_source.startswith("s3://"):
        yield "model.source"
    if serving.image and ECR_IMAGE.match(serving.image):
        yield "serving.image"
    yield from (f"serving.secrets.{name}" for name in sorted(serving.secrets))
    if ami_parameter(requirements) is None:
        yield "instance.ami"
    elif instance.ami_parameter and not instance.ami_parameter.startswith("/aws/"):
        yield "instance.amiParameter"
    if instance.capacity_reservations:
        yield "instance.capacityReservations"
    given = {
        "vpcId": network.vpc_id,
        "subnetIds": network.subnet_ids,
        "loadBalancerSubnetIds": network.load_balancer_subnet_ids,
        "certificateArn": network.certificate_arn,
    }
    yield from (f"network.{key}" for key, value in given.items() if value)
