"""From the answers of `gpufleet init` to a stack file that has a plan.

Owns which keys the answers fill, and the proof: the text is read back, parsed and planned before anybody writes it. Leaves
its layout to `gpufleet.configuration.new_stack`.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from gpufleet.configuration.new_stack import stack_file_text
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.engines import VLLM
from gpufleet.planner.errors import PlanningError, Problem, RequirementError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from stacks.config import STACKS_DIRECTORY, read_stack_text

Answers = dict[str, Any]
"""By the dotted key of the requirements document. `environment` is a tag, and the first part of the stack's name."""

NO_TARGET = "none"
SMALLEST, LARGEST = 1, 2
"""Instances, where nobody says otherwise."""

ENVIRONMENT = r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}"
"""What file names, stacks, tags and dashboards all take."""

SCHEMA = STACKS_DIRECTORY / "stack.schema.json"

GATED_NOTE = "The model is gated on Hugging Face: an instance reads the token that its download needs when it boots."

_ELSEWHERE: Answers = {"model.id": "some/model", "model.parameters": "8B", "region": "us-east-1", "environment": "dev"}
"""In place of what is not known yet."""


class StackFile(NamedTuple):
    """The text of a stack file, and the plan that it has."""

    text: str
    plan: DeploymentPlan


def stack_name(answers: Answers) -> str:
    """`<env>-<region>`."""
    return f"{answers['environment']}-{answers['region']}"


def check_answers(answers: Answers, keys: Collection[str]) -> None:
    """Refuse what is wrong with these keys, whatever the others are; RequirementError with every problem."""
    whole = {**_ELSEWHERE, **answers}
    problems: list[Problem] = []
    if not re.fullmatch(ENVIRONMENT, whole["environment"]):
        problems.append(
            Problem(
                path="environment",
                message="no name for a stack",
                given=whole["environment"],
                allowed="up to 40 letters, digits, - and _; a letter or a digit first",
            )
        )
    for check in (lambda: load_catalog().require_region(whole["region"]), lambda: parse_requirements(document(whole))):
        try:
            check()
        except PlanningError as error:
            problems += error.problems
    wrong = {problem.path: problem for problem in problems if problem.path in keys}
    if wrong:
        raise RequirementError(wrong.values())


def stack_file(answers: Answers, target: Path | None) -> StackFile:
    """The file at `target`, or in stacks/ where there is none. PlanningError where it has no plan, or `up` would refuse it."""
    directory = target.parent if target else STACKS_DIRECTORY
    text = stack_file_text(
        document(answers),
        schema=Path(os.path.relpath(SCHEMA, directory)).as_posix(),
        notes={"serving.secrets": GATED_NOTE},
    )
    stack = target.name.removeprefix("Pulumi.").removesuffix(".yaml") if target else stack_name(answers)
    plan = plan_deployment(parse_requirements(read_stack_text(text, stack=stack, directory=directory)), load_catalog())
    refused = [Problem(n.path, n.message, next_step=n.next_step) for n in plan.notices if n.is_refusal]
    if refused:
        raise RequirementError(refused)
    return StackFile(text, plan)


def document(answers: Answers) -> dict[str, Any]:
    """The requirements document of the answers."""
    smallest = answers.get("scaling.min", SMALLEST)
    target = str(answers.get("scaling.latency.target", NO_TARGET))
    token = answers.get("serving.secrets.HF_TOKEN")
    return {
        "region": answers["region"],
        "model": _without_nones(
            id=answers["model.id"],
            parameters=_quantity(answers.get("model.parameters")),
            precision=answers.get("model.precision"),
        ),
        "serving": _without_nones(
            # Named, so that a newer gpufleet with another default does not roll the fleet.
            image=answers.get("serving.image", VLLM.image.format(version=VLLM.default_version)),
            secrets={"HF_TOKEN": token} if token else None,
            maxModelLen=answers.get("serving.maxModelLen"),
        ),
        "scaling": _without_nones(
            min=smallest,
            max=answers.get("scaling.max", max(LARGEST, smallest)),
            latency=None if target.lower() == NO_TARGET else {"target": _quantity(target)},
        ),
        "tags": {"environment": answers["environment"]},
    }


def _quantity(text: str | None) -> float | str | None:
    """A number where the text is one, so that the file has no quotes around it."""
    try:
        number = json.loads(text or "")
    except ValueError:
        return text
    return number if type(number) in (int, float) and math.isfinite(number) else text


def _without_nones(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
