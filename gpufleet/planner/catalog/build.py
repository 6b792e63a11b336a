"""Makes the catalogue's documents from AWS's answers and a price table; the same input gives the same bytes.

Owns how an answer of DescribeInstanceTypes, of DescribeInstanceTypeOfferings or a price becomes a row, and how
a document is written. Leaves to its callers (`tools/generate_catalog.py`, the refresh command) where answers
come from, and the GPU and quota tables to people. An answer that it does not understand is a `ValueError`,
never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ACCELERATED = re.compile(r"(g|gr|p|inf|trn)(\d+)[a-z]*(-[a-z0-9]+)?\.")
"""The catalogue's types: G and P with GPUs, Inf and Trn known but not selectable. The digit is the generation."""

FRACTIONAL_REASON = "a part of a GPU needs NVIDIA's GRID driver, which the Deep Learning AMI lacks"

DEVICES_THAT_EC2_OMITS = {"trn2u.48xlarge": ("Trainium2", 524288, 16)}
"""Device, EC2's memory for it in MiB and count, where DescribeInstanceTypes has none (Trn2 UltraServer hosts)."""

Row = dict[str, Any]


def instance_type_row(answer: Mapping[str, Any], gpus: Sequence[Mapping[str, Any]]) -> Row:
    """One type of DescribeInstanceTypes as a row; `gpus` are the rows of the GPU table."""
    name = answer["InstanceType"]
    match = ACCELERATED.match(name)
    if match is None:
        raise ValueError(f"{name}: not a family of this catalogue")
    gpu, count, fraction = _accelerators(name, answer, gpus)
    network = answer["NetworkInfo"]
    ebs = answer["EbsInfo"]["EbsOptimizedInfo"]
    row: Row = {
        "vcpu": answer["VCpuInfo"]["DefaultVCpus"],
        "memoryMiB": answer["MemoryInfo"]["SizeInMiB"],
        "gpu": gpu["name"],
        "gpuCount": count,
        "architecture": _only(name, answer["ProcessorInfo"]["SupportedArchitectures"]),
        "generation": int(match[2]),
        "instanceStoreGB": answer.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        "networkGbps": _number(sum(card["PeakBandwidthInGbps"] for card in network["NetworkCards"])),
        "networkBaselineGbps": _number(sum(card["BaselineBandwidthInGbps"] for card in network["NetworkCards"])),
        "efa": network.get("EfaSupported", False),
        "ebsBaselineMBPerSecond": _number(ebs["BaselineThroughputInMBps"]),
        "ebsMaxMBPerSecond": _number(ebs["MaximumThroughputInMBps"]),
        "ebsMaxIops": ebs["MaximumIops"],
        "bareMetal": answer["BareMetal"],
        "purchaseOptions": sorted(answer["SupportedUsageClasses"]),
    }
    reason = gpu.get("notSelectableReason", "")
    if fraction < 1:
        row["gpuFraction"] = fraction
        reason = reason or FRACTIONAL_REASON
    if reason:
        row["notSelectableReason"] = reason
    return row


def _accelerators(
    name: str, answer: Mapping[str, Any], gpus: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], int, float]:
    """The GPU row, how many, and the fraction of one. Fractional types answer count 0 and have one such part."""
    if "GpuInfo" in answer:
        info = _only(name, answer["GpuInfo"]["Gpus"])
        fraction = info.get("GpuPartitionSize") or 1.0
        memory = info["MemoryInfo"]["SizeInMiB"]
        count = info["Count"] or info.get("LogicalGpuCount") or 0
        if count * memory != answer["GpuInfo"]["TotalGpuMemoryInMiB"]:
            raise ValueError(f"{name}: {count} GPUs of {memory} MiB are not the total that EC2 answers")
        return _gpu_row(name, info["Name"], round(memory / fraction), gpus), count, fraction
    if "NeuronInfo" in answer:
        device = _only(name, answer["NeuronInfo"]["NeuronDevices"])
        ec2_name, memory, count = device["Name"], device["MemoryInfo"]["SizeInMiB"], device["Count"]
    elif name in DEVICES_THAT_EC2_OMITS:
        ec2_name, memory, count = DEVICES_THAT_EC2_OMITS[name]
    else:
        raise ValueError(f"{name}: EC2 answers neither GPUs nor Neuron devices")
    return _gpu_row(name, ec2_name, memory, gpus), count, 1.0


