"""`gpufleet catalog show`: instance types with their offers in regions, or the GPU models; filtered and sorted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from gpufleet.commands.inputs import (
    catalog_option,
    complete_regions,
    errors_for_people,
    opened_catalog,
    print_error,
)
from gpufleet.planner.catalog import Catalog, InstanceType, Offer, load_catalog
from gpufleet.planner.units import MIB_PER_GIB


class Row(NamedTuple):
    """A type; with the region and its offer where regions were asked for, else in how many regions it is offered."""

    kind: InstanceType
    region: str = ""
    offer: Offer | None = None
    regions: int = 0

    @property
    def price(self) -> float | None:
        return self.offer.price.on_demand_usd_per_hour if self.offer else None

    @property
    def spot(self) -> float | None:
        return self.offer.price.spot_usd_per_hour if self.offer else None


def _or_last(value: float | None) -> float:
    return math.inf if value is None else value


ORDERS: Mapping[str, Callable[[Row], float | str]] = {
    "price": lambda row: _or_last(row.price),
    "spot": lambda row: _or_last(row.spot),
    "gpus": lambda row: row.kind.gpu_count * row.kind.gpu_fraction,
    "memory": lambda row: row.kind.usable_gpu_memory_mib * row.kind.gpu_count,
    "vcpu": lambda row: row.kind.vcpu,
    "name": lambda row: row.kind.name,
}
"""What rows are sorted by, ascending; a price that is unknown is last. `memory` is that of all GPUs together."""

OF_REGIONS = ("price", "spot")
"""Orders that need a region."""


class Filters(NamedTuple):
    """What a row must be; empty or None where it does not matter."""

    types: tuple[str, ...]
    families: tuple[str, ...]
    gpus: tuple[str, ...]
    architecture: str | None
    min_gpus: float
    min_gpu_memory_gib: float
    max_price: float | None
    selectable: bool

    def keep(self, row: Row) -> bool:
        kind, cap = row.kind, self.max_price
        return (
            (not self.types or kind.name in self.types)
            and (not self.families or kind.family in self.families)
            and (not self.gpus or kind.gpu.name in self.gpus)
            and self.architecture in (None, kind.architecture)
            and kind.gpu_count * kind.gpu_fraction >= self.min_gpus
            and kind.usable_gpu_memory_mib >= self.min_gpu_memory_gib * MIB_PER_GIB
            and (cap is None or (row.price is not None and row.price <= cap))
            and (kind.selectable or not self.selectable)
        )


def _completed(names: Callable[[Catalog], Sequence[str]]) -> Callable[..., list[str]]:
    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in names(load_catalog()) if name.casefold().startswith(incomplete.casefold())]

    return complete


def _repeatable(*names: str, metavar: str, complete: Callable[..., list[str]], words: str) -> Callable[..., Any]:
    return click.option(
        *names, metavar=metavar, multiple=True, shell_complete=complete, help=f"{words}; may be repeated."
    )


@click.command()
@_repeatable(
    "--region", "regions", metavar="REGION", complete=complete_regions, words="Offers, zones and prices of this region"
)
@click.option("--all-regions", is_flag=True, help="Offers of every region.")
@_repeatable(
    "--type", "types", metavar="TYPE", complete=_completed(lambda c: c.type_names), words="Only this instance type"
)
@_repeatable(
    "--family", "families", metavar="FAMILY", complete=_completed(lambda c: c.families), words="Only this family"
)
@_repeatable(
    "--gpu", "gpus", metavar="GPU", complete=_completed(lambda c: c.accelerator_names), words="Only types with this GPU"
)
@click.option("--architecture", type=click.Choice(["x86_64", "arm64"]), help="Only types with this CPU architecture.")
@click.option(
    "--min-gpus", metavar="COUNT", type=click.FloatRange(min=0), default=0, help="Only types with as many GPUs."
)
@click.option(
    "--min-gpu-memory", "min_gpu_memory_gib", metavar="GIB", type=click.FloatRange(min=0), default=0,
    help="Only GPUs with as much memory each, as the driver reports it (an A100-40GB has 39.4).",
)  # fmt: skip
@click.option(
    "--max-price", metavar="USD", type=click.FloatRange(min=0, min_open=True),
    help="Only offers that cost at most this per hour on demand; needs a region.",
)  # fmt: skip
@click.option("--selectable", is_flag=True, help="Only types that a plan may choose.")
@click.option(
    "--sort", type=click.Choice(list(ORDERS)), help="Ascending; defaults to price with a region, to name without."
)
@click.option("--gpus", "of_gpus", is_flag=True, help="The GPU models instead, with their data sheets.")
@catalog_option
@click.option(
    "--format", "output", type=click.Choice(["table", "json", "jsonl"]), default="table", help="Defaults to table."
)
def show(
    regions: tuple[str, ...],
    all_regions: bool,
    sort: str | None,
    of_gpus: bool,
    catalog_directory: Path | None,
    output: str,
    **filters: Any,
) -> None:
    """Instance types with their specifications, where they are offered and what they cost; or the GPU models.

    A price that is unknown is shown so and sorts last. Memory is per GPU, as the driver reports it.

    \b
    Examples:
      gpufleet catalog show
      gpufleet catalog show --region us-east-1 --gpu L4 --gpu A10G
      gpufleet catalog show --all-regions --type p5.48xlarge
      gpufleet catalog show --region eu-west-1 --min-gpu-memory 40 --max-price 10 --sort spot
      gpufleet catalog show --gpus --format json
    """
    wanted = Filters(**filters)
    if not (regions or all_regions) and (sort in OF_REGIONS or wanted.max_price is not None):
        asked = f"--sort {sort}" if sort in OF_REGIONS else "--max-price"
        raise click.UsageError(f"prices differ from region to region: {asked} needs --region or --all-regions")
    with errors_for_people(on_error=None if output == "table" else print_error):
        catalog = opened_catalog(catalog_directory)
        _require_known(catalog, wanted)
        if of_gpus:
            _show_gpus(catalog, wanted, output)
            return
        names = catalog.regions if all_regions else tuple(map(catalog.require_region, dict.fromkeys(regions)))
        found = [row for row in (_offers(catalog, names) if names else _types(catalog)) if wanted.keep(row)]
    order = ORDERS[sort or ("price" if names else "name")]
    found.sort(key=lambda row: (order(row), row.kind.name, row.region))
    _show_rows(catalog, found, names, output)


def _require_known(catalog: Catalog, wanted: Filters) -> None:
    for name in wanted.types:
        catalog.instance_type(name, path="--type")
    for name in wanted.families:
        catalog.require_family(name, path="--family")
    for name in wanted.gpus:
        catalog.gpu(name, path="--gpu")


def _types(catalog: Catalog) -> Iterator[Row]:
    offered = [offer.instance_type.name for region in catalog.regions for offer in catalog.offers(region)]
    for name in catalog.type_names:
        yield Row(catalog.instance_type(name), regions=offered.count(name))


def _offers(catalog: Catalog, regions: Sequence[str]) -> Iterator[Row]:
    for region in regions:
        yield from (Row(offer.instance_type, region=region, offer=offer) for offer in catalog.offers(region))


def _show_rows(catalog: Catalog, rows: Sequence[Row], regions: Sequence[str], output: str) -> None:
    from gpufleet.commands import catalog_table as shown

    if output == "table":
        click.echo(shown.offers_table(catalog, rows, regions) if regions else shown.types_table(catalog, rows))
    else:
        _print_json("types", [shown.type_json(row) for row in rows], catalog, output)


def _show_gpus(catalog: Catalog, wanted: Filters, output: str) -> None:
    from gpufleet.commands import catalog_table as shown

    gpus = [catalog.gpu(name) for name in catalog.accelerator_names if not wanted.gpus or name in wanted.gpus]
    if output == "table":
        click.echo(shown.gpus_table(catalog, gpus))
    else:
        _print_json("gpus", [shown.gpu_json(gpu) for gpu in gpus], catalog, output)


def _print_json(name: str, rows: Sequence[Mapping[str, Any]], catalog: Catalog, output: str) -> None:
    if output == "jsonl":
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    tables = {table: {"source": p.source, "asOf": p.as_of} for table, p in catalog.provenance.items()}
    click.echo(json.dumps({name: rows, "tables": tables}, indent=2, ensure_ascii=False))
