"""Writes what is generated from the models of a stack file: its JSON Schema, and the tables of docs/configuration.md.

Run `.venv/bin/python tools/generate_configuration.py`; `tests/configuration` fails while one of them is behind.
"""

from __future__ import annotations

import json
from pathlib import Path

from gpufleet.configuration.reference import with_tables
from gpufleet.configuration.schema import stack_schema
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.models import known_ids

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configuration.md"
SCHEMA = ROOT / "stacks" / "stack.schema.json"


def schema_text() -> str:
    """The schema as it lies in the repository."""
    return json.dumps(stack_schema(load_catalog(), known_ids()), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
