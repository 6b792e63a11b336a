"""Reads the catalogue's files and answers by name: types, families, regions, offers.

Owns the stored format and the lookups with their errors. Leaves to `build` how the files are made. A file is
read when it is first needed: a plan for one region reads the specifications and that region's offers.
"""

from __future__ import annotations

import functools
import json
import os.path
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from ..errors import CatalogError, Problem, list_names, nearest
from .models import SERVICES, GpuModel, InstanceType, Offer, Price, Provenance, Quota, ServicePrice

DATA_DIRECTORY = Path(__file__).parent / "data"


class Catalog:
    """What AWS has, as of the dates in its files. Everything it returns is immutable and sorted by name."""

    def __init__(self, directory: Path = DATA_DIRECTORY) -> None:
        if not os.path.isfile(directory / "instance_types.json"):
            raise CatalogError(
                Problem(
                    path="catalog",
                    message="there is no catalogue in this directory",
                    given=str(directory),
                    allowed="a directory with gpus.json, quotas.json, instance_types.json and regions/",
                    next_step="name a directory with a catalogue; the embedded one is used where none is named",
                )
            )
        self.directory = directory
        self._offers: dict[str, tuple[Offer, ...]] = {}
        self._regions: dict[str, dict[str, Any]] = {}

    # Names ---------------------------------------------------------------------------------------

    @functools.cached_property
    def regions(self) -> tuple[str, ...]:
        """Every region whose offerings are known."""
        return tuple(sorted(path.stem for path in (self.directory / "regions").glob("*.json")))

    @property
    def type_names(self) -> tuple[str, ...]:
        """Every instance type with a specification."""
        return tuple(self._types)

    @functools.cached_property
    def families(self) -> tuple[str, ...]:
        """Every instance family with a specification."""
        return tuple(sorted({t.family for t in self._types.values()}))

    @property
    def gpu_names(self) -> tuple[str, ...]:
        """The closed list of GPU names (NVIDIA's; AWS's own accelerators are in `accelerator_names`)."""
        return tuple(name for name, gpu in self._gpus.items() if gpu.vendor == "NVIDIA")

    @property
    def accelerator_names(self) -> tuple[str, ...]:
        """Every accelerator with a row in the table, NVIDIA's and others."""
        return tuple(self._gpus)

    # Rows ----------------------------------------------------------------------------------------

    def instance_type(self, name: str, *, path: str = "instance.type") -> InstanceType:
        """The specification of `name`; CatalogError with the nearest names when there is none."""
        found = self._types.get(name)
        if found is None:
            if name in self._retired:
                _unknown(path, "instance type", name, self._types, "EC2 offers it in no region any more")
            _unknown(path, "instance type", name, self._types)
        return found

    def gpu(self, name: str, *, path: str = "gpu") -> GpuModel:
        """The GPU model `name`; CatalogError with the closed list when there is none."""
        found = self._gpus.get(name)
        if found is None:
            _unknown(path, "GPU", name, self._gpus)
        return found

    def require_family(self, name: str, *, path: str = "instance.families") -> str:
        """`name` where it is a known family; CatalogError with the nearest names otherwise."""
        if name not in self.families:
            _unknown(path, "instance family", name, self.families)
        return name

    def require_region(self, name: str, *, path: str = "region") -> str:
        """`name` where it is a known region; CatalogError with the nearest names otherwise."""
        if name not in self.regions:
            _unknown(path, "region", name, self.regions)
        return name

    def offers(self, region: str, *, path: str = "region") -> tuple[Offer, ...]:
        """Every type that `region` offers; CatalogError with the nearest names for an unknown region."""
        if region not in self._offers:
            self.require_region(region, path=path)
            rows = self._region(region)["offers"]
            self._offers[region] = tuple(
                Offer(
                    instance_type=self._types[name],
                    availability_zone_ids=tuple(row["zones"]),
                    price=Price(
                        on_demand_usd_per_hour=row.get("onDemand"),
                        on_demand_as_of=row.get("onDemandAsOf", ""),
                        spot_usd_per_hour=row.get("spot"),
                        spot_as_of=row.get("spotAsOf", ""),
                    ),
                )
                for name, row in rows.items()
            )
        return self._offers[region]

    def service_price(self, region: str, name: str) -> ServicePrice | None:
        """The price of a service (a name in `SERVICES`) in `region`; None where it is unknown."""
        if name not in SERVICES:
            raise ValueError(f"{name} is none of {list_names(SERVICES)}")
        self.require_region(region)
        row = self._region(region).get("services", {}).get(name)
        return None if row is None else ServicePrice(usd=row["usd"], as_of=row["asOf"])

    def availability_zone_ids(self, region: str, *, path: str = "region") -> tuple[str, ...]:
        """Every zone id of `region`, with or without accelerated types."""
        self.require_region(region, path=path)
        return tuple(zone_id for zone_id, _ in self._region(region)["zones"])

    def availability_zones(self, region: str, *, path: str = "region") -> tuple[tuple[str, str], ...]:
        """Pairs of zone id and name. The names are one account's view: only for previews without an account."""
        self.require_region(region, path=path)
        return tuple((zone_id, name) for zone_id, name in self._region(region)["zones"])

    @property
    def provenance(self) -> dict[str, Provenance]:
        """Source and date of each table, by table."""
        return {
            table: Provenance(source=document["source"], as_of=document["asOf"])
            for table, document in {
                "gpus": self._gpu_document,
                "quotas": self._quota_document,
                "instanceTypes": self._type_document,
                "offerings": self._type_document["offerings"],
                "prices": self._type_document["prices"],
            }.items()
        }

    # Files ---------------------------------------------------------------------------------------

    def _read(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.directory / name).read_bytes())
        return document

    @functools.cached_property
    def _gpu_document(self) -> dict[str, Any]:
        return self._read("gpus.json")

    @functools.cached_property
    def _quota_document(self) -> dict[str, Any]:
        return self._read("quotas.json")

    @functools.cached_property
    def _type_document(self) -> dict[str, Any]:
        return self._read("instance_types.json")

    def _region(self, region: str) -> dict[str, Any]:
        if region not in self._regions:
            self._regions[region] = self._read(f"regions/{region}.json")
        return self._regions[region]

    @functools.cached_property
    def _gpus(self) -> dict[str, GpuModel]:
        return {row["name"]: read_gpu(row) for row in self._gpu_document["gpus"]}

    @functools.cached_property
    def _retired(self) -> frozenset[str]:
        return frozenset(self._type_document["retired"])

    @functools.cached_property
    def _types(self) -> dict[str, InstanceType]:
        quotas = {
            family: Quota(**{key: row[key] for key in Quota._fields})
            for row in self._quota_document["quotas"]
            for family in row["families"]
        }
        return {
            name: read_instance_type(name, row, self._gpus, quotas)
            for name, row in self._type_document["instanceTypes"].items()
        }


