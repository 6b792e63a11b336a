"""`gpufleet plan --all-regions`: the same requirements in every region, ranked, as a table or as JSON.

Owns the rows. Leaves planning and the order to the planner's `regions`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from gpufleet.commands.layout import bullets, columns, indented, usd
from gpufleet.planner.catalog import Catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.regions import RegionPlan, plan_regions, region_keys
from gpufleet.planner.requirements import parse_requirements


def answer_regions(document: dict[str, Any], catalog: Catalog, output: str) -> NoReturn:
    """Print every region and end; exit status 1 where none can serve. A document may leave its region out.

    Raises:
        PlanningError: the document is wrong wherever it is planned.
    """
    requirements = parse_requirements({**document, "region": document.get("region") or catalog.regions[0]})
    rows = plan_regions(requirements, catalog)
    if all(row.error for row in rows):
        _raise_what_is_common(rows)
    own = region_keys(requirements) if document.get("region") else ()
    if output == "table":
        click.echo(_table(rows, own, requirements.region))
    elif output == "jsonl":
        for row in rows:
            click.echo(json.dumps(_as_json(row), ensure_ascii=False, default=str))
    else:
        answer = {"regionKeys": list(own), "regions": [_as_json(row) for row in rows]}
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False, default=str))
    raise SystemExit(int(all(row.error for row in rows)))


def _raise_what_is_common(rows: Sequence[RegionPlan]) -> None:
    """What every region says in the same words is wrong with the document, not with a region."""
    errors = [row.error for row in rows if row.error]
    if len({tuple(problem.message for problem in error.problems) for error in errors}) == 1:
        raise errors[0]


def _as_json(row: RegionPlan) -> dict[str, Any]:
    """A region under the names that a plan has; `error` where there is none."""
    plan, choice = row.plan, row.choice
    if plan is None or choice is None:
        return {"region": row.region, "error": None if row.error is None else _short(row.error)}
    return {
        "region": row.region,
        "type": plan.instance.type,
        "replicasPerInstance": plan.replicas_per_instance,
        "hourlyUsd": choice.hourly_usd,
        "spotHourlyUsd": choice.spot_hourly_usd,
        "availabilityZoneIds": list(plan.availability_zone_ids),
        "fallbacks": list(plan.fallbacks),
        "priceDate": plan.cost.price_date,
        "monthly": plan.cost.monthly.to_json_object(),
    }


def _short(error: PlanningError) -> dict[str, Any]:
    """An error without its candidates: each region has a hundred."""
    return {key: value for key, value in error.to_json().items() if key != "candidates"}


def _table(rows: Sequence[RegionPlan], own: Sequence[str], home: str) -> str:
    lines: list[tuple[str, ...]] = [
        ("REGION", "TYPE", "USD/H", "SPOT", "ZONES", "FALLBACKS", "USD/MONTH AT DESIRED", "PRICES OF")
    ]
    lines += [
        (
            row.region,
            row.plan.instance.type,
            usd(row.choice.hourly_usd, 4),
            usd(row.choice.spot_hourly_usd, 4),
            str(len(row.plan.availability_zone_ids)),
            str(len(row.plan.fallbacks)),
            usd(row.plan.cost.monthly.desired, 2),
            row.plan.cost.price_date or "unknown",
        )
        for row in rows
        if row.plan and row.choice
    ]
    sections = [columns(lines, right={2, 3, 4, 5, 6})] if len(lines) > 1 else []
    cannot: dict[str, list[str]] = {}
    for row in rows:
        if row.error:
            why = row.error.problems[0].message.replace(row.region, "the region")
            cannot.setdefault(why, []).append(row.region)
    if cannot:
        reasons = (f"{', '.join(regions)}: {why}" for why, regions in cannot.items())
        sections.append("Cannot\n" + indented(bullets(reasons)))
    if own:
        sections.append(f"Good in {home} only, and to be given anew in another region: {', '.join(own)}")
    return "\n\n".join(sections)
