"""The README says what the code does: its targets and its commands."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from gpufleet.cli import SUBCOMMANDS, main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_plan_in_the_readme_is_what_the_command_prints():
    """Shortened where it says so: every other line stands in the output, in order."""
    shown = README.partition("$ gpufleet plan -s dev-us-east-1\n")[2].partition("\n```")[0].splitlines()
    printed = iter(CliRunner().invoke(main, ["plan", "-s", "dev-us-east-1"]).stdout.splitlines())
    for line in shown:
        start, _, end = (part.strip() for part in line.partition("…"))
        # The rejected types are indented further in the output than here.
        assert not start or any(p.strip().startswith(start) and p.endswith(end) for p in printed), line


def test_every_make_target_and_command_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", README))
    assert named - targets <= {"in"}
    assert {"preview", "test", "setup", "up-local", "destroy-local"} <= named
    assert set(re.findall(r"gpufleet ([a-z]+(?:-[a-z]+)*) (?:-s|…)", README)) <= set(SUBCOMMANDS)
