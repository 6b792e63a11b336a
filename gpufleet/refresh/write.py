"""Puts a refreshed catalogue in its place: all of it, or nothing.

Owns where files go and that what stands is only replaced by a whole catalogue. Leaves what is in them to `documents`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gpufleet.planner.catalog.integrity import checked_catalog
from gpufleet.planner.catalog.storage import DATA_DIRECTORY
from gpufleet.planner.errors import CatalogError, Problem

TABLE = "instance_types.json"
"""By this file a directory is a catalogue."""


def standing_catalogue(directory: Path) -> Path:
    """The catalogue that a refresh into `directory` starts from: its own, or the repository's where it has none yet."""
    if (directory / TABLE).is_file():
        checked_catalog(directory)
        return directory
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CatalogError(
            Problem(
                "--to",
                "there is something else in this place, and it is left alone",
                given=str(directory),
                allowed="a catalogue, an empty directory, or one that does not exist yet",
            )
        )
    return DATA_DIRECTORY


def put_in_place(texts: Mapping[str, str], standing: Path, directory: Path) -> None:
    """Write the files beside `directory`, hold the catalogue that results to its rules, and only then move them."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".gpufleet-refresh-", dir=directory.parent) as temporary:
            whole = Path(temporary)
            (whole / "regions").mkdir()
            kept = [path.relative_to(standing) for path in (*standing.glob("*.json"), *standing.glob("regions/*.json"))]
            for path in kept:
                shutil.copyfile(standing / path, whole / path)
            for name, text in texts.items():
                (whole / name).write_text(text, encoding="utf-8")
            checked_catalog(whole)
            moved = [Path(name) for name in texts] + ([] if directory == standing else kept)
            (directory / "regions").mkdir(parents=True, exist_ok=True)
            for path in dict.fromkeys(moved):
                os.replace(whole / path, directory / path)
    except OSError as error:
        raise CatalogError(
            Problem("--to", f"the files cannot be written: {error.strerror}", given=str(error.filename or directory))
        ) from None
