"""How many cases the tests of this directory have. Each of them checks that it ran all of its own."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.hostile.cases import declared

AT_LEAST = 10_000


def test_there_are_enough_cases() -> None:
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.hostile.{path.stem}")
    of_modules = {name: cases for name, cases in declared.items() if name.startswith("tests.hostile.")}
    assert sum(of_modules.values()) >= AT_LEAST, of_modules
