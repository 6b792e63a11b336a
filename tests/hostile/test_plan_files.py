"""Plan files that were edited, cut or made up: compared, or refused in one message that names the file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from gpufleet.planner.plan import DeploymentPlan
from stacks.config import stack_names
from tests.hostile.cases import Outcome, changed, counted, damaged, gpufleet, places

PIECES = (
    b"null",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"1e999",
    b"NaN",
    b"-1",
    b"9" * 5000,
    b"\xff",
    b"\x00",
    b'"\\ud800"',
    b"[" * 3000,
)


@cache
def plan_text(stack: str) -> str:
    """What `gpufleet plan` writes."""
    return gpufleet("plan", "-s", stack, "--format", "json").stdout


@cache
def preview_text(stack: str) -> str:
    """What `gpufleet preview` writes: the plan, its resources and files."""
    return gpufleet("preview", "-s", stack, "--format", "json").stdout


def compared(before: Path, after: Path, case: Random) -> Outcome:
    """The comparison of two plan files, whichever of them is broken."""
    sides = [str(before), str(after)]
    case.shuffle(sides)
    found = gpufleet("diff", *sides, "--format", case.choice(("json", "markdown", "table")))
    assert found.is_answer or str(after) in found.stderr or "error: " in found.stderr
    return found


def _write(path: Path, content: Any) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@counted(500)
def test_a_plan_with_other_values(tmp_path: Path, case: Random) -> None:
    text = plan_text(case.choice(stack_names()))
    before = _write(tmp_path / "before.json", text.encode())
    compared(before, _write(tmp_path / "after.json", changed(json.loads(text), case)), case)


@counted(300)
def test_a_plan_with_other_bytes(tmp_path: Path, case: Random) -> None:
    raw = plan_text(case.choice(stack_names())).encode()
    compared(
        _write(tmp_path / "before.json", raw), _write(tmp_path / "after.json", damaged(raw, case, pieces=PIECES)), case
    )


@counted(200)
def test_a_preview_with_other_values(tmp_path: Path, case: Random) -> None:
    document = json.loads(preview_text("dev-us-east-1"))
    broken = changed(document, case)
    if case.random() < 0.5:  # most of a preview is deep in it: break what stands at its top, too
        top = case.choice(list(document))
        broken = {**broken, top: changed({top: document[top]}, case, most=1).get(top)}
    compared(_write(tmp_path / "before.json", document), _write(tmp_path / "after.json", broken), case)


@counted(600)
def test_a_plan_is_read_back_or_refused(case: Random) -> None:
    """`from_json` promises pydantic's error, and that what it reads is written as it was."""
    text = plan_text(case.choice(stack_names()))
    document = changed(json.loads(text), case, most=2)
    raw = json.dumps(document)
    if case.random() < 0.3:
        raw = damaged(raw.encode(), case, pieces=PIECES).decode("utf-8", "replace")
    try:
        plan = DeploymentPlan.from_json(raw)
    except ValidationError:
        return
    assert DeploymentPlan.from_json(plan.to_json()) == plan


def test_every_value_of_a_plan_is_needed() -> None:
    """None of them has a default that an older or a cut file would get unseen."""
    document = json.loads(plan_text("dev-us-east-1"))
    assert len(list(places(document))) > 300
    for name in document:
        with pytest.raises(ValidationError):
            DeploymentPlan.from_json(json.dumps({key: value for key, value in document.items() if key != name}))


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"{}", b'{"schemaVersion": 1}', b'{"plan": 1}', b"\xff", b"[" * 10**5, b"1" * 9000]
)
def test_what_is_no_plan_at_all(content: bytes, tmp_path: Path) -> None:
    before = _write(tmp_path / "before.json", plan_text("dev-us-east-1").encode())
    after = _write(tmp_path / "after.json", content)
    found = gpufleet("diff", str(before), str(after))
    assert found.status == 1
    assert str(after) in found.stderr