def _gpu_row(name: str, ec2_name: str, memory_mib: int, gpus: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The row of the GPU table that EC2's name and memory mean (an A100 is two models)."""
    for gpu in gpus:
        if gpu["ec2Name"] == ec2_name and gpu["nominalMemoryMiB"] == memory_mib:
            return gpu
    raise ValueError(f"{name}: no row in gpus.json for EC2's {ec2_name!r} with {memory_mib} MiB: add one")


def region_document(
    region: str,
    zones: Sequence[Sequence[str]],
    zone_types: Mapping[str, Iterable[str]],
    prices: Mapping[str, Row],
    services: Mapping[str, Row] | None = None,
) -> Row:
    """What `region` offers. `zones` are pairs of id and name, `zone_types` the types of each zone id, accelerated or not."""
    offered = sorted({name for types in zone_types.values() for name in types if ACCELERATED.match(name)})
    offers = {
        name: {
            "zones": sorted(zone for zone, types in zone_types.items() if name in types),
            **prices.get(name, {}),
        }
        for name in offered
    }
    document: Row = {"region": region, "zones": [list(pair) for pair in zones], "offers": offers}
    return document | {"services": dict(services)} if services else document


def pair_zones(zone_ids: Mapping[str, Iterable[str]], zone_names: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Pairs of zone id and name, by what each offers: one account answered both views. Ties go in order."""
    if len(zone_ids) != len(zone_names):
        raise ValueError(f"{len(zone_ids)} zone ids but {len(zone_names)} zone names")
    names_by_offer: dict[frozenset[str], list[str]] = {}
    for zone_name in sorted(zone_names, reverse=True):
        names_by_offer.setdefault(frozenset(zone_names[zone_name]), []).append(zone_name)
    pairs = []
    for zone_id in sorted(zone_ids):
        names = names_by_offer.get(frozenset(zone_ids[zone_id]))
        if not names:
            raise ValueError(f"no zone name offers what {zone_id} offers")
        pairs.append([zone_id, names.pop()])
    return pairs


def price_row(on_demand: str, on_demand_as_of: str, spot: str, spot_as_of: str) -> Row:
    """A price from text; what is empty is unknown and left out, and zero is refused."""
    row: Row = {}
    if on_demand:
        row |= {"onDemand": _usd(on_demand), "onDemandAsOf": on_demand_as_of}
    if spot:
        row |= {"spot": _usd(spot), "spotAsOf": spot_as_of}
    return row


def render(document: Mapping[str, Any], *, one_per_line: Sequence[str]) -> str:
    """JSON whose tables named in `one_per_line` have a row a line: quick to load, and readable in a diff."""
    lines = []
    for key, value in document.items():
        if key in one_per_line:
            rows = [f"{json.dumps(name)}: {_compact(row)}" for name, row in value.items()]
            lines.append(f"{json.dumps(key)}: {{\n" + ",\n".join(rows) + "\n}")
        else:
            lines.append(f"{json.dumps(key)}: {_compact(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _usd(text: str) -> float:
    price = float(text)
    if not price > 0:
        raise ValueError(f"a price of {text}: a missing price is left empty, never zero")
    return price


def _number(value: float) -> float | int:
    """Whole numbers without their `.0`, so that a file does not depend on how an answer was parsed."""
    return int(value) if value == int(value) else round(value, 4)


def _only(name: str, values: Sequence[Any]) -> Any:
    """The one value of a list; two kinds of GPU in one type would need a decision, not the first."""
    if len(values) != 1:
        raise ValueError(f"{name}: expected one, found {len(values)}: {values}")
    return values[0]
