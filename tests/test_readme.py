"""The README says what the code does: its targets and its commands."""

from __future__ import annotations

import re
from pathlib import Path

from gpufleet.cli import SUBCOMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_make_target_and_command_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", README))
    assert named - targets <= {"in"}
    assert {"preview", "test", "setup", "up-local", "destroy-local"} <= named
    assert set(re.findall(r"gpufleet ([a-z]+(?:-[a-z]+)*) (?:-s|…)", README)) <= set(SUBCOMMANDS)
