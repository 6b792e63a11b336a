"""What this revision makes of its stacks, one line of JSON each: requirements, plan, resources, rendered files.

`python -m gpufleet.review.describe_stacks [STACK…]`, run in the project's directory. `gpufleet diff` runs it with each
side's own code. Leaves the format to `snapshot`. A stack that cannot be planned is a line with an error, and the others
follow all the same.
"""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi

from gpufleet.offline import ProgramRun, run_program, stack_config
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.naming import log_group_name
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from gpufleet.review.snapshot import VERSION
from stacks.config import read_stack_file, stack_file, stack_names
from templates.render import render_all

PROJECT = Path(__file__).resolve().parents[2]

PLAN_FILE = "plan.json"
"""Rendered too, but compared field by field."""


def main(stacks: list[str]) -> None:
    """Print the names of all stacks, then a snapshot of each that is asked for; of all where none is."""
    names = stack_names()
    lines = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # whatever else prints must not come between
        print(json.dumps({"version": VERSION, "stacks": names}), file=lines, flush=True)
        for name in (n for n in names if not stacks or n in stacks):
            print(json.dumps(snapshot(name), default=str), file=lines, flush=True)


def snapshot(stack: str) -> dict[str, Any]:
    """Everything that this revision says of a stack; with `error`, as far as it got."""
    found: dict[str, Any] = {"stack": stack}
    try:
        config = stack_config(stack)
        document = read_stack_file(stack_file(stack))
        found |= {"requirements": document, "provider": _provider(config)}
        found |= of_plan(plan_deployment(parse_requirements(document), load_catalog()))
        found |= of_run(run_program(stack, config))
    except PlanningError as error:
        found["error"] = error.in_source(error.source or f"stacks/Pulumi.{stack}.yaml").describe()
    except pulumi.RunError as error:
        found["error"] = str(error)
    except Exception as error:  # whatever is wrong with this revision's code is the answer
        found["error"] = _program_error(error)
    return found


def of_plan(plan: DeploymentPlan) -> dict[str, Any]:
    """The plan without an account, as `gpufleet plan` prints it."""
    return {"plan": plan.to_json_object()}


def of_run(run: ProgramRun) -> dict[str, Any]:
    """What a run of the program says of its stack."""
    files = render_all(run.plan, stack=run.stack, log_group=log_group_name(run.stack))
    return {
        "resources": [resource.to_json() for resource in run.resources],
        "outputs": dict(sorted(run.outputs.items())),
        "files": {name: text for name, text in sorted(files.items()) if name != PLAN_FILE},
    }


def _provider(config: Mapping[str, Any]) -> dict[str, Any]:
    """The stack file's keys for others than the program, such as `aws:defaultTags`; encrypted values stay hidden."""
    return {
        key: "(hidden)" if isinstance(value, Mapping) and "secure" in value else value
        for key, value in sorted(config.items())
        if not key.startswith("gpufleet:") and key != "aws:region"
    }


def _program_error(error: Exception) -> str:
    """One line: what went wrong in this revision's code, and where."""
    places = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PROJECT)
    ]
    where = f" ({Path(places[-1].filename).relative_to(PROJECT)}, line {places[-1].lineno})" if places else ""
    return f"the program fails: {type(error).__name__}: {' '.join(str(error).split())}{where}"


if __name__ == "__main__":
    main(sys.argv[1:])
