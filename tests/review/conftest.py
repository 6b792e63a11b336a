"""Both sides of a comparison, made by the real planner and the real program in this process."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from gpufleet.offline import run_program
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from gpufleet.review.compare import compare
from gpufleet.review.comparison import StackComparison
from gpufleet.review.describe_stacks import of_plan, of_run
from gpufleet.review.sides import Side
from gpufleet.review.snapshot import Snapshot, read_snapshot
from stacks.config import STACKS_DIRECTORY, to_document
from tests.repository import copy_project
from tests.review.history import History, write_history

STACK = "test-us-east-1"
MODEL = {"id": "Qwen/Qwen3-8B", "precision": "fp16"}
BASE: dict[str, Any] = {"model": MODEL, "scaling": {"min": 1, "max": 4}}


def snapshot(**sections: Any) -> Snapshot:
    """The snapshot of a small stack with these sections; memoised, for nothing in it changes."""
    return _snapshot(json.dumps({**BASE, **sections}))


@cache
def _snapshot(sections: str) -> Snapshot:
    config = {"aws:region": "us-east-1", **{f"gpufleet:{name}": value for name, value in json.loads(sections).items()}}
    document = to_document(config, stack=STACK, directory=STACKS_DIRECTORY)
    plan = plan_deployment(parse_requirements(document), load_catalog())
    return read_snapshot({"requirements": document, **of_plan(plan), **of_run(run_program(STACK, config))})


def side(label: str, **stacks: Snapshot) -> Side:
    """A side with these stacks."""
    named = {name.replace("_", "-"): value for name, value in stacks.items()}
    return Side(label=label, stacks=named, known=tuple(named), requirements_lock="")


def compared(before: Snapshot | None, after: Snapshot | None, *, min_headroom_percent: float = 5) -> StackComparison:
    """One stack on both sides."""
    sides = (
        side(label, **({} if one is None else {"stack": one})) for label, one in (("base", before), ("head", after))
    )
    [result] = compare(*sides, min_headroom_percent=min_headroom_percent).stacks
    return result


@pytest.fixture(scope="session")
def plain() -> Snapshot:
    """The small stack as it is."""
    return snapshot()


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """The repository with eleven commits; nothing in it is changed by a test."""
    return write_history(copy_project(tmp_path_factory.mktemp("history") / "project"))
