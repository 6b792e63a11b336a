"""What one region has: zones, instance types, offerings, spot prices.

Owns which calls of EC2 tell it. Leaves what becomes of the answers to `documents`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from gpufleet.planner.catalog.build import ACCELERATED
from gpufleet.refresh.account import HOME_REGION, Account

PATTERNS = ("g*.*", "p*.*", "inf*.*", "trn*.*")
"""The catalogue's types and few others: DescribeInstanceTypes takes patterns. Its sister for offerings is not documented to."""

SPOT_PRODUCT = "Linux/UNIX"


class RegionAnswers(NamedTuple):
    """What EC2 answers for a region."""

    zones: tuple[tuple[str, str], ...]
    """Pairs of zone id and name: whole zones, no local ones."""
    types: tuple[Mapping[str, Any], ...]
    """Accelerated types as DescribeInstanceTypes has them."""
    zone_types: Mapping[str, frozenset[str]]
    """Accelerated types by zone id."""
    zoneless: tuple[str, ...]
    """Types that the region offers, but no zone that the account has."""
    spot: Mapping[str, str]
    """Median over the zones, USD per hour, by type."""


def opted_in_regions(account: Account) -> dict[str, bool]:
    """Every region that AWS tells the account of, and whether the account uses it."""
    answers = account.ask("ec2", HOME_REGION, "DescribeRegions", "Regions", AllRegions=True)
    return {answer["RegionName"]: answer.get("OptInStatus") != "not-opted-in" for answer in answers}


def ask_region(account: Account, region: str, now: datetime) -> RegionAnswers:
    """Everything about one region; spot prices are those of `now`."""

    def ask(action: str, key: str, **parameters: Any) -> list[Any]:
        return account.ask("ec2", region, action, key, **parameters)

    def offerings(location: str) -> list[Any]:
        return [
            answer
            for answer in ask(
                "DescribeInstanceTypeOfferings", "InstanceTypeOfferings", LocationType=location,
                PaginationConfig={"PageSize": 1000},
            )
            if ACCELERATED.match(answer["InstanceType"])
        ]  # fmt: skip

    zones = {
        zone["ZoneId"]: zone["ZoneName"]
        for zone in ask("DescribeAvailabilityZones", "AvailabilityZones",
                        Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}])
    }  # fmt: skip
    types = ask(
        "DescribeInstanceTypes",
        "InstanceTypes",
        Filters=[{"Name": "instance-type", "Values": list(PATTERNS)}],
        PaginationConfig={"PageSize": 100},
    )
    by_zone = offerings("availability-zone-id")
    zone_types = {
        zone_id: frozenset(a["InstanceType"] for a in by_zone if a["Location"] == zone_id) for zone_id in zones
    }
    offered = sorted({name for names in zone_types.values() for name in names})
    region_wide = {answer["InstanceType"] for answer in offerings("region")}
    return RegionAnswers(
        zones=tuple(sorted(zones.items())),
        types=tuple(answer for answer in types if ACCELERATED.match(answer["InstanceType"])),
        zone_types=zone_types,
        zoneless=tuple(sorted(region_wide - set(offered))),
        spot=_spot_prices(ask, offered, set(zones.values()), now) if offered else {},
    )


def _spot_prices(ask: Any, types: Sequence[str], zone_names: set[str], now: datetime) -> dict[str, str]:
    """With `now` as beginning and end, EC2 answers the price that holds then, of each zone."""
    history = ask(
        "DescribeSpotPriceHistory", "SpotPriceHistory", InstanceTypes=list(types), ProductDescriptions=[SPOT_PRODUCT],
        StartTime=now, EndTime=now, PaginationConfig={"PageSize": 1000},
    )  # fmt: skip
    return median_by_type(
        entry
        for entry in history
        if entry["AvailabilityZone"] in zone_names and entry["ProductDescription"].startswith(SPOT_PRODUCT)
    )


def median_by_type(history: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The median over zones of each type's newest price in a zone; prices are the text that EC2 answers."""
    newest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for entry in history:
        key = entry["InstanceType"], entry["AvailabilityZone"]
        if key not in newest or entry["Timestamp"] > newest[key]["Timestamp"]:
            newest[key] = entry
    prices: dict[str, list[Decimal]] = {}
    for (name, _), entry in newest.items():
        prices.setdefault(name, []).append(Decimal(entry["SpotPrice"]))
    return {name: f"{statistics.median(found):.6f}" for name, found in sorted(prices.items())}
