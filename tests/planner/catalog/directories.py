"""Catalogue directories for tests: the embedded one's tables with few regions, small enough to break over and over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpufleet.planner.catalog.storage import DATA_DIRECTORY

TABLES = ("gpus.json", "quotas.json", "instance_types.json")


def documents(*regions: str) -> dict[str, Any]:
    """The files of a whole catalogue of these regions, by name; the caller's own."""
    names = (*TABLES, *(f"regions/{region}.json" for region in regions))
    return {name: json.loads((DATA_DIRECTORY / name).read_bytes()) for name in names}


def write(directory: Path, files: dict[str, Any]) -> Path:
    """These files in a directory, JSON or bytes as they are."""
    (directory / "regions").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return directory
