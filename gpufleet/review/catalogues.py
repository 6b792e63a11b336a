"""Two catalogues side by side: types, GPUs, offerings, zones, prices; and what each makes of the stacks.

Owns what counts as a difference between catalogues. Leaves where they come from to `catalogue_sides`, what a stack needs to the
stack files of this checkout, and printing to the command.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpufleet.planner.catalog import SERVICES, Catalog, Offer, ServicePrice
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from gpufleet.review.changes import Change, changes

ON_DEMAND, SPOT, SERVICE = "on demand", "spot", "service"


class RowChange(NamedTuple):
    """A type or a GPU that came, went, or has other values."""

    name: str
    change: str
    """`added`, `removed` or `changed`."""
    values: tuple[Change, ...] = ()


class OfferChange(NamedTuple):
    """A type that a region offers or not any more, or in other zones. The zones are those that came and went."""

    region: str
    type: str
    change: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]


class PriceMove(NamedTuple):
    """A price in USD that is another one; None is unknown."""

    region: str
    name: str
    kind: str
    before: float | None
    after: float | None

    @property
    def percent(self) -> float | None:
        """By how much it moved; None where one side is unknown."""
        return None if self.before is None or self.after is None else 100 * (self.after / self.before - 1)

    @property
    def size(self) -> float:
        """Doubling and halving are as large a move; one from or to unknown is the smallest."""
        return 0.0 if self.before is None or self.after is None else abs(math.log(self.after / self.before))


class Choice(NamedTuple):
    """What a catalogue makes of a stack: the type and its price per hour, or why there is none."""

    type: str | None
    usd_per_hour: float | None
    error: str


class StackChoice(NamedTuple):
    """A stack for which the two catalogues differ."""

    stack: str
    before: Choice
    after: Choice

    @property
    def moves(self) -> bool:
        """Whether it would run on another type, or not at all."""
        return self.before.type != self.after.type


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueComparison:
    """Everything that differs; all of it empty where nothing does."""

    regions_added: tuple[str, ...]
    regions_removed: tuple[str, ...]
    types: tuple[RowChange, ...]
    gpus: tuple[RowChange, ...]
    offers: tuple[OfferChange, ...]
    prices: tuple[PriceMove, ...]
    """The largest moves first."""
    stacks: tuple[StackChoice, ...]
    """Those that would choose otherwise first."""

    @property
    def moved(self) -> tuple[StackChoice, ...]:
        """The stacks that would choose otherwise."""
        return tuple(stack for stack in self.stacks if stack.moves)


def compare_catalogues(
    before: Catalog, after: Catalog, stacks: Mapping[str, Callable[[], dict[str, Any]]]
) -> CatalogueComparison:
    """What differs; `stacks` reads the requirements document of each stack."""
    regions = sorted(set(before.regions) & set(after.regions))
    moves = [move for region in regions for move in _price_moves(region, before, after)]
    choices = (StackChoice(name, _choice(read, before), _choice(read, after)) for name, read in stacks.items())
    return CatalogueComparison(
        regions_added=tuple(sorted(set(after.regions) - set(before.regions))),
        regions_removed=tuple(sorted(set(before.regions) - set(after.regions))),
        types=tuple(_rows(_types(before), _types(after))),
        gpus=tuple(_rows(_gpus(before), _gpus(after))),
        offers=tuple(change for region in regions for change in _offer_changes(region, before, after)),
        prices=tuple(sorted(moves, key=lambda move: (-move.size, move.region, move.name, move.kind))),
        stacks=tuple(
            sorted((c for c in choices if c.before != c.after), key=lambda choice: (not choice.moves, choice.stack))
        ),
    )


# Tables -----------------------------------------------------------------------------------------------------------


def _types(catalog: Catalog) -> dict[str, dict[str, Any]]:
    """Specifications by name, the GPU by its name and the quota by its codes."""
    kinds = map(catalog.instance_type, catalog.type_names)
    return {kind.name: kind._asdict() | {"gpu": kind.gpu.name, "quota": kind.quota._asdict()} for kind in kinds}


def _gpus(catalog: Catalog) -> dict[str, dict[str, Any]]:
    return {name: catalog.gpu(name)._asdict() for name in catalog.accelerator_names}


def _rows(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[RowChange]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield RowChange(name, "added")
        elif name not in after:
            yield RowChange(name, "removed")
        elif before[name] != after[name]:
            yield RowChange(name, "changed", changes(before[name], after[name]))


# Regions ----------------------------------------------------------------------------------------------------------


def _offers(region: str, catalog: Catalog) -> dict[str, Offer]:
    return {offer.instance_type.name: offer for offer in catalog.offers(region)}


def _offer_changes(region: str, before: Catalog, after: Catalog) -> Iterator[OfferChange]:
    old, new = _offers(region, before), _offers(region, after)
    for name in sorted({*old, *new}):
        was, is_ = (set(offers[name].availability_zone_ids if name in offers else ()) for offers in (old, new))
        change = "added" if name not in old else "removed" if name not in new else "zones"
        if was != is_:
            yield OfferChange(region, name, change, tuple(sorted(is_ - was)), tuple(sorted(was - is_)))


def _price_moves(region: str, before: Catalog, after: Catalog) -> Iterator[PriceMove]:
    """Of what both offer, and of the services."""
    old, new = _offers(region, before), _offers(region, after)
    for name in sorted(set(old) & set(new)):
        for kind, field in ((ON_DEMAND, "on_demand_usd_per_hour"), (SPOT, "spot_usd_per_hour")):
            was, is_ = (getattr(offers[name].price, field) for offers in (old, new))
            if was != is_:
                yield PriceMove(region, name, kind, was, is_)
    for name in SERVICES:
        was, is_ = (_usd(catalog.service_price(region, name)) for catalog in (before, after))
        if was != is_:
            yield PriceMove(region, name, SERVICE, was, is_)


def _usd(price: ServicePrice | None) -> float | None:
    return None if price is None else price.usd


# Stacks -----------------------------------------------------------------------------------------------------------


def _choice(read: Callable[[], dict[str, Any]], catalog: Catalog) -> Choice:
    try:
        plan = plan_deployment(parse_requirements(read()), catalog)
    except PlanningError as error:
        return Choice(None, None, error.problems[0].describe().splitlines()[0])
    return Choice(plan.instance.type, _chosen_price(plan), "")


def _chosen_price(plan: DeploymentPlan) -> float | None:
    return next(candidate.hourly_usd for candidate in plan.candidates if candidate.type == plan.instance.type)
