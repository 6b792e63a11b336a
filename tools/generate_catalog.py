"""Writes the generated files of the embedded catalogue. For maintainers; run from the repository's root:

    .venv/bin/python tools/generate_catalog.py

Reads AWS's own answers as packaged by moto (DescribeInstanceTypes and DescribeInstanceTypeOfferings of one
account) and a table of prices; writes `instance_types.json` and `regions/*.json`. `gpus.json` and `quotas.json`
are kept by hand. A second run writes the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpufleet.planner.catalog import build
from gpufleet.planner.catalog.storage import DATA_DIRECTORY

MOTO_PACKAGED = {"5.2.5": "2026-10-27"}
"""When each release of moto was packaged: the date of the answers in it. A newer release needs a line."""

PACKAGED = "as packaged by moto"
"""In the source of what this tool writes."""

PRICE_SOURCE = "AWS list prices as published by instances.vantage.sh; spot: median over availability zones"
GIVEN_PRICES = DATA_DIRECTORY / "sources" / "gpu_prices.csv"


def moto_answers() -> tuple[Path, str, str]:
    """Where moto keeps AWS's answers, what to cite, and their date."""
    import moto

    release = version("moto")
    if release not in MOTO_PACKAGED:
        raise SystemExit(f"moto {release}: add the date of its release to MOTO_PACKAGED in {__file__}")
    directory = Path(moto.__file__).parent / "ec2" / "resources"
    return directory, f"{PACKAGED} {release}", MOTO_PACKAGED[release]


def read_prices(path: Path) -> dict[str, dict[str, build.Row]]:
    """Price rows by region and type."""
    prices: dict[str, dict[str, build.Row]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            prices.setdefault(row["region"], {})[row["instance_type"]] = build.price_row(
                row["on_demand_usd_per_hour"],
                row["on_demand_as_of"],
                row["spot_usd_per_hour"],
                row["spot_as_of"],
            )
    return prices


def read_gzip(path: Path) -> Any:
    with gzip.open(path) as file:
        return json.load(file)


def types_by_location(path: Path) -> dict[str, list[str]]:
    """Types by zone, from an answer of DescribeInstanceTypeOfferings."""
    types: dict[str, list[str]] = {}
    for row in read_gzip(path):
        types.setdefault(row["Location"], []).append(row["InstanceType"])
    return types


def documents(price_file: Path) -> dict[str, str]:
    """The text of every generated file, by its path in the data directory."""
    directory, packaged, as_of = moto_answers()
    gpus = json.loads((DATA_DIRECTORY / "gpus.json").read_text())["gpus"]
    prices = read_prices(price_file)
    prices_as_of = max(p["onDemandAsOf"] for rows in prices.values() for p in rows.values() if "onDemandAsOf" in p)
    answers = read_gzip(directory / "instance_types.json.gz")
    types = {
        name: build.instance_type_row(answers[name], gpus) for name in sorted(answers) if build.ACCELERATED.match(name)
    }
    priced = {name for rows in prices.values() for name in rows if build.ACCELERATED.match(name)}
    offerings = {"source": f"DescribeInstanceTypeOfferings, {packaged}", "asOf": as_of}
    listed = {"source": PRICE_SOURCE, "asOf": prices_as_of}
    files = {
        "instance_types.json": build.render(
            {
                "source": f"DescribeInstanceTypes, {packaged}",
                "asOf": as_of,
                "offerings": offerings,
                "prices": listed,
                "instanceTypes": types,
                "retired": sorted(priced - set(types)),
            },
            one_per_line=("instanceTypes",),
        )
    }
    for path in sorted((directory / "instance_type_offerings" / "region").glob("*.json.gz")):
        region = path.name.removesuffix(".json.gz")
        by_id, by_name = (
            types_by_location(directory / "instance_type_offerings" / location / path.name)
            for location in ("availability-zone-id", "availability-zone")
        )
        document = build.region_document(region, build.pair_zones(by_id, by_name), by_id, prices.get(region, {}))
        files[f"regions/{region}.json"] = build.render(
            {
                "source": f"{offerings['source']}; {PRICE_SOURCE}",
                "asOf": as_of,
                "pricesAsOf": prices_as_of,
                **document,
            },
            one_per_line=("offers",),
        )
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the generated files of the embedded catalogue.")
    parser.add_argument("--prices", type=Path, default=GIVEN_PRICES, help="the price table (CSV)")
    parser.add_argument("--to", type=Path, default=DATA_DIRECTORY, help="the directory to write into")
    arguments = parser.parse_args()
    files = documents(arguments.prices)
    (arguments.to / "regions").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (arguments.to / name).write_text(text, encoding="utf-8")
    for stale in {p.name for p in (arguments.to / "regions").glob("*.json")} - {Path(n).name for n in files}:
        (arguments.to / "regions" / stale).unlink()
    print(f"{len(files)} files written to {arguments.to}")


if __name__ == "__main__":
    main()
