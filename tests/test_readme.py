"""The README says what the code does: its table of keys and its commands."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from gpufleet.cli import SUBCOMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def load_tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_keys_is_the_models_own():
    assert load_tool("document_keys").with_table(README) == README


def test_every_make_target_and_command_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", README))
    assert named - targets <= {"in"}
    assert {"preview", "test", "setup", "up-local", "destroy-local"} <= named
    assert set(re.findall(r"gpufleet ([a-z]+(?:-[a-z]+)*) (?:-s|…)", README)) <= set(SUBCOMMANDS)
