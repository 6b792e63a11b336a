"""Whether a directory holds a whole catalogue: every file, every key, every name that one file takes from another.

Owns what is allowed in the files, for catalogues that somebody else wrote; the embedded one is held to it by the tests and
read without. Leaves reading to `storage` and making to `build`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from ..errors import CatalogError, Problem, list_names
from .models import SERVICES
from .storage import Catalog

PROBLEMS_SHOWN = 10

_STRICT = with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))

Count = Annotated[int, Field(ge=1, le=10**9)]
Amount = Annotated[float, Field(gt=0, le=10**9)]
Text = Annotated[str, Field(min_length=1)]
_DAY = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
Date = Annotated[str, Field(pattern=f"^{_DAY}$")]
Dates = Annotated[str, Field(pattern=rf"^{_DAY}(\.\.{_DAY})?$")]
"""A day, or the first and the last of the days that it may have been."""

TypeName = Annotated[str, Field(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")]


@_STRICT
class _Table(TypedDict):
    source: Text
    asOf: Date


@_STRICT
class _Gpu(TypedDict):
    name: Text
    ec2Name: Text
    vendor: Text
    architecture: Text
    computeCapability: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]
    nominalMemoryMiB: Count
    usableMemoryMiB: Count
    usableIsMeasured: bool
    usableNote: Text
    memoryBandwidthGBPerSecond: Amount
    interconnect: Literal["nvlink", "pcie", "neuronlink"]
    nativePrecisions: list[Text]
    peakTflops: dict[str, Amount]
    dataSheet: Text
    notSelectableReason: NotRequired[Text]


@_STRICT
class _Gpus(_Table):
    gpus: Annotated[list[_Gpu], Field(min_length=1)]


@_STRICT
class _Quota(TypedDict):
    families: list[Text]
    on_demand_name: Text
    on_demand_code: str
    spot_name: Text
    spot_code: str


@_STRICT
class _Quotas(_Table):
    quotas: list[_Quota]


@_STRICT
class _Type(TypedDict):
    vcpu: Count
    memoryMiB: Count
    gpu: Text
    gpuCount: Count
    gpuFraction: NotRequired[Annotated[float, Field(gt=0, lt=1)]]
    architecture: Literal["x86_64", "arm64"]
    generation: Count
    instanceStoreGB: Annotated[int, Field(ge=0, le=10**9)]
    networkGbps: Amount
    networkBaselineGbps: Amount
    efa: bool
    ebsBaselineMBPerSecond: Amount
    ebsMaxMBPerSecond: Amount
    ebsMaxIops: Count
    bareMetal: bool
    purchaseOptions: list[Text]
    notSelectableReason: NotRequired[Text]


@_STRICT
class _Types(_Table):
    offerings: _Table
    prices: _Table
    instanceTypes: dict[TypeName, _Type]
    retired: list[Text]


@_STRICT
class _Offer(TypedDict):
    zones: Annotated[list[Text], Field(min_length=1)]
    onDemand: NotRequired[Amount]
    onDemandAsOf: NotRequired[Date]
    spot: NotRequired[Amount]
    spotAsOf: NotRequired[Dates]


@_STRICT
class _ServicePrice(TypedDict):
    usd: Amount
    asOf: Date


@_STRICT
class _Region(_Table):
    pricesAsOf: Date
    region: Text
    zones: list[Annotated[list[Text], Field(min_length=2, max_length=2)]]
    offers: dict[TypeName, _Offer]
    services: NotRequired[dict[str, _ServicePrice]]


_WORDS = {"missing": "required, but missing", "extra_forbidden": "an unknown key"}

_TABLES = {"gpus.json": _Gpus, "quotas.json": _Quotas, "instance_types.json": _Types}


def checked_catalog(directory: Path) -> Catalog:
    """The catalogue in `directory`, once all of it is found whole; a CatalogError with every problem otherwise."""
    catalog = Catalog(directory)
    problems = list(find_problems(directory))
    if problems:
        more = len(problems) - PROBLEMS_SHOWN
        shown = problems[:PROBLEMS_SHOWN] + ([Problem("", f"… and {more} problems more")] if more > 0 else [])
        raise CatalogError(shown, source=f"the catalogue in {directory}")
    return catalog


def find_problems(directory: Path) -> Iterator[Problem]:
    """Everything that is wrong with the files; a problem's path is `file: key`."""
    documents: dict[str, Any] = {}
    places: list[tuple[str, Any]] = list(_TABLES.items())
    places += [(f"regions/{path.name}", _Region) for path in sorted((directory / "regions").glob("*.json"))]
    for name, shape in places:
        document = _read(directory / name, name)
        problems = [document] if isinstance(document, Problem) else list(_misshapen(name, document, shape))
        yield from problems
        if not problems:
            documents[name] = document
    if len(documents) == len(places):
        yield from _torn(documents)
    if len(places) == len(_TABLES):
        yield Problem("regions", "there is no region", allowed="a file for each region, such as regions/us-east-1.json")


