"""One emulator for all tests of it; each test makes what it needs under names of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulator.running import Emulator, running_emulator


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator, as a process."""
    with running_emulator(tmp_path_factory.mktemp("emulator") / "log") as emulator:
        yield emulator
