"""`gpufleet size` as a user runs it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gpufleet.cli import main
from gpufleet.planner.catalog import load_catalog
from stacks.config import stack_names

GOOD = {"model": {"id": "Qwen/Qwen3-8B"}, "gpu": {"name": "L4"}}


def run(*args, **kwargs):
    return CliRunner().invoke(main, ["size", *args], **kwargs)


@pytest.mark.parametrize("stack", stack_names())
def test_a_stack_on_every_card(stack):
    result = run("-s", stack)
    assert result.exit_code == 0, result.output
    sizes = json.loads(run("-s", stack, "--format", "json").stdout)["sizes"]
    assert {size["gpu"]["name"] for size in sizes} == set(load_catalog().gpu_names)
    for size in sizes:
        [line] = [row for row in result.stdout.splitlines() if row.startswith(f"  {size['gpu']['name']}  ")]
        assert (" yes " if size["fits"] else " no ") in line


def test_one_card_part_by_part():
    table = run("-s", "dev-us-east-1", "--gpu", "L4").stdout
    found = json.loads(run("-s", "dev-us-east-1", "--gpu", "L4", "--format", "json").stdout)
    for name in ("weightsGiB", "activationsGiB", "totalGiB", "kvCacheGiB", "budgetGiB", "usableGiB"):
        assert f"{found['memory']['perGpu'][name]:.2f}" in table
    assert f"{found['memory']['kvCacheTokens']:,} tokens" in table
    assert found["reasons"][0] in table


def test_a_card_by_its_memory():
    found = json.loads(run("-s", "dev-us-east-1", "--gpu-memory-mib", "22579", "--format", "jsonl").stdout)
    assert found["gpu"] == {"name": "L4", "memoryMiB": 22579}


def test_a_batch_answers_every_line_and_fails_at_the_end():
    lines = [
        json.dumps(GOOD),
        "{",
        json.dumps({"model": {"id": "Qwen/Qwen3-8B"}}),
        json.dumps({**GOOD, "model": {"id": "a/b"}}),
    ]
    result = run("--batch", "-", input="\n".join(lines))
    assert result.exit_code == 1
    first, *rest = [json.loads(line) for line in result.stdout.splitlines()]
    assert first["fits"] is True
    assert [answer["error"]["path"] for answer in rest] == ["", "gpu", "model.parameters"]


def test_an_option_names_the_card_of_a_whole_batch():
    result = run("--batch", "-", "--gpu", "H100", input=json.dumps({"model": {"id": "Qwen/Qwen3-8B"}}))
    assert json.loads(result.stdout)["gpu"]["name"] == "H100"


@pytest.mark.parametrize(
    ("args", "status"), [((), 2), (("-s", "a", "-f", "b"), 2), (("-s", "dev-us-east-1", "--gpu", "L5"), 1)]
)
def test_wrong_calls_end_in_one_message(args, status):
    result = run(*args)
    assert result.exit_code == status
    assert "Traceback" not in result.output
