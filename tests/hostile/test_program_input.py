"""Configurations that the program itself is given: a whole fleet, or an error before the first resource."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pulumi
import pytest
from pulumi.runtime.mocks import MockMonitor

from gpufleet.offline import run_program
from tests.hostile.cases import TEXTS, changed, counted
from tests.hostile.test_stack_files import FULL

SECTIONS = {f"gpufleet:{name}": section for name, section in FULL.items() if name != "region"}
CONFIG = {"aws:region": "us-east-1", **SECTIONS}
STACK = "test-us-east-1"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The type of every resource that the program registers, in whichever run."""
    types: list[str] = []
    register = MockMonitor.RegisterResource

    def noting(self: MockMonitor, request: Any) -> Any:
        types.append(request.type)
        return register(self, request)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(MockMonitor, "RegisterResource", noting)
    return types


def run(config: dict[str, Any], made: list[str]) -> bool:
    """Whether a fleet came of it; else nothing did."""
    made.clear()
    said, found = "", None
    try:
        found = run_program(STACK, config)
    except pulumi.RunError as error:
        said = str(error)
    if found is None:
        assert said.startswith(f"stacks/Pulumi.{STACK}.yaml:\n")
        assert "Traceback" not in said
        assert set(made) <= {"pulumi:pulumi:Stack"}, "a part of a fleet was made"
        return False
    assert {"aws:autoscaling/group:Group", "aws:lb/targetGroup:TargetGroup"} <= set(made)
    assert found.plan.refusals == ()
    return True


def test_the_configuration_is_right_before_it_is_damaged(made: list[str]) -> None:
    assert run(CONFIG, made)


def test_subnets_of_a_fleet_that_fits_nowhere_are_no_surprise(made: list[str]) -> None:
    """The program asks for them before it plans, and says then what is wrong."""
    assert not run({**CONFIG, "gpufleet:instance": {"maxPricePerHour": 0.01}}, made)


@counted(250)
def test_a_configuration_with_other_values_makes_all_or_nothing(made: list[str], case: Random) -> None:
    """As the engine hands it on: text stays text, everything else is JSON."""
    config = changed(CONFIG, case, most=2)
    run({key: "null" if value is None else value for key, value in config.items()}, made)


@counted(150)
def test_a_value_that_is_cut_off_makes_all_or_nothing(made: list[str], case: Random) -> None:
    """A section that reaches the program as text that is no JSON, or none of this section."""
    key = case.choice(list(CONFIG))
    text = json.dumps(CONFIG[key])
    place = case.randint(0, len(text))
    cut = case.choice(
        (text[:place], text[place:], text[:place] + case.choice(TEXTS) + text[place:], case.choice(TEXTS), "[" * 50_000)
    )
    run({**CONFIG, key: cut.replace("\0", "")}, made)
