"""Traces that somebody else wrote, or that were cut off: replayed, or refused by file and line."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from tests.hostile.cases import counted, damaged, gpufleet

SPEEDS = ("--prefill-tokens-per-second", "8000", "--decode-tokens-per-second", "1500", "--max-concurrency", "8")
BINNED = "t_s,requests,input_tokens_sum,output_tokens_sum\n" + "".join(
    f"{10 * place},{3 + place % 4},{900 + 10 * place},{300 - place}\n" for place in range(18)
)
PER_REQUEST = "t_s,input_tokens,output_tokens\n" + "".join(
    f"{place * 1.7:.1f},{100 + place},{40}\n" for place in range(60)
)
NUMBERS = (
    "", " ", "-1", "nan", "inf", "-inf", "1e308", "1e400", "9" * 400, "1e15", "1e-300", "0", "0.5", "1_000", "٣", "0x10",
    "1,5", '"', "'", "=1+1", "\x00", "null", "1e6", "1e9",
)  # fmt: skip
PIECES = (
    b"\xff",
    b"\x00",
    b",",
    b"\n",
    b"\r",
    b'"',
    b"1e308",
    b"nan",
    b"\xef\xbb\xbf",
    b"9" * 200_000,
    b",,,,,,",
    b"-",
)


def replayed(path: Path, case: Random) -> None:
    """The command on it: an answer, or one error that names the file."""
    found = gpufleet(
        "simulate", "-s", "dev-us-east-1", "--trace", str(path), *SPEEDS, "--target-seconds", "5",
        *case.choice(((), ("--format", "json"), ("--streaming",))),
    )  # fmt: skip
    if not found.is_answer:
        assert str(path) in found.stderr + found.stdout
        assert len(found.stderr) < 60_000


@counted(250)
def test_a_trace_with_other_numbers(tmp_path: Path, case: Random) -> None:
    lines = [line.split(",") for line in case.choice((BINNED, PER_REQUEST)).splitlines()]
    for _ in range(case.randint(1, 3)):
        row = case.choice(lines)
        row[case.randrange(len(row))] = case.choice(NUMBERS)
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(map(",".join, lines)), encoding="utf-8")
    replayed(path, case)


@counted(250)
def test_a_trace_with_other_bytes(tmp_path: Path, case: Random) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(damaged(case.choice((BINNED, PER_REQUEST)).encode(), case, pieces=PIECES))
    replayed(path, case)


@pytest.mark.parametrize("text", [BINNED, PER_REQUEST], ids=["binned", "per-request"])
def test_the_traces_are_right_before_they_are_damaged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    found = gpufleet(
        "simulate", "-s", "dev-us-east-1", "--trace", str(path), *SPEEDS, "--target-seconds", "5", "--format", "json"
    )
    assert found.is_answer
    assert json.loads(found.stdout)