def _read(path: Path, name: str) -> Any:
    """The file's JSON, or the problem with it."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        return Problem(name, f"the file cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return Problem(name, f"not JSON: {error}", next_step="write it anew with `gpufleet catalog refresh`")


def _misshapen(name: str, document: Any, shape: Any) -> Iterator[Problem]:
    """Keys that are missing, unknown or hold what they may not."""
    try:
        TypeAdapter(shape).validate_python(document)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_context=False):
            key = ".".join(str(part) for part in found["loc"] if part != "[key]")
            message = _WORDS.get(found["type"]) or found["msg"]
            given = None if found["type"] == "missing" else str(found["input"])[:80]
            yield Problem(f"{name}: {key}" if key else name, message, given=given)


def _torn(documents: Mapping[str, Any]) -> Iterator[Problem]:
    """Names that one file takes from another and that are not there; twice the same; figures that contradict."""
    gpus = [gpu["name"] for gpu in documents["gpus.json"]["gpus"]]
    families = [family for row in documents["quotas.json"]["quotas"] for family in row["families"]]
    types = documents["instance_types.json"]["instanceTypes"]
    for name, given in (("gpus.json: gpus", gpus), ("quotas.json: quotas", families)):
        for twice in sorted({one for one in given if given.count(one) > 1}):
            yield Problem(name, "the name stands there twice", given=twice)
    for gpu in documents["gpus.json"]["gpus"]:
        if gpu["usableMemoryMiB"] > gpu["nominalMemoryMiB"]:
            yield Problem(
                f"gpus.json: {gpu['name']}.usableMemoryMiB", "more than nominalMemoryMiB", given=gpu["usableMemoryMiB"]
            )
    for name, row in types.items():
        where = f"instance_types.json: instanceTypes.{name}"
        if row["gpu"] not in gpus:
            yield Problem(f"{where}.gpu", "no row of gpus.json", given=row["gpu"], allowed=list_names(gpus))
        if name.split(".")[0] not in families:
            yield Problem(where, "no row of quotas.json has its family", allowed=list_names(families))
    for path, document in documents.items():
        if path.startswith("regions/"):
            yield from _torn_region(path, document, types)


def _torn_region(path: str, document: Mapping[str, Any], types: Mapping[str, Any]) -> Iterator[Problem]:
    if f"regions/{document['region']}.json" != path:
        yield Problem(f"{path}: region", "not the region that the file is named after", given=document["region"])
    zone_ids = [zone_id for zone_id, _ in document["zones"]]
    for name, offer in document["offers"].items():
        where = f"{path}: offers.{name}"
        if name not in types:
            yield Problem(where, "no row of instance_types.json")
        for zone_id in sorted(set(offer["zones"]) - set(zone_ids)):
            yield Problem(f"{where}.zones", "no zone of the region", given=zone_id, allowed=list_names(zone_ids))
        for price in ("onDemand", "spot"):
            if (price in offer) != (f"{price}AsOf" in offer):
                yield Problem(where, f"{price} and {price}AsOf go together")
    for name in sorted(set(document.get("services", {})) - set(SERVICES)):
        yield Problem(f"{path}: services.{name}", "no service of the catalogue", allowed=list_names(SERVICES))
