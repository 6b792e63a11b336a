"""AWS's price list: what instance types, and the services that a stack uses, cost on demand.

Owns which products are asked for and how the price is read out of one. Where several products answer the same question with
different prices, the price is unknown and said so. The shape of a product: AWS Billing, "Understanding the price list".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from gpufleet.refresh.account import HOME_REGION, Account

Product = Mapping[str, Any]

INSTANCE_FILTERS = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}


class Found(NamedTuple):
    """Prices in USD as text, by region and name; and what several products answer differently."""

    prices: Mapping[str, Mapping[str, str]]
    contradictions: tuple[str, ...]


class Service(NamedTuple):
    """How a service's price is found: the products of a service code, by attributes and the end of their usage type, which
    begins with a code of the region in most regions (`EU-`, `USW2-`)."""

    code: str
    filters: Mapping[str, str]
    usage_type: str
    units: frozenset[str]

    def is_meant(self, product: Product) -> bool:
        """Whether it is the product itself, and not a like one (reserved, of an outpost, of a trust store)."""
        used = product["product"]["attributes"].get("usagetype", "")
        return re.fullmatch(rf"((EU|[A-Z]{{3,4}}\d)-)?{self.usage_type}", used) is not None


HOURS, GB = frozenset({"Hrs"}), frozenset({"GB"})

SERVICES: Mapping[str, Service] = {
    "ebsGp3GbMonth": Service(
        "AmazonEC2", {"productFamily": "Storage", "volumeApiName": "gp3"}, r"EBS:VolumeUsage\.gp3", frozenset({"GB-Mo"})
    ),
    "loadBalancerHour": Service("AWSELB", {"productFamily": "Load Balancer-Application"}, "LoadBalancerUsage", HOURS),
    "loadBalancerLcuHour": Service(
        "AWSELB", {"productFamily": "Load Balancer-Application"}, "LCUUsage", HOURS | {"LCU-Hrs"}
    ),
    "natGatewayHour": Service("AmazonEC2", {"productFamily": "NAT Gateway"}, "NatGateway-Hours", HOURS),
    "natGatewayGb": Service("AmazonEC2", {"productFamily": "NAT Gateway"}, "NatGateway-Bytes", GB),
    "logsIngestGb": Service("AmazonCloudWatch", {"productFamily": "Data Payload"}, "DataProcessing-Bytes", GB),
    "publicIpv4Hour": Service("AmazonVPC", {"group": "VPCPublicIPv4Address"}, "PublicIPv4:InUseAddress", HOURS),
}
"""By the names of the catalogue."""


def ask_instance_prices(account: Account, name: str, regions: Collection[str]) -> Found:
    """What an instance type costs per hour: Linux, shared tenancy, on demand."""
    products = _ask(account, "AmazonEC2", {"instanceType": name, **INSTANCE_FILTERS}, regions)
    return _by_region(name, products, regions, HOURS, lambda product: True)


def ask_service_prices(account: Account, name: str, regions: Collection[str]) -> Found:
    """What a service costs."""
    service = SERVICES[name]
    products = _ask(account, service.code, service.filters, regions)
    return _by_region(name, products, regions, service.units, service.is_meant)


def _ask(account: Account, code: str, filters: Mapping[str, str], regions: Collection[str]) -> Iterator[Product]:
    """One question for all regions, or for the one; an answer is a product as JSON in a string."""
    wanted = dict(filters) | ({"regionCode": next(iter(regions))} if len(regions) == 1 else {})
    terms = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    answers = account.ask(
        "pricing", HOME_REGION, "GetProducts", "PriceList", ServiceCode=code, Filters=terms, FormatVersion="aws_v1",
        PaginationConfig={"PageSize": 100},
    )  # fmt: skip
    return (json.loads(answer) for answer in answers)


def _by_region(
    name: str,
    products: Iterable[Product],
    regions: Collection[str],
    units: Collection[str],
    is_meant: Callable[[Product], bool],
) -> Found:
    found: dict[str, set[Decimal]] = {}
    for product in products:
        attributes = product["product"]["attributes"]
        region = attributes.get("regionCode")
        if region in regions and attributes.get("locationType") == "AWS Region" and is_meant(product):
            price = first_price(product, units)
            if price is not None:
                found.setdefault(region, set()).add(price)
    return Found(
        prices={region: {name: f"{min(prices):f}"} for region, prices in found.items() if len(prices) == 1},
        contradictions=tuple(
            f"{region}: the price list has several prices of {name}: {', '.join(f'{p:f}' for p in sorted(prices))}"
            for region, prices in sorted(found.items())
            if len(prices) > 1
        ),
    )


def first_price(product: Product, units: Collection[str]) -> Decimal | None:
    """The on-demand price in USD of the first tier that costs something; None where there is none in these units."""
    tiers = []
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = _usd(dimension)
            if price is not None and dimension["unit"] in units:
                tiers.append((Decimal(dimension.get("beginRange") or 0), price))
    return min(tiers)[1] if tiers else None


def _usd(dimension: Mapping[str, Any]) -> Decimal | None:
    try:
        price = Decimal(dimension["pricePerUnit"]["USD"])
    except (KeyError, InvalidOperation):
        return None
    return price if price > 0 else None
