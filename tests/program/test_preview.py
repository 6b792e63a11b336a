"""`gpufleet preview`: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpufleet import offline
from gpufleet.cli import main
from gpufleet.commands.preview import IMPORTANT_PROPERTIES, short_type
from stacks.config import stack_names
from tests.program.conftest import shipped

ROOT = Path(__file__).resolve().parents[2]


def preview(*arguments):
    return CliRunner().invoke(main, ["preview", *arguments])


@pytest.mark.parametrize("stack", stack_names())
def test_shows_the_plan_and_every_resource(stack):
    result = preview("-s", stack)
    assert result.exit_code == 0, result.output
    shown = json.loads(preview("-s", stack, "--format", "json").stdout)
    assert shown["plan"]["instance"]["type"] in result.stdout
    for resource in shown["resources"]:
        assert f"{short_type(resource['type'])}  {resource['name']}\n" in result.stdout
    for name in shown["outputs"]:
        assert f"  {name}: " in result.stdout
    assert "imageId: ami-00000000000000000 (placeholder offline)" in result.stdout


def test_user_data_is_a_size_and_a_hash():
    shown = json.loads(preview("-s", "dev-us-east-1", "--format", "json").stdout)
    template = next(r for r in shown["resources"] if r["type"] == "aws:ec2/launchTemplate:LaunchTemplate")
    assert re.fullmatch(r"[\d,]+ bytes, sha256 [0-9a-f]{64}", template["inputs"]["userData"])


def test_the_same_in_another_process_without_credentials_or_a_cli(tmp_path):
    """Byte for byte, whatever the order of hashing; nothing but the progress line on standard error."""
    environment = {"PATH": "", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", "from gpufleet.cli import main; main()", "preview", "-s", "prod-eu-west-1"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == preview("-s", "prod-eu-west-1").stdout
    assert done.stderr.splitlines() == [
        "Previewing prod-eu-west-1 offline: the program runs in process, nothing is created"
    ]


def test_the_environment_is_left_as_it_was():
    before = dict(os.environ)
    preview("-s", "dev-us-east-1")
    assert dict(os.environ) == before


def test_unknown_stack_is_one_message():
    result = preview("-s", "prod-eu-west")
    assert result.exit_code == 1
    assert "did you mean prod-eu-west-1?" in result.output
    assert "Traceback" not in result.output


def test_a_mistake_in_the_file_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(
        offline, "stack_config", lambda stack: {"aws:region": "us-east-1", "gpufleet:scaling": {"min": 1}}
    )
    result = preview("-s", "test-us-east-1")
    assert result.exit_code == 1
    assert "error: stacks/Pulumi.test-us-east-1.yaml:" in result.output
    assert "model: required, but missing" in result.output
    assert "Traceback" not in result.output


def test_every_type_that_the_table_names_is_made_by_some_stack():
    made = {short_type(r.type) for stack in stack_names() for r in shipped(stack).run.resources}
    assert set(IMPORTANT_PROPERTIES) <= made