def read_gpu(row: dict[str, Any]) -> GpuModel:
    """A row of `gpus.json`."""
    return GpuModel(
        name=row["name"],
        vendor=row["vendor"],
        architecture=row["architecture"],
        compute_capability=(row["computeCapability"][0], row["computeCapability"][1]),
        nominal_memory_mib=row["nominalMemoryMiB"],
        usable_memory_mib=row["usableMemoryMiB"],
        usable_is_measured=row["usableIsMeasured"],
        usable_note=row["usableNote"],
        memory_bandwidth_gb_per_second=row["memoryBandwidthGBPerSecond"],
        interconnect=row["interconnect"],
        native_precisions=tuple(row["nativePrecisions"]),
        peak_tflops=row["peakTflops"],
        data_sheet=row["dataSheet"],
        not_selectable_reason=row.get("notSelectableReason", ""),
    )


def read_instance_type(
    name: str, row: dict[str, Any], gpus: dict[str, GpuModel], quotas: dict[str, Quota]
) -> InstanceType:
    """A row of `instance_types.json`, with the tables that it refers to."""
    family, size = name.split(".")
    reason = row.get("notSelectableReason", "")
    return InstanceType(
        name=name,
        family=family,
        size=size,
        vcpu=row["vcpu"],
        memory_mib=row["memoryMiB"],
        gpu=gpus[row["gpu"]],
        gpu_count=row["gpuCount"],
        gpu_fraction=row.get("gpuFraction", 1.0),
        architecture=row["architecture"],
        generation=row["generation"],
        instance_store_gb=row["instanceStoreGB"],
        network_gbps=row["networkGbps"],
        network_baseline_gbps=row["networkBaselineGbps"],
        efa=row["efa"],
        ebs_baseline_mb_per_second=row["ebsBaselineMBPerSecond"],
        ebs_max_mb_per_second=row["ebsMaxMBPerSecond"],
        ebs_max_iops=row["ebsMaxIops"],
        bare_metal=row["bareMetal"],
        purchase_options=tuple(row["purchaseOptions"]),
        quota=quotas[family],
        selectable=not reason,
        not_selectable_reason=reason,
    )


def _unknown(path: str, kind: str, name: str, known: Iterable[str], why: str = "") -> NoReturn:
    """Raises the one error of a lookup: what was given, what there is, and the nearest of it."""
    names = tuple(known)
    begun = [known for known in names if name and known.casefold().startswith(name.casefold())]
    near = begun[:3] or nearest(name, names)
    raise CatalogError(
        Problem(
            path=path,
            message=f"{why or f'unknown {kind}'}",
            given=name,
            allowed=list_names(names),
            next_step=f"did you mean {' or '.join(near)}?" if near else f"take a known {kind}",
        )
    )


@functools.cache
def load_catalog(directory: Path | None = None) -> Catalog:
    """The catalogue in `directory`, the embedded one by default; the same object for the same directory."""
    return Catalog(directory or DATA_DIRECTORY)
