"""Which instance type: every offered type gets a verdict with its reason, the best fit is the choice.

Owns the ranking. Leaves to `evaluation` which types can serve at all, and to `stand_ins` which may take the choice's place.

Rank: the user's families in their order, then `instance.optimize`, then fewer idle GPUs, newer generation, name.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gpufleet.planner.candidates import Fit, Rejection, candidate, rejected
from gpufleet.planner.catalog import Offer
from gpufleet.planner.evaluation import Evaluator
from gpufleet.planner.plan import Candidate
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.stand_ins import stand_ins


class Selection(NamedTuple):
    """The choice, the types that may stand in for it, and a verdict on every offered type; also all that fit, in rank
    order, and all that do not."""

    choice: Fit
    fallbacks: tuple[Fit, ...]
    candidates: tuple[Candidate, ...]
    fits: tuple[Fit, ...]
    rejections: tuple[Rejection, ...]


def select(evaluator: Evaluator, offers: Sequence[Offer]) -> Selection | tuple[Rejection, ...]:
    """The best offered type under the ranking; where none can serve, every type with what rules it out."""
    requirements = evaluator.requirements
    fits, rejections = _evaluated(evaluator, offers)
    if not fits:
        return rejections
    choice = fits[0]
    fallbacks, possible = stand_ins(choice, fits[1:], evaluator.sizer)
    candidates = sorted(
        [
            candidate(choice, "choice", _choice_reason(requirements, choice)),
            *(candidate(f, "fallback", f"serves the same replica: {f.size.summary}") for f in fallbacks),
            *(candidate(f, "possible", reason) for f, reason in possible),
            *map(rejected, rejections),
        ],
        key=lambda c: c.type,
    )
    return Selection(
        choice=choice,
        fallbacks=tuple(fallbacks),
        candidates=tuple(candidates),
        fits=fits,
        rejections=rejections,
    )


def best_fit(evaluator: Evaluator, offers: Sequence[Offer]) -> Fit | None:
    """The choice among these offers alone, without its fallbacks and reasons."""
    fits, _ = _evaluated(evaluator, offers)
    return fits[0] if fits else None


def _evaluated(evaluator: Evaluator, offers: Sequence[Offer]) -> tuple[tuple[Fit, ...], tuple[Rejection, ...]]:
    """Those that can serve, the best first, and those that cannot."""
    outcomes = [evaluator.evaluate(offer) for offer in offers]
    fits = sorted((o for o in outcomes if isinstance(o, Fit)), key=_ranking(evaluator.requirements))
    return tuple(fits), tuple(o for o in outcomes if isinstance(o, Rejection))


def _ranking(requirements: Requirements) -> Callable[[Fit], tuple[object, ...]]:
    families = {family: place for place, family in reversed(list(enumerate(requirements.instance.families)))}
    per_replica = requirements.instance.optimize == "costPerReplica"

    def rank(fit: Fit) -> tuple[object, ...]:
        kind = fit.offer.instance_type
        price = fit.hourly_usd_per_replica if per_replica else fit.hourly_usd
        return (
            families.get(kind.family, len(families)),
            price is None,
            price or 0.0,
            fit.idle_gpus,
            -kind.generation,
            kind.name,
        )

    return rank


def _choice_reason(requirements: Requirements, choice: Fit) -> str:
    preferred = choice.offer.instance_type.family in requirements.instance.families
    if requirements.instance.type:
        why = "pinned by instance.type"
    elif choice.hourly_usd is None:
        why = "the only kind that fits; its price is unknown"
    else:
        what = "per replica " if requirements.instance.optimize == "costPerReplica" else ""
        scope = " of the first preferred family that fits" if preferred else " that fits"
        why = f"the lowest price {what}{scope.strip()}"
    return f"{why}; {choice.size.summary}"
