"""Catalogues that somebody else wrote, or that were cut off: found whole, or refused by file and key."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.hostile.cases import VALUES, changed, counted, damaged, gpufleet
from tests.planner.catalog.directories import documents, write

REGION = "us-east-1"
DOCUMENT = {
    "region": REGION, "model": {"id": "Qwen/Qwen3-8B"}, "serving": {"image": "vllm/vllm-openai:v0.19.0"}, "scaling": {"min": 1, "max": 2},
}  # fmt: skip
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
    b"0",
)


@cache
def _small() -> str:
    """The embedded catalogue with one region and the types of four families, so that most changes matter."""
    files = documents(REGION)
    types = files["instance_types.json"]["instanceTypes"]
    kept = {name for name in types if name.partition(".")[0] in ("g6", "g5", "p4d", "g5g")}
    files["instance_types.json"]["instanceTypes"] = {name: row for name, row in types.items() if name in kept}
    offers = files[f"regions/{REGION}.json"]["offers"]
    files[f"regions/{REGION}.json"]["offers"] = {name: row for name, row in offers.items() if name in kept}
    return json.dumps(files)


def catalogue() -> dict[str, Any]:
    """Its files by name; the caller's own."""
    return json.loads(_small())  # type: ignore[no-any-return]


def asked(directory: Path, case: Random) -> None:
    """One of the commands that take a catalogue, against this one."""
    requirements = directory / "requirements.json"
    requirements.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    path = str(requirements)
    commands = (
        ("plan", "-f", path, "--format", "json"), ("plan", "-f", path), ("plan", "-f", path, "--all-regions"),
        ("plan", "-f", path, "--explain"),
        ("size", "-f", path), ("catalog", "show"), ("catalog", "show", "--region", REGION),
    )  # fmt: skip
    found = gpufleet(*case.choice(commands), "--catalog", str(directory))
    if not found.is_answer:
        assert "the catalogue in" in found.stderr + found.stdout or "error" in found.stderr + found.stdout
        assert len(found.stderr) < 60_000


@counted(700)
def test_a_catalogue_with_other_values(tmp_path: Path, case: Random) -> None:
    files = catalogue()
    name = case.choice(list(files))
    write(tmp_path, files | {name: changed(files[name], case)})
    asked(tmp_path, case)


@counted(300)
def test_a_row_with_other_values(tmp_path: Path, case: Random) -> None:
    """Of the types and offers that the plan is made of."""
    files = catalogue()
    types, offers = files["instance_types.json"]["instanceTypes"], files[f"regions/{REGION}.json"]["offers"]
    for rows in case.choice(((types,), (offers,), (types, offers))):
        row = rows[case.choice([name for name in rows if name.startswith("g6.")])]
        row[case.choice(list(row))] = case.choice((*VALUES, 10**9, 1e9, 1e-9, 1, 2))
    write(tmp_path, files)
    asked(tmp_path, case)


@counted(300)
def test_a_catalogue_with_other_bytes(tmp_path: Path, case: Random) -> None:
    files = catalogue()
    name = case.choice(list(files))
    write(tmp_path, files | {name: damaged(json.dumps(files[name]).encode(), case, pieces=PIECES)})
    asked(tmp_path, case)


def test_the_catalogue_is_right_before_it_is_damaged(tmp_path: Path) -> None:
    write(tmp_path, catalogue())
    path = tmp_path / "requirements.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    assert gpufleet("plan", "-f", str(path), "--catalog", str(tmp_path)).is_answer


@pytest.mark.parametrize("directory", ["/dev/null", "/", "nowhere", "", "a\nb", "x" * 5000, "/proc/self"])
def test_what_is_no_directory_of_a_catalogue(directory: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.json"
    path.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    found = gpufleet("plan", "-f", str(path), "--catalog", directory)
    assert found.status == 1
    assert "there is no catalogue in this directory" in found.stderr
