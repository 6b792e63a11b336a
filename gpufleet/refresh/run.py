"""A refresh from beginning to end: which regions, what is asked at the same time, and what is said meanwhile.

Leaves the questions to `region` and `price_list`, the files to `documents` and `write`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from typing import NamedTuple, TypeVar

from gpufleet.planner.errors import Problem, list_names, nearest
from gpufleet.refresh.account import Account, AwsError, ClosedRegionError
from gpufleet.refresh.documents import Answers
from gpufleet.refresh.price_list import SERVICES, Found, ask_instance_prices, ask_service_prices
from gpufleet.refresh.region import RegionAnswers, ask_region, opted_in_regions

AT_ONCE = 4
"""Calls in flight: EC2 and the price list take a few per second and account."""

NO_REGION = "AWS lets the account into none of these regions"

Progress = Callable[[str, int, int], None]
"""Is told what is being asked, how many of it are done, and how many there are."""

_K = TypeVar("_K")
_V = TypeVar("_V")


class Chosen(NamedTuple):
    """The regions that are asked, and why each other one is not."""

    regions: tuple[str, ...]
    notes: tuple[str, ...]


def choose_regions(account: Account, asked: Sequence[str], standing: Collection[str]) -> Chosen:
    """Those asked for, or all that the catalogue has; of them those that are enabled. AwsError where none is left."""
    known = opted_in_regions(account)
    for region in asked:
        if region not in known and region not in standing:
            near = nearest(region, {*known, *standing})
            raise AwsError(
                Problem("--region", "AWS tells the account of no such region", given=region,
                        allowed=list_names({*known, *standing}),
                        next_step=f"did you mean {' or '.join(near)}?" if near else "")
            )  # fmt: skip
    wanted = sorted(set(asked or standing))
    regions = tuple(region for region in wanted if known.get(region, False))
    notes = tuple(_not_asked(region, standing) for region in wanted if region not in regions)
    if not regions:
        raise AwsError(
            Problem("--region", NO_REGION, given=", ".join(wanted),
                    next_step="enable one (aws account enable-region), or name another; nothing was changed")
        )  # fmt: skip
    return Chosen(regions, notes)


def ask_aws(
    account: Account, chosen: Chosen, standing: Collection[str], now: datetime, progress: Progress
) -> tuple[Answers, tuple[str, ...]]:
    """Everything that AWS has to say of the regions, with what to tell the user of it."""
    regions, refused = _ask_regions(account, chosen.regions, now, progress)
    if not regions:
        raise AwsError(Problem("--region", NO_REGION, given=", ".join(refused)))
    types = sorted({name for found in regions.values() for names in found.zone_types.values() for name in names})
    names = tuple(regions)
    priced = _each(types, lambda name: ask_instance_prices(account, name, names), "prices of types", progress)
    services = _each(
        list(SERVICES), lambda name: ask_service_prices(account, name, names), "prices of services", progress
    )
    notes = [_not_asked(region, standing) for region in refused]
    notes += [line for found in (*priced.values(), *services.values()) for line in found.contradictions]
    answers = Answers(
        regions=regions,
        on_demand=_united(priced[name] for name in types),
        services=_united(services[name] for name in SERVICES),
        as_of=f"{now:%Y-%m-%d}",
    )
    return answers, tuple(notes)


def _not_asked(region: str, standing: Collection[str]) -> str:
    fate = "kept as it was" if region in standing else "left out"
    return f"{region} is {fate}: AWS does not let the account in there (not enabled, or denied by the organisation)"


def _ask_regions(
    account: Account, regions: Sequence[str], now: datetime, progress: Progress
) -> tuple[dict[str, RegionAnswers], list[str]]:
    """The answers of the regions; and those that turn out to be closed to the account."""

    def ask(region: str) -> RegionAnswers | None:
        try:
            return ask_region(account, region, now)
        except ClosedRegionError:
            return None

    found = _each(regions, ask, "regions", progress)
    answered = {region: answers for region in regions if (answers := found[region]) is not None}
    return answered, [region for region in regions if region not in answered]


def _each(keys: Sequence[_K], ask: Callable[[_K], _V], what: str, progress: Progress) -> dict[_K, _V]:
    """The answers by key, a few questions at once; the first failure ends it and drops what has not begun."""
    results: dict[_K, _V] = {}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        futures = {threads.submit(ask, key): key for key in keys}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                results[futures[future]] = future.result()
                progress(what, done, len(keys))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _united(found: Iterable[Found]) -> Mapping[str, Mapping[str, str]]:
    prices: dict[str, dict[str, str]] = {}
    for each in found:
        for region, of_region in each.prices.items():
            prices.setdefault(region, {}).update(of_region)
    return prices
