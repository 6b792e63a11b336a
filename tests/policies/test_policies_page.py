"""docs/policies.md has the tables that the rules make, and examples that are of this pack."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema

from aws_rules import RULES

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "policies.md"


def test_the_tables_are_those_of_the_rules() -> None:
    code = "import generate_policies as g; print(g.page(), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT / "tools", capture_output=True, text=True)
    assert done.stdout == PAGE.read_text(encoding="utf-8"), done.stderr or "run: python tools/generate_policies.py"


def test_the_example_of_exceptions_names_rules_and_their_options() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    options = {rule.name: rule.options for rule in RULES}
    for name, value in json.loads(example).items():
        assert name in options
        if isinstance(value, dict):
            for option, given in value.items():
                jsonschema.validate(given, dict(options[name][option].schema))
