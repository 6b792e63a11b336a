"""The words of the catalogue: GPU model, quota, instance type, price and offer.

Owns what a row means, its units and what may be derived from a row alone. Leaves to `storage` where rows come
from, to `build` how they are made from AWS's answers, and to `selection` which of them to take.
"""

from collections.abc import Mapping
from typing import NamedTuple


class GpuModel(NamedTuple):
    """One model of accelerator, from the hand-kept table `data/gpus.json`, where every figure is cited.

    `usable_memory_mib` is the total that the driver reports to a CUDA program, per GPU: what a server can plan
    with. `nominal_memory_mib` is EC2's figure for the same card, kept to recognise it. Where no measurement was
    published (`usable_is_measured` false), `usable_note` says how the figure was derived, on the safe side.
    `peak_tflops` holds dense rates (no structured sparsity) by precision in 10^12 operations per second, from the
    data sheet; a precision that it does not print is absent. Accelerators without CUDA have the compute capability
    (0, 0) and no precisions.
    """

    name: str
    vendor: str
    architecture: str
    compute_capability: tuple[int, int]
    nominal_memory_mib: int
    usable_memory_mib: int
    usable_is_measured: bool
    usable_note: str
    memory_bandwidth_gb_per_second: float
    interconnect: str
    """How the GPUs of one instance reach each other: `nvlink` or `pcie` (`neuronlink` on AWS's own chips)."""
    native_precisions: tuple[str, ...]
    peak_tflops: Mapping[str, float]
    data_sheet: str
    not_selectable_reason: str = ""


class Quota(NamedTuple):
    """The Service Quotas entries (service `ec2`) that limit a family, in vCPUs per region and purchase option.

    A code is empty where public sources contradict each other; the quota is then to be looked up by its name.
    """

    on_demand_name: str
    on_demand_code: str
    spot_name: str
    spot_code: str


class InstanceType(NamedTuple):
    """One EC2 instance type with its accelerators; from EC2's DescribeInstanceTypes.

    `gpu_fraction` is 1 but for types with a part of a GPU (g6f, gr6f), which count as one GPU of that share.
    `generation` is the digit in AWS's family name (g5 is 5, p6-b200 is 6): newer is larger within a letter.
    Network bandwidth is in Gbit/s, instance storage in decimal GB, EBS throughput in MB/s (10^6 bytes); baselines
    stand apart from maxima, which smaller sizes hold only for a while (EBS: 30 minutes a day).
    """

    name: str
    family: str
    size: str
    vcpu: int
    memory_mib: int
    gpu: GpuModel
    gpu_count: int
    gpu_fraction: float
    architecture: str
    generation: int
    instance_store_gb: int
    network_gbps: float
    network_baseline_gbps: float
    efa: bool
    ebs_baseline_mb_per_second: float
    ebs_max_mb_per_second: float
    ebs_max_iops: int
    bare_metal: bool
    purchase_options: tuple[str, ...]
    """What EC2 sells it as: `on-demand`, `spot`, `capacity-block`."""
    quota: Quota
    selectable: bool
    not_selectable_reason: str

    @property
    def usable_gpu_memory_mib(self) -> int:
        """What the driver reports for each GPU of this type, in MiB; of a part of a GPU, its share."""
        return int(self.gpu.usable_memory_mib * self.gpu_fraction)


class Price(NamedTuple):
    """USD per hour for Linux on shared tenancy in one region; None is unknown, never zero.

    Spot is a median over the zones on its date (or a range of dates): an indication, not a quote. A date is
    empty where its price is unknown.
    """

    on_demand_usd_per_hour: float | None = None
    on_demand_as_of: str = ""
    spot_usd_per_hour: float | None = None
    spot_as_of: str = ""


SERVICES: Mapping[str, str] = {
    "ebsGp3GbMonth": "gp3 volume storage, per GB and month",
    "loadBalancerHour": "Application Load Balancer, per hour",
    "loadBalancerLcuHour": "Application Load Balancer, per LCU and hour",
    "natGatewayHour": "NAT gateway, per hour",
    "natGatewayGb": "NAT gateway, per GB that it processes",
    "logsIngestGb": "CloudWatch Logs, per GB that it takes in",
    "publicIpv4Hour": "public IPv4 address in use, per hour",
}
"""What a stack makes beside its instances, by the name of its price."""


class ServicePrice(NamedTuple):
    """USD per unit of a service (see `SERVICES`) in one region, and the day of the price. The first tier, where a
    price falls with use; free tiers are not taken off."""

    usd: float
    as_of: str


class Offer(NamedTuple):
    """An instance type in a region, with the ids of the zones that offer it (the same in every account)."""

    instance_type: InstanceType
    availability_zone_ids: tuple[str, ...]
    price: Price


class Provenance(NamedTuple):
    """Where a table comes from and its date."""

    source: str
    as_of: str
