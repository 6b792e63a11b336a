"""What a stack makes and pays for beside its instances.

Owns the list and how much of each a month takes. Leaves what is made to the components, to which the tests hold this
list, and prices to the catalogue. What traffic decides has no quantity, and what has no price or quantity no sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gpufleet.planner.catalog import ServicePrice
from gpufleet.planner.plan import Amounts, Capacity, CostItem, NetworkPlan, ScalingPolicies, Storage
from gpufleet.planner.requirements import TARGETS
from gpufleet.planner.server_metrics import server_metrics
from gpufleet.planner.storage import FREE_IOPS, FREE_MIBS
from gpufleet.planner.units import HOURS_PER_MONTH

METRICS_PER_GPU = 3
METRICS_PER_HOST = 3
"""What the CloudWatch agent measures, once by instance (and GPU), once more for the whole group and once for each type in it.
What the servers say of themselves is published for the group alone."""

ALARMS = 4
"""Of the load balancer's metrics; one of them misses an instance, of which an empty fleet has none."""

ALARMS_OF_LATENCY = 2
"""One adds instances, one calls people."""

ALARMS_PER_TARGET = 2
"""AWS makes them for a target-tracking policy: one that adds and one that removes."""


class _Row(NamedTuple):
    """An item before it has its price. `quantity` is of a month, by the number of instances; None: traffic decides."""

    name: str
    description: str
    unit: str
    price: str
    """Its name in the catalogue; empty where the catalogue has no such price."""
    quantity: Callable[[int], float] | None


def cost_items(
    capacity: Capacity,
    storage: Storage,
    network: NetworkPlan,
    scaling: ScalingPolicies,
    gpus: int,
    types: int,
    engine: str,
    price_of: Callable[[str], ServicePrice | None],
) -> tuple[CostItem, ...]:
    """Every item, with the catalogue's price where it has one. `gpus` are an instance's, `types` those that the fleet may boot,
    `engine` is the servers'."""
    rows = (
        *_of_instances(storage, gpus, types, len(server_metrics(engine))),
        *_of_network(network),
        *_of_watching(capacity, scaling),
    )
    return tuple(_item(row, capacity, price_of(row.price) if row.price else None) for row in rows)


def _of_instances(storage: Storage, gpus: int, types: int, of_servers: int) -> Iterator[_Row]:
    disk_gib, metrics = storage.root_volume_gib, METRICS_PER_GPU * gpus + METRICS_PER_HOST
    together = METRICS_PER_GPU + METRICS_PER_HOST
    yield _Row(
        "rootVolumes", f"gp3 root volumes, {disk_gib} GiB each", "GB-month", "ebsGp3GbMonth", lambda n: n * disk_gib
    )
    if (mibs := storage.root_throughput_mibs - FREE_MIBS) > 0:
        yield _Row("rootThroughput", f"throughput of theirs, {mibs} MiB/s each", "MiB/s-month", "", lambda n: n * mibs)
    if (iops := storage.root_iops - FREE_IOPS) > 0:
        yield _Row("rootIops", f"operations of theirs, {iops} IOPS each", "IOPS-month", "", lambda n: n * iops)
    yield _Row(
        "metrics",
        "metrics of the agent and of the servers",
        "metric-month",
        "",
        lambda n: n * metrics + (together * (1 + min(n, types)) + of_servers if n else 0),
    )
    yield _Row("detailedMonitoring", "EC2 metrics by the minute", "instance-month", "", lambda n: n)


def _of_network(network: NetworkPlan) -> Iterator[_Row]:
    yield _Row("loadBalancer", "load balancer", "hour", "loadBalancerHour", _always(HOURS_PER_MONTH))
    yield _Row("loadBalancerCapacity", "load balancer's capacity units", "LCU-hour", "loadBalancerLcuHour", None)
    addresses = 0 if network.internal else len(network.load_balancer_subnet_ids or network.subnets)
    if network.vpc_id is None:
        addresses += 1
        yield _Row("natGateway", "NAT gateway", "hour", "natGatewayHour", _always(HOURS_PER_MONTH))
        yield _Row("natGatewayTraffic", "NAT gateway's traffic", "GB", "natGatewayGb", None)
    if addresses:
        hours = addresses * HOURS_PER_MONTH
        yield _Row("publicIpv4", f"public IPv4 addresses, {addresses}", "hour", "publicIpv4Hour", _always(hours))


def _of_watching(capacity: Capacity, scaling: ScalingPolicies) -> Iterator[_Row]:
    targets = [name for name in TARGETS if getattr(scaling, name) is not None]
    count = ALARMS - (capacity.min == 0) + (capacity.min != capacity.max) + ALARMS_PER_TARGET * len(targets)
    count += ALARMS_OF_LATENCY * (scaling.latency is not None) + (scaling.waiting_requests is not None)
    yield _Row("logs", "logs taken in", "GB", "logsIngestGb", None)
    yield _Row("alarms", "CloudWatch alarms", "alarm-month", "", _always(count))
    yield _Row("dashboard", "CloudWatch dashboard", "dashboard-month", "", _always(1))


def _always(quantity: float) -> Callable[[int], float]:
    return lambda _: quantity


def _item(row: _Row, capacity: Capacity, price: ServicePrice | None) -> CostItem:
    quantities = {
        size: None if row.quantity is None else row.quantity(getattr(capacity, size))
        for size in ("min", "desired", "max")
    }
    return CostItem(
        name=row.name,
        description=row.description,
        unit=row.unit,
        quantity=Amounts(**quantities),
        price_usd=price.usd if price else None,
        price_as_of=price.as_of if price else None,
        monthly=Amounts(**{size: _usd(quantity, price) for size, quantity in quantities.items()}),
    )


def _usd(quantity: float | None, price: ServicePrice | None) -> float | None:
    return None if quantity is None or price is None else round(quantity * price.usd, 2)
