"""AWS on loopback for a refresh: the emulator's EC2, and the price list beside it, which no emulator has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from gpufleet.cli import main
from tests.emulator.running import Emulator, running_emulator
from tests.refresh.price_list_server import PriceList, running_price_list

Refresh = Callable[..., Result]


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with running_emulator(tmp_path_factory.mktemp("emulator") / "log") as emulator:
        yield emulator


@pytest.fixture(scope="session")
def price_list() -> Iterator[PriceList]:
    with running_price_list() as price_list:
        yield price_list


@pytest.fixture(scope="session")
def environment(emulator: Emulator, price_list: PriceList) -> dict[str, str | None]:
    """Fake credentials and both endpoints; None for what the caller has and must not be seen."""
    nothing_else: dict[str, str | None] = {name: None for name in os.environ if name.startswith("AWS_")}
    return nothing_else | {
        "AWS_ENDPOINT_URL_EC2": emulator.endpoint,
        "AWS_ENDPOINT_URL_PRICING": price_list.endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(scope="session")
def refresh(environment: dict[str, str | None]) -> Refresh:
    """`gpufleet catalog refresh` in that environment; what ended in a traceback fails the test."""

    def run(*arguments: str, **changed: str | None) -> Result:
        result = CliRunner().invoke(main, ["catalog", "refresh", *arguments], env=environment | changed)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture(autouse=True)
def no_faults_are_left(emulator: Emulator, price_list: PriceList) -> Iterator[None]:
    yield
    emulator.control("DELETE", "faults")
    price_list.failures.clear()
