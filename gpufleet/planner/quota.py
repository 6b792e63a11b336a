"""What the account's quotas must allow: the vCPUs of the largest fleet, by purchase option and family of types.

Owns that arithmetic and the comparison with what the account has. Leaves asking the account to `components.account` and
`gpufleet check`. AWS counts the vCPUs of everything that runs in the region: other fleets need theirs beside these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from gpufleet.planner.catalog import InstanceType
from gpufleet.planner.cost import on_demand_instances
from gpufleet.planner.plan import Capacity, Notice, QuotaNeed, Rollout
from gpufleet.planner.rollout import extra_instances

SERVICE = "ec2"
"""Under which Service Quotas has them."""

PurchaseOption = Literal["on-demand", "spot"]


class AccountQuota(NamedTuple):
    """What the account answered for a need: the vCPUs that it allows, or why that is not known."""

    need: QuotaNeed
    vcpu: float | None
    unknown_because: str = ""


def quota_needs(capacity: Capacity, rollout: Rollout, types: Sequence[InstanceType]) -> tuple[QuotaNeed, ...]:
    """One need for each quota that the fleet can run into. `types` are those that it may launch, the choice first.

    The fallbacks may take every place of the fleet, so the largest type counts. What a rollout launches beside the
    fleet may be of either purchase option.
    """
    return tuple(
        _need(option, instances, extra_instances(capacity.max, rollout), name, code, of_quota, types[0])
        for option, instances in _instances(capacity)
        for (name, code), of_quota in _by_quota(option, types).items()
    )


def _instances(capacity: Capacity) -> Iterator[tuple[PurchaseOption, int]]:
    """The most instances of each purchase option that the fleet uses: at its largest, for both grow with it."""
    on_demand = on_demand_instances(capacity.max, capacity)
    if on_demand or capacity.spot_percentage < 100:
        yield "on-demand", on_demand
    if capacity.spot_percentage > 0:
        yield "spot", capacity.max - on_demand


def _by_quota(option: PurchaseOption, types: Iterable[InstanceType]) -> dict[tuple[str, str], list[InstanceType]]:
    """The types that EC2 sells so, by the name and code of the quota that counts them."""
    found: dict[tuple[str, str], list[InstanceType]] = {}
    for kind in types:
        if option in kind.purchase_options:
            quota = kind.quota
            key = (
                (quota.spot_name, quota.spot_code) if option == "spot" else (quota.on_demand_name, quota.on_demand_code)
            )
            found.setdefault(key, []).append(kind)
    return found


def _need(
    option: PurchaseOption,
    instances: int,
    extra: int,
    name: str,
    code: str,
    types: Sequence[InstanceType],
    choice: InstanceType,
) -> QuotaNeed:
    largest = max(types, key=lambda kind: kind.vcpu)
    return QuotaNeed(
        purchase_option=option,
        name=name,
        code=code or None,
        vcpu=(instances + extra) * largest.vcpu,
        instances=instances,
        rollout_instances=extra,
        largest_type=largest.name,
        largest_type_vcpu=largest.vcpu,
        choice_vcpu=(instances + extra) * choice.vcpu if choice in types else None,
    )


# Against the account ---------------------------------------------------------------------------------------------------


def short_quotas(region: str, quotas: Iterable[AccountQuota]) -> Iterator[Notice]:
    """The quotas that allow less than the fleet can take."""
    for need, allowed, _ in quotas:
        if allowed is None or allowed >= need.vcpu:
            continue
        enough = need.choice_vcpu is not None and need.choice_vcpu <= allowed
        narrow = "leave out the larger types (instance.exclude, instance.maxPricePerHour) or " if enough else ""
        yield Notice(
            path="scaling.max",
            message=f"the account allows {allowed:g} vCPU in {region} of {need.quota}, and the fleet can take "
            f"{need.arithmetic}",
            next_step=f"request {need.vcpu} in Service Quotas, or {narrow}lower scaling.max",
        )


def unknown_quotas(quotas: Iterable[AccountQuota]) -> str | None:
    """One line for those that the account did not tell; None where it told all."""
    reasons: dict[str, list[str]] = {}
    for need, allowed, why in quotas:
        if allowed is None:
            reasons.setdefault(why, []).append(need.quota)
    if not reasons:
        return None
    return "quotas not compared with the account's: " + "; ".join(
        f"{', '.join(n)} ({why})" for why, n in reasons.items()
    )
