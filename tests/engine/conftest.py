"""Fixtures of the engine tests: the Pulumi CLI, an emulator for each test, and the stacks made in it.

Without `pulumi` on PATH these tests are skipped; with GPUFLEET_REQUIRE_ENGINE=1 they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.emulator.running import Emulator, running_emulator
from tests.engine.deployment import Deployment, new_deployment

Deploy = Callable[[str], Deployment]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory needs the engine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine)


def pytest_runtest_setup() -> None:
    """Skip here, not in a fixture: pytest then reports all of them in one line."""
    if shutil.which("pulumi"):
        return
    if os.environ.get("GPUFLEET_REQUIRE_ENGINE") == "1":
        pytest.fail("GPUFLEET_REQUIRE_ENGINE=1, but pulumi is not on PATH", pytrace=False)
    pytest.skip("pulumi is not on PATH")


@pytest.fixture(scope="session")
def pulumi() -> str:
    """The Pulumi CLI, which `pytest_runtest_setup` has found."""
    return shutil.which("pulumi") or "pulumi"


@pytest.fixture
def emulator(pulumi: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator that the stacks of one test are made in: what another left, or AWS goes on showing, is not in it."""
    with running_emulator(tmp_path_factory.mktemp("emulator") / "log") as emulator:
        yield emulator


@pytest.fixture
def deploy(pulumi: str, emulator: Emulator, tmp_path: Path) -> Deploy:
    """Makes a shipped stack that exists and is empty."""
    return lambda stack: new_deployment(pulumi, emulator, tmp_path, stack)
