"""Why nothing fits, and the smallest changes that would make something fit.

Owns the nearest misses and the trying of changes. Leaves to `remedies` which changes are worth trying. Imported only when
nothing fits: a remedy is told only after the type was evaluated again under it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from gpufleet.planner.candidates import Fit, Rejection, rejected, shortfall
from gpufleet.planner.catalog import Catalog
from gpufleet.planner.errors import NothingFitsError, Problem
from gpufleet.planner.evaluation import Evaluator
from gpufleet.planner.remedies import Change, single_changes
from gpufleet.planner.selection import best_fit

MISSES_SHOWN = 3

_T = TypeVar("_T")


class ElsewhereFit(NamedTuple):
    """Another region in which the same requirements would be served."""

    region: str
    fit: Fit


class _Remedy(NamedTuple):
    """A change that was tried and lets the type in."""

    rejection: Rejection
    change: Change


def nothing_fits(
    evaluator: Evaluator, rejections: Sequence[Rejection], elsewhere: ElsewhereFit | None
) -> NothingFitsError:
    """The nearest misses: those that one change would let in, the mildest and cheapest first, or the smallest shortfalls."""
    requirements = evaluator.requirements
    remedies = sorted(
        _remedies(evaluator, rejections),
        key=lambda r: (r.change.order, _price(r.rejection), r.rejection.offer.instance_type.name),
    )
    told = _first_of_each(remedies, lambda r: r.change.text.split(" to ")[0])[:MISSES_SHOWN]
    pin = requirements.instance.type
    asked = [r for r in rejections if pin in (None, r.offer.instance_type.name)]
    misses = [r.rejection for r in told] or _first_of_each(
        sorted(asked, key=shortfall), lambda r: (r.offer.instance_type.gpu.name, r.reason)
    )[:MISSES_SHOWN]
    steps = [f"{r.change.text} (then {r.rejection.offer.instance_type.name} serves it)" for r in told]
    if elsewhere:
        price = elsewhere.fit.hourly_usd
        costs = "at an unknown price" if price is None else f"at {price:.4f} USD per hour"
        steps.append(f"take the region {elsewhere.region} (there {elsewhere.fit.name} serves it as it is, {costs})")
    return NothingFitsError(
        Problem(
            path="instance.type" if requirements.instance.type else "model",
            message=_message(requirements.region, misses),
            given=requirements.instance.type or requirements.model.id,
            allowed="a type that the region offers and that holds a replica",
            next_step="; or ".join(steps)
            or "no single change of the requirements makes a type fit in any region: take a smaller model",
            candidates=tuple(
                c.model_dump(by_alias=True, mode="json")
                for c in sorted(map(rejected, rejections), key=lambda c: c.type)
            ),
        )
    )


def _message(region: str, misses: Sequence[Rejection]) -> str:
    if not misses:
        return f"{region} offers no accelerated instance type"
    nearest = "; ".join(f"{miss.offer.instance_type.name}: {miss.reason}" for miss in misses)
    return f"no instance type that {region} offers can serve this; the nearest: {nearest}"


def elsewhere(evaluator: Evaluator, catalog: Catalog) -> ElsewhereFit | None:
    """The cheapest region that serves the same requirements: one of the same continent, if there is any. Zones of an account
    are not known there."""
    here = evaluator.requirements.region
    others = [region for region in catalog.regions if region != here]
    found = [
        ElsewhereFit(region, fit)
        for region in others
        if (fit := best_fit(evaluator.without_account(), catalog.offers(region)))
    ]

    def order(other: ElsewhereFit) -> tuple[bool, bool, float, str]:
        price = other.fit.hourly_usd
        return _continent(other.region) != _continent(here), price is None, price or 0.0, other.region

    return min(found, key=order, default=None)


def _continent(region: str) -> str:
    return region.split("-")[0]


def _remedies(evaluator: Evaluator, rejections: Sequence[Rejection]) -> Iterable[_Remedy]:
    """For each type the mildest single change under which it is no longer rejected."""
    changed: dict[str, Evaluator | None] = {}

    def under(change: Change) -> Evaluator | None:
        if change.text not in changed:
            tried = evaluator.under(change.requirements)
            changed[change.text] = tried if tried.sizer.loads() else None
        return changed[change.text]

    for rejection in rejections:
        for change in single_changes(evaluator.requirements, rejection.offer, evaluator.sizer.max_model_len):
            tried = under(change)
            if tried and isinstance(tried.evaluate(rejection.offer), Fit):
                yield _Remedy(rejection, change)
                break


def _price(rejection: Rejection) -> float:
    return float("inf") if rejection.hourly_usd is None else rejection.hourly_usd


def _first_of_each(items: Sequence[_T], kind: Callable[[_T], object]) -> list[_T]:
    seen: dict[object, _T] = {}
    for item in items:
        seen.setdefault(kind(item), item)
    return list(seen.values())
