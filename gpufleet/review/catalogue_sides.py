"""The two catalogues of a comparison, from what the user names: a git revision, a directory, or this checkout.

Owns where a catalogue lies in a side. Leaves which kinds of sides there are, and git, to `sides`.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gpufleet.planner.catalog import Catalog
from gpufleet.planner.catalog.integrity import checked_catalog
from gpufleet.planner.catalog.storage import DATA_DIRECTORY
from gpufleet.planner.errors import CatalogError
from gpufleet.review.sides import PlanFile, Revision, SideError, export, resolve

PROJECT = Path(__file__).resolve().parents[2]
IN_PROJECT = DATA_DIRECTORY.relative_to(PROJECT)
"""Where a checkout has its catalogue."""


@contextlib.contextmanager
def named_catalogue(name: str) -> Iterator[tuple[str, Catalog]]:
    """A side's label and its catalogue, which may be read as long as the context lasts; SideError where there is none."""
    source = resolve(name, PROJECT)
    if isinstance(source, PlanFile):
        raise SideError(f"{name} is a file; name a directory with a catalogue, a checkout, or a git revision")
    with tempfile.TemporaryDirectory(prefix="gpufleet-catalog-") as temporary:
        if isinstance(source, Revision):
            export(source, IN_PROJECT.as_posix(), Path(temporary))
            directory = Path(temporary) / IN_PROJECT
        else:
            in_checkout = source.path / IN_PROJECT
            directory = in_checkout if in_checkout.is_dir() else source.path
        try:
            yield source.label, checked_catalog(directory)
        except CatalogError as error:
            raise SideError(f"{source.label}: {error.describe()}") from None
