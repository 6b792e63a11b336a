"""Rows of the catalogue as text for a terminal, and as JSON under names that other programs read.

Owns the layout. Leaves which rows there are, and their order, to `catalog_show`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gpufleet.commands.layout import columns
from gpufleet.planner.catalog import Catalog, GpuModel, InstanceType
from gpufleet.planner.units import MIB_PER_GIB

if TYPE_CHECKING:
    from gpufleet.commands.catalog_show import Row

UNKNOWN = "unknown"
NOTHING = "no instance type is left by these filters"

_TYPE_HEADINGS = ("TYPE", "GPU", "GPUS", "GIB EACH", "VCPU", "RAM GIB", "DISK GB", "GBIT/S", "EFA", "CPU")
_TYPE_RIGHT = tuple(range(2, 8))


def types_table(catalog: Catalog, rows: Sequence[Row]) -> str:
    """Specifications, and in how many regions each type is offered."""
    if not rows:
        return NOTHING
    lines: list[tuple[str, ...]] = [(*_TYPE_HEADINGS, "REGIONS", "NOT SELECTABLE")]
    lines += [(*_type_cells(row.kind), str(row.regions), row.kind.not_selectable_reason) for row in rows]
    return f"{columns(lines, right=(*_TYPE_RIGHT, 10))}\n\n{_dated(catalog, 'instanceTypes', 'offerings')}"


def offers_table(catalog: Catalog, rows: Sequence[Row], regions: Sequence[str]) -> str:
    """Offers of regions: zones, prices and the day of each price."""
    if not rows:
        return NOTHING
    several = len(regions) > 1
    prices = ("USD/H", "AS OF", "SPOT USD/H", "AS OF")
    lines: list[tuple[str, ...]] = [(*(("REGION",) if several else ()), *_TYPE_HEADINGS[:6], *prices, "ZONES")]
    for row in rows:
        assert row.offer is not None, row.kind.name
        price = row.offer.price
        lines.append(
            (
                *((row.region,) if several else ()),
                *_type_cells(row.kind)[:6],
                _usd(price.on_demand_usd_per_hour),
                price.on_demand_as_of or "-",
                _usd(price.spot_usd_per_hour),
                price.spot_as_of or "-",
                ", ".join(row.offer.availability_zone_ids),
            )
        )
    shift = int(several)
    right = [place + shift for place in (2, 3, 4, 5, 6, 8)]
    return f"{columns(lines, right=right)}\n\n{_dated(catalog, 'offerings', 'prices')}"


def gpus_table(catalog: Catalog, gpus: Sequence[GpuModel]) -> str:
    """The specification table of the GPU models, each with its data sheet."""
    lines: list[tuple[str, ...]] = [
        ("GPU", "GENERATION", "CC", "USABLE GIB", "NOMINAL GIB", "GB/S", "LINK", "DENSE TFLOPS", "DATA SHEET")
    ]
    for gpu in gpus:
        rates = ", ".join(f"{name} {rate:g}" for name, rate in gpu.peak_tflops.items())
        lines.append(
            (
                gpu.name,
                gpu.architecture,
                "{}.{}".format(*gpu.compute_capability) if any(gpu.compute_capability) else "-",
                _gib(gpu.usable_memory_mib) + ("" if gpu.usable_is_measured else "*"),
                _gib(gpu.nominal_memory_mib),
                f"{gpu.memory_bandwidth_gb_per_second:,g}",
                gpu.interconnect,
                rates or "-",
                gpu.data_sheet,
            )
        )
    star = "* not measured: derived on the safe side (`--format json` says how)"
    return f"{columns(lines, right=(2, 3, 4, 5))}\n\n{star}\n{_dated(catalog, 'gpus')}"


def type_json(row: Row) -> dict[str, Any]:
    """A type, with its offer where a region was asked for; a price that is unknown is null."""
    kind = row.kind
    document: dict[str, Any] = {
        "type": kind.name,
        "family": kind.family,
        "generation": kind.generation,
        "gpu": kind.gpu.name,
        "gpuCount": kind.gpu_count,
        "gpuFraction": kind.gpu_fraction,
        "usableGpuMemoryMiB": kind.usable_gpu_memory_mib,
        "interconnect": kind.gpu.interconnect,
        "vcpu": kind.vcpu,
        "memoryMiB": kind.memory_mib,
        "architecture": kind.architecture,
        "instanceStoreGB": kind.instance_store_gb,
        "networkBaselineGbps": kind.network_baseline_gbps,
        "networkGbps": kind.network_gbps,
        "efa": kind.efa,
        "ebsBaselineMBPerSecond": kind.ebs_baseline_mb_per_second,
        "ebsMaxMBPerSecond": kind.ebs_max_mb_per_second,
        "ebsMaxIops": kind.ebs_max_iops,
        "bareMetal": kind.bare_metal,
        "purchaseOptions": list(kind.purchase_options),
        "quota": {
            "onDemand": {"name": kind.quota.on_demand_name, "code": kind.quota.on_demand_code},
            "spot": {"name": kind.quota.spot_name, "code": kind.quota.spot_code},
        },
        "selectable": kind.selectable,
        "notSelectableReason": kind.not_selectable_reason,
    }
    if row.offer is None:
        return document | {"regions": row.regions}
    price = row.offer.price
    return document | {
        "region": row.region,
        "availabilityZoneIds": list(row.offer.availability_zone_ids),
        "onDemandUsdPerHour": price.on_demand_usd_per_hour,
        "onDemandAsOf": price.on_demand_as_of or None,
        "spotUsdPerHour": price.spot_usd_per_hour,
        "spotAsOf": price.spot_as_of or None,
    }


def gpu_json(gpu: GpuModel) -> dict[str, Any]:
    """A GPU model."""
    return {
        "name": gpu.name,
        "vendor": gpu.vendor,
        "architecture": gpu.architecture,
        "computeCapability": list(gpu.compute_capability),
        "nominalMemoryMiB": gpu.nominal_memory_mib,
        "usableMemoryMiB": gpu.usable_memory_mib,
        "usableIsMeasured": gpu.usable_is_measured,
        "usableNote": gpu.usable_note,
        "memoryBandwidthGBPerSecond": gpu.memory_bandwidth_gb_per_second,
        "interconnect": gpu.interconnect,
        "nativePrecisions": list(gpu.native_precisions),
        "peakTflops": dict(gpu.peak_tflops),
        "dataSheet": gpu.data_sheet,
        "notSelectableReason": gpu.not_selectable_reason,
    }


def _type_cells(kind: InstanceType) -> tuple[str, ...]:
    network = f"{kind.network_baseline_gbps:g}"
    return (
        kind.name,
        kind.gpu.name,
        f"{kind.gpu_count * kind.gpu_fraction:g}",
        _gib(kind.usable_gpu_memory_mib),
        str(kind.vcpu),
        f"{kind.memory_mib / MIB_PER_GIB:g}",
        f"{kind.instance_store_gb:,}" if kind.instance_store_gb else "-",
        network if kind.network_baseline_gbps == kind.network_gbps else f"{network} to {kind.network_gbps:g}",
        "yes" if kind.efa else "-",
        kind.architecture,
    )


def _gib(memory_mib: int) -> str:
    return f"{memory_mib / MIB_PER_GIB:.2f}"


def _usd(price: float | None) -> str:
    return UNKNOWN if price is None else f"{price:.4f}"


def _dated(catalog: Catalog, *tables: str) -> str:
    words = {"gpus": "GPUs", "instanceTypes": "Types", "offerings": "Offerings", "prices": "Prices"}
    return "\n".join(f"{words[t]}: {catalog.provenance[t].source} ({catalog.provenance[t].as_of})" for t in tables)
