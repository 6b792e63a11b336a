"""The catalogue's files from AWS's answers and from the catalogue that stands: pure, the same answers give the same bytes.

Owns what becomes of a region that was not asked for, of a type that AWS no longer has, and of an answer that is not
understood: it is left out and said. Leaves rows to `gpufleet.planner.catalog.build` and asking to `region` and `price_list`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gpufleet.planner.catalog import build
from gpufleet.refresh.region import RegionAnswers

TYPES_SOURCE = "DescribeInstanceTypes"
OFFERINGS_SOURCE = "DescribeInstanceTypeOfferings"
PRICES_SOURCE = (
    "AWS price list (on demand, Linux, shared tenancy); spot: DescribeSpotPriceHistory, median over the zones"
)
MIXED = "each region's file says its own"

REGION_TABLES = ("offers", "services")

Document = Mapping[str, Any]


class Answers(NamedTuple):
    """All that AWS said, and on which day (YYYY-MM-DD). Prices are USD as text, by region and by type or service."""

    regions: Mapping[str, RegionAnswers]
    on_demand: Mapping[str, Mapping[str, str]]
    services: Mapping[str, Mapping[str, str]]
    as_of: str


class Files(NamedTuple):
    """The text of every file that a refresh writes, by its name in the catalogue; what it left out, and why."""

    texts: Mapping[str, str]
    notes: tuple[str, ...]


def read_documents(directory: Path) -> dict[str, Document]:
    """The files of a whole catalogue, by name."""
    paths = [*directory.glob("*.json"), *(directory / "regions").glob("*.json")]
    return {path.relative_to(directory).as_posix(): json.loads(path.read_bytes()) for path in sorted(paths)}


def make_files(standing: Mapping[str, Document], answers: Answers) -> Files:
    """What changes: the regions that were asked, and the table of types."""
    notes: list[str] = []
    rows = _type_rows(standing, answers, notes)
    regions = {
        region: _region(region, found, answers, rows, standing.get(f"regions/{region}.json"), notes)
        for region, found in sorted(answers.regions.items())
    }
    kept = {
        document["region"]: document
        for name, document in standing.items()
        if name.startswith("regions/") and document["region"] not in regions
    }
    every = {**kept, **regions}
    offered = {name for document in every.values() for name in document["offers"]}
    old = standing["instance_types.json"]
    types = {name: rows[name] for name in sorted(offered)}
    table = {
        "source": TYPES_SOURCE,
        "asOf": answers.as_of,
        "offerings": _oldest(every, "asOf", OFFERINGS_SOURCE if not kept else MIXED),
        "prices": _oldest(every, "pricesAsOf", PRICES_SOURCE if not kept else MIXED),
        "instanceTypes": types,
        "retired": sorted({*old["retired"], *old["instanceTypes"]} - set(types)),
    }
    texts = {
        f"regions/{region}.json": build.render(document, one_per_line=REGION_TABLES)
        for region, document in regions.items()
    }
    texts["instance_types.json"] = build.render(table, one_per_line=("instanceTypes",))
    return Files(texts=texts, notes=tuple(notes))


def _oldest(regions: Mapping[str, Document], date: str, source: str) -> dict[str, str]:
    """A table that is spread over the regions is as old as the oldest of them."""
    return {"source": source, "asOf": min(document[date] for document in regions.values())}


# Types ------------------------------------------------------------------------------------------------------------


def _type_rows(standing: Mapping[str, Document], answers: Answers, notes: list[str]) -> dict[str, build.Row]:
    """The rows that stand, and over them those of every type that a region answered and that is understood."""
    gpus = standing["gpus.json"]["gpus"]
    families = {family for row in standing["quotas.json"]["quotas"] for family in row["families"]}
    rows: dict[str, build.Row] = {}
    refused: dict[str, str] = {}
    for region, found in sorted(answers.regions.items()):
        for answer in found.types:
            name = answer["InstanceType"]
            try:
                row = build.instance_type_row(answer, gpus)
            except (ValueError, KeyError) as error:
                refused[name] = str(error) if isinstance(error, ValueError) else f"{name}: EC2 answers no {error}"
                continue
            if name.split(".")[0] not in families:
                refused[name] = f"{name}: no quota of its family in quotas.json: add it"
                continue
            rows[name] = _merged(name, rows.get(name), row, region, notes)
    known: dict[str, build.Row] = standing["instance_types.json"]["instanceTypes"]
    for name, reason in sorted(refused.items()):
        notes.append(f"{'kept as it was' if name in known else 'left out'}: {reason}")
    return known | rows


def _merged(name: str, known: build.Row | None, row: build.Row, region: str, notes: list[str]) -> build.Row:
    """A type as two regions answer it: sold in any way that one of them has; anything else should be the same."""
    if known is None:
        return row
    options = sorted({*known["purchaseOptions"], *row["purchaseOptions"]})
    differing = [key for key in row if key != "purchaseOptions" and row[key] != known.get(key)]
    if differing:
        notes.append(
            f"{region} answers another {', '.join(differing)} of {name} than the regions before it; the first stands"
        )
    return known | {"purchaseOptions": options}


# Regions ----------------------------------------------------------------------------------------------------------


def _region(
    region: str,
    found: RegionAnswers,
    answers: Answers,
    rows: Mapping[str, build.Row],
    standing: Document | None,
    notes: list[str],
) -> Document:
    unknown = {name for names in found.zone_types.values() for name in names if name not in rows}
    notes += [f"left out: {name} in {region}, whose specification is not known" for name in sorted(unknown)]
    notes += [f"left out: {name}, which {region} offers in no zone of the account" for name in found.zoneless]
    zone_types = {zone: [name for name in names if name in rows] for zone, names in found.zone_types.items()}
    on_demand, services = (prices.get(region, {}) for prices in (answers.on_demand, answers.services))
    prices = {
        name: build.price_row(on_demand.get(name, ""), answers.as_of, found.spot.get(name, ""), answers.as_of)
        for name in {*on_demand, *found.spot}
    }
    service_rows = {name: {"usd": float(usd), "asOf": answers.as_of} for name, usd in sorted(services.items())}
    document = build.region_document(region, _zones(found, standing), zone_types, prices, service_rows)
    source = f"{OFFERINGS_SOURCE}; {PRICES_SOURCE}"
    return {"source": source, "asOf": answers.as_of, "pricesAsOf": answers.as_of, **document}


def _zones(found: RegionAnswers, standing: Document | None) -> list[list[str]]:
    """The zones; under the names that stand while the ids are the same: names differ from account to account, and whoever
    refreshes should not move the previews of the others."""
    new = [list(pair) for pair in found.zones]
    old = [list(pair) for pair in standing["zones"]] if standing else []
    return old if [zone_id for zone_id, _ in old] == [zone_id for zone_id, _ in new] else new


def unpriced(files: Files) -> Iterator[tuple[str, str]]:
    """(region, type) of every offer whose on-demand price AWS did not answer."""
    for name, text in sorted(files.texts.items()):
        if name.startswith("regions/"):
            document = json.loads(text)
            yield from ((document["region"], kind) for kind, row in document["offers"].items() if "onDemand" not in row)
