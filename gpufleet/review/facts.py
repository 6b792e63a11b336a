"""How the values of a plan read: their labels, their units, and which of them a reviewer wants to see first.

Owns words. Leaves which values changed to `changes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpufleet.planner.machine_image import PLACEHOLDER_AMI
from gpufleet.review.changes import Change

HEADLINES: Mapping[str, str] = {
    "instance.type": "Instance type",
    "instance.gpu.name": "GPU",
    "instance.gpu.count": "GPUs per instance",
    "tensorParallelism": "Tensor parallelism",
    "pipelineParallelism": "Pipeline parallelism",
    "dataParallelism": "Data parallelism",
    "replicasPerInstance": "Replicas per instance",
    "model.id": "Model",
    "model.source": "Source of the weights",
    "model.precision": "Precision of the weights",
    "memory.perGpu.weightsGiB": "Weights per GPU",
    "memory.perGpu.totalGiB": "Weights and runtime per GPU",
    "memory.perGpu.kvCacheGiB": "KV cache per GPU",
    "memory.perGpu.budgetGiB": "Memory budget per GPU",
    "memory.perGpu.headroomGiB": "Headroom per GPU",
    "kvCacheTokens": "Tokens in a replica's cache",
    "fullContexts": "Full contexts at once",
    "limits.vcpu": "vCPU per container",
    "limits.memoryMiB": "RAM per container",
    "fallbacks": "Fallback types",
    "availabilityZoneIds": "Zones",
    "capacity.min": "Fewest instances",
    "capacity.desired": "Instances at creation",
    "capacity.max": "Most instances",
    "capacity.onDemandBase": "On-demand base",
    "capacity.spotPercentage": "Spot share above the base",
    "scaling.gpuUtilizationPercent": "GPU utilisation target",
    "scaling.cpuUtilizationPercent": "CPU utilisation target",
    "scaling.requestsPerTarget": "Requests per minute and instance, target",
    "scaling.requestsInFlight": "Requests in flight per replica, target",
    "scaling.kvCacheUtilizationPercent": "KV cache target",
    "scaling.waitingRequests.thresholdRequests": "Waiting requests that add capacity",
    "scaling.latency.percentile": "Latency percentile",
    "scaling.latency.targetSeconds": "Latency target",
    "server.engineVersion": "Engine version",
    "server.image": "Server image",
    "server.maxModelLen": "Context length",
    "server.maxNumSeqs": "Sequences at once",
    "server.maxNumBatchedTokens": "Tokens in one step",
    "machineImage.id": "AMI",
    "storage.rootVolumeGiB": "Root volume",
    "timing.loadSeconds": "Launch to first answer",
    "network.internal": "Internal endpoint",
    "network.certificateArn": "Certificate",
    "network.allowedCidrs": "Allowed networks",
}
"""The values of a plan that are shown at once, in this order; the rest stands in the details under its own path."""

UNITS = (("GiB", "GiB"), ("MiB", "MiB"), ("Seconds", "s"), ("Percent", "%"), ("Percentage", "%"), ("Usd", "USD"))
"""How a value's unit is told from the end of its name."""

_NAMES_IN_DIGITS = ("port", "Port", "Ports")

MOST_NAMES = 6
"""Of a long list, the names that are printed."""

NOT_THERE = "none"


def label(path: str) -> str:
    """What a value is called."""
    return HEADLINES.get(path, path)


def headline_changes(found: Iterable[Change], asked: Iterable[Change]) -> tuple[Change, ...]:
    """The changes to show at once, in the order of the headlines, without those that only repeat what was asked."""
    order = {path: place for place, path in enumerate(HEADLINES)}
    repeated = {(_key(c), c.before, c.after) for c in asked if not isinstance(c.before or c.after, list | Mapping)}
    chosen = (
        c
        for c in found
        if c.path in order and (isinstance(c.after, list) or (_key(c), c.before, c.after) not in repeated)
    )
    return tuple(sorted(chosen, key=lambda c: order[c.path]))


def _key(change: Change) -> str:
    return change.path.rpartition(".")[2]


def shown(path: str, value: Any) -> str:
    """A value with its unit, on one line."""
    if value is None or value == []:
        return "latest" if path == "machineImage.id" else NOT_THERE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        if path.endswith(_NAMES_IN_DIGITS):
            return str(value)
        unit = next((unit for ending, unit in UNITS if path.endswith(ending)), "")
        return f"{number(value)}{'' if unit == '%' else ' '}{unit}".strip()
    if isinstance(value, list):
        return names(value) if len(value) <= MOST_NAMES else f"{len(value)} values"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {shown(key, member)}" for key, member in value.items()) or NOT_THERE
    return "latest" if value == PLACEHOLDER_AMI else str(value)


def number(value: float) -> str:
    """At most two decimals, thousands apart."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}".rstrip("0")


def names(values: list[Any], most: int = MOST_NAMES) -> str:
    """A list, shortened when it is long."""
    listed = ", ".join(str(value) for value in values[:most])
    return listed if len(values) <= most else f"{listed}, … ({len(values)} in all)"


def of_list(change: Change) -> str:
    """What came to a list and what left it."""
    if not isinstance(change.before, list | None) or not isinstance(change.after, list | None):
        return ""
    old, new = (_arguments(value or []) for value in (change.before, change.after))
    added, removed = [v for v in new if v not in old], [v for v in old if v not in new]
    parts = [f"new: {names(added)}"] if added else []
    parts += [f"gone: {names(removed)}"] if removed else []
    return "; ".join(parts) or "the same in another order"


def _arguments(values: list[Any]) -> list[Any]:
    """A command's options with their values, for `8` alone says nothing; any other list as it is."""
    if not any(isinstance(value, str) and value.startswith("--") for value in values):
        return values
    options: list[str] = []
    for word in map(str, values):
        if word.startswith("--") or not options:
            options.append(word)
        else:
            options[-1] += f" {word}"
    return options


def usd(amount: float | None) -> str:
    """An amount of money, without cents where they do not count; what is unknown says so."""
    if amount is None:
        return "unknown"
    return f"{amount:,.0f}" if amount == 0 or abs(amount) >= 100 else f"{amount:,.2f}"


def signed_usd(amount: float | None) -> str:
    """A difference of money, with its sign."""
    return "unknown" if amount is None else f"{'+' if amount > 0 else '−' if amount < 0 else '±'}{usd(abs(amount))}"
