"""`gpufleet catalog refresh` as a user runs it, against the emulator's EC2 and a price list on loopback."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import Result

from gpufleet.planner.catalog import SERVICES, Catalog, load_catalog
from gpufleet.planner.catalog.integrity import checked_catalog
from gpufleet.planner.catalog.storage import DATA_DIRECTORY
from tests.commands.terminal import Terminal
from tests.emulator.running import Emulator
from tests.iam.policies import allowed_actions
from tests.planner.catalog.directories import documents, write
from tests.refresh.conftest import Refresh
from tests.refresh.price_list_server import PriceList

EMBEDDED = load_catalog()
TWO_REGIONS = ("--region", "us-east-1", "--region", "eu-west-1")


def contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


class Refreshed(NamedTuple):
    """What a refresh of two regions said and wrote."""

    result: Result
    directory: Path

    @property
    def catalog(self) -> Catalog:
        return checked_catalog(self.directory)

    @property
    def day(self) -> str:
        return self.catalog.provenance["instanceTypes"].as_of


@pytest.fixture(scope="module")
def refreshed(refresh: Refresh, tmp_path_factory: pytest.TempPathFactory) -> Refreshed:
    directory = tmp_path_factory.mktemp("refreshed") / "catalogue"
    return Refreshed(refresh(*TWO_REGIONS, "--to", str(directory)), directory)


def test_a_refresh_writes_a_whole_catalogue(refreshed: Refreshed, price_list: PriceList) -> None:
    result = refreshed.result
    assert result.exit_code == 0, result.output
    assert "Asking AWS about 2 of 30 regions" in result.stderr
    assert "  regions: 2 of 2" in result.stderr
    assert "  prices of services: 7 of 7" in result.stderr
    assert f"gpufleet catalog diff HEAD {refreshed.directory}" in result.stdout
    assert price_list.pages > 0, "nothing was answered in pages"
    assert refreshed.catalog.regions == EMBEDDED.regions
    assert date.today() - date.fromisoformat(refreshed.day) <= timedelta(days=1)


def test_types_offerings_and_zones_are_what_ec2_answers(refreshed: Refreshed) -> None:
    """The emulator has the very answers that the embedded tables are made from."""
    new = refreshed.catalog
    assert [new.instance_type(n) for n in new.type_names] == [EMBEDDED.instance_type(n) for n in EMBEDDED.type_names]
    for region in ("us-east-1", "eu-west-1"):
        assert new.availability_zones(region) == EMBEDDED.availability_zones(region)
        assert [o[:2] for o in new.offers(region)] == [o[:2] for o in EMBEDDED.offers(region)]


def test_prices_are_the_price_lists_and_what_it_lacks_is_unknown(refreshed: Refreshed) -> None:
    new = refreshed.catalog
    prices = {o.instance_type.name: o.price for o in new.offers("us-east-1")}
    assert prices["g6.xlarge"].on_demand_usd_per_hour == 0.9048
    assert prices["g6.xlarge"].on_demand_as_of == refreshed.day
    assert prices["p5.48xlarge"].on_demand_usd_per_hour is None, "a capacity block is not on demand"
    assert prices["g4dn.xlarge"].on_demand_usd_per_hour is None, "zero is no price"
    assert prices["p4d.24xlarge"].on_demand_usd_per_hour is None, "two prices are none"
    assert {name for name, p in prices.items() if p.on_demand_usd_per_hour} == {"g5.xlarge", "g6.xlarge"}
    assert prices["g6.xlarge"].spot_usd_per_hour == 0.00001, "moto's only spot price"
    assert prices["g6.xlarge"].spot_as_of == refreshed.day
    [ireland] = [o.price for o in new.offers("eu-west-1") if o.instance_type.name == "g5.xlarge"]
    assert ireland.on_demand_usd_per_hour == 1.123
    told = "note: us-east-1: the price list has several prices of p4d.24xlarge: 21.9576"
    assert told in refreshed.result.stderr


def test_prices_of_services(refreshed: Refreshed) -> None:
    new = refreshed.catalog
    found = {name: price.usd for name in SERVICES if (price := new.service_price("us-east-1", name))}
    assert found == {
        "ebsGp3GbMonth": 0.08, "loadBalancerHour": 0.0225, "loadBalancerLcuHour": 0.008, "natGatewayHour": 0.045,
        "natGatewayGb": 0.045, "logsIngestGb": 0.5, "publicIpv4Hour": 0.005,
    }  # fmt: skip
    assert new.service_price("eu-west-1", "ebsGp3GbMonth") == (0.088, refreshed.day)
    assert new.service_price("eu-west-1", "natGatewayHour") is None


def test_regions_that_were_not_asked_for_stay_byte_for_byte(refreshed: Refreshed) -> None:
    for path in (DATA_DIRECTORY / "regions").glob("*.json"):
        same = (refreshed.directory / "regions" / path.name).read_bytes() == path.read_bytes()
        assert same == (path.stem not in ("us-east-1", "eu-west-1")), path.stem
    new = refreshed.catalog
    assert new.provenance["instanceTypes"].as_of == refreshed.day
    assert new.provenance["prices"].as_of == "2026-08-26", "as old as its oldest region"


def test_a_second_refresh_writes_the_same_bytes(refresh: Refresh, refreshed: Refreshed) -> None:
    before = contents(refreshed.directory)
    result = refresh(*TWO_REGIONS, "--to", str(refreshed.directory))
    assert result.exit_code == 0
    assert contents(refreshed.directory) == before


def test_what_the_policy_allows_is_what_a_refresh_asks_for(
    refresh: Refresh, emulator: Emulator, price_list: PriceList, tmp_path: Path
) -> None:
    emulator.control("DELETE", "calls")
    assert refresh("--region", "us-west-1", "--to", str(tmp_path)).exit_code == 0
    asked = {f"{call['service']}:{call['action']}" for call in emulator.control("GET", "calls")["calls"]}
    assert asked | {f"pricing:{action}" for action in price_list.actions} == allowed_actions("catalog")


def test_in_a_terminal_bars_stand_in_the_place_of_lines(
    environment: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in environment.items():
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    terminal = Terminal("catalog", "refresh", "--region", "us-west-1", "--to", str(tmp_path / "new"))
    assert terminal.end() == 0, terminal.shown
    assert "regions: 1 of 1" not in terminal.shown
    assert "What changed: gpufleet catalog diff HEAD" in terminal.shown


# Regions ----------------------------------------------------------------------------------------------------------


def test_every_region_that_the_account_uses_and_the_others_stay(refresh: Refresh, tmp_path: Path) -> None:
    """The emulator's account uses 20 of the catalogue's regions."""
    write(tmp_path, documents("us-west-1", "il-central-1"))
    before = contents(tmp_path)
    result = refresh("--to", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "Asking AWS about 1 of 2 regions" in result.stderr
    assert "note: il-central-1 is kept as it was: AWS does not let the account in there" in result.stderr
    after = contents(tmp_path)
    assert after["regions/il-central-1.json"] == before["regions/il-central-1.json"]
    assert after["regions/us-west-1.json"] != before["regions/us-west-1.json"]
    assert checked_catalog(tmp_path).regions == ("il-central-1", "us-west-1")


@pytest.mark.parametrize(
    "refusal",
    [
        {"code": "OptInRequired"},
        {"code": "AuthFailure", "message": "AWS was not able to validate the provided access credentials"},
        {
            "code": "UnauthorizedOperation",
            "message": "not authorized to perform: ec2:DescribeAvailabilityZones with an explicit deny in a service control policy",
        },
    ],
    ids=lambda refusal: refusal["code"],
)
def test_a_region_that_turns_out_to_be_closed_is_kept_and_said(
    refresh: Refresh, emulator: Emulator, tmp_path: Path, refusal: dict[str, str]
) -> None:
    write(tmp_path, documents("us-west-1", "eu-west-1"))
    before = contents(tmp_path)
    emulator.control("POST", "faults", {"service": "ec2", "action": "DescribeAvailabilityZones", **refusal})
    result = refresh("--to", str(tmp_path))
    assert result.exit_code == 0, result.output
    after = contents(tmp_path)
    [kept] = [name for name in ("us-west-1", "eu-west-1") if f"{name} is kept as it was" in result.stderr]
    assert [n for n in before if n.startswith("regions/") and before[n] == after[n]] == [f"regions/{kept}.json"]


def test_no_region_that_the_account_uses(refresh: Refresh, tmp_path: Path) -> None:
    result = refresh("--region", "il-central-1", "--to", str(tmp_path / "new"))
    assert result.exit_code == 1
    assert "AWS lets the account into none of these regions" in result.stderr
    assert not (tmp_path / "new").exists()


def test_an_unknown_region_names_the_nearest(refresh: Refresh, tmp_path: Path) -> None:
    result = refresh("--region", "us-east-9", "--to", str(tmp_path / "new"))
    assert result.exit_code == 1
    assert "error: --region: AWS tells the account of no such region\n  given:   us-east-9" in result.stderr
    assert "did you mean us-east-" in result.stderr


# What goes wrong --------------------------------------------------------------------------------------------------


def test_aws_that_says_slowly_is_asked_again(
    refresh: Refresh, emulator: Emulator, price_list: PriceList, tmp_path: Path
) -> None:
    emulator.control(
        "POST", "faults", {"service": "ec2", "action": "DescribeInstanceTypes", "code": "RequestLimitExceeded"}
    )
    price_list.failures.append((400, "ThrottlingException"))
    result = refresh("--region", "us-west-1", "--to", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert emulator.control("GET", "faults")["faults"] == []
    assert price_list.failures == []


@pytest.mark.parametrize("action", ["DescribeRegions", "DescribeInstanceTypes", "DescribeSpotPriceHistory"])
def test_a_permission_that_is_missing_is_named_and_nothing_changes(
    refresh: Refresh, emulator: Emulator, tmp_path: Path, action: str
) -> None:
    write(tmp_path, documents("us-west-1"))
    before = contents(tmp_path)
    emulator.control(
        "POST", "faults", {"service": "ec2", "action": action, "code": "UnauthorizedOperation", "status": 403}
    )
    result = refresh("--to", str(tmp_path))
    assert result.exit_code == 1
    assert f"the permission ec2:{action} is missing" in result.stderr
    assert "docs/iam/catalog.json" in result.stderr
    assert contents(tmp_path) == before


def test_a_refresh_that_stops_half_way_changes_nothing(refresh: Refresh, price_list: PriceList, tmp_path: Path) -> None:
    write(tmp_path, documents("us-west-1"))
    before = contents(tmp_path)
    price_list.failures += [(400, "AccessDeniedException")]
    result = refresh("--to", str(tmp_path))
    assert result.exit_code == 1
    assert "the permission pricing:GetProducts is missing" in result.stderr
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.parent.iterdir() if path.name.startswith(".gpufleet")] == []


def test_no_credentials(refresh: Refresh, tmp_path: Path) -> None:
    result = refresh("--to", str(tmp_path), AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    assert result.exit_code == 1
    assert "error: there are no AWS credentials" in result.stderr
    assert "aws sso login" in result.stderr


def test_a_profile_that_does_not_exist(refresh: Refresh, tmp_path: Path) -> None:
    result = refresh("--to", str(tmp_path), AWS_PROFILE="nobody")
    assert result.exit_code == 1
    assert (
        "error: there are no AWS credentials\n  given:   The config profile (nobody) could not be found"
        in result.stderr
    )


def test_credentials_that_aws_does_not_take(refresh: Refresh, emulator: Emulator, tmp_path: Path) -> None:
    emulator.control(
        "POST", "faults", {"service": "ec2", "action": "DescribeRegions", "code": "AuthFailure", "status": 401}
    )
    result = refresh("--to", str(tmp_path))
    assert result.exit_code == 1
    assert "AWS does not take these credentials (ec2:DescribeRegions in us-east-1)" in result.stderr


def test_an_endpoint_that_nobody_answers_at(refresh: Refresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpufleet.refresh.account.POLITE.retries", {"total_max_attempts": 1})
    result = refresh("--to", str(tmp_path), AWS_ENDPOINT_URL_EC2="http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "error: ec2:DescribeRegions in us-east-1: AWS cannot be reached" in result.stderr
    assert "http://127.0.0.1:9" in result.stderr


def test_a_place_with_something_else_in_it_is_left_alone(refresh: Refresh, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    result = refresh("--to", str(tmp_path))
    assert result.exit_code == 1
    assert "there is something else in this place, and it is left alone" in result.stderr
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_a_broken_catalogue_is_not_built_upon(refresh: Refresh, tmp_path: Path) -> None:
    write(tmp_path, documents("us-west-1") | {"gpus.json": {}})
    result = refresh("--to", str(tmp_path))
    assert result.exit_code == 1
    assert "gpus.json: source: required, but missing" in result.stderr


def test_a_type_whose_gpu_has_no_row_is_left_out_and_said(refresh: Refresh, tmp_path: Path) -> None:
    files = documents("us-west-1")
    files["gpus.json"]["gpus"] = [gpu for gpu in files["gpus.json"]["gpus"] if gpu["name"] != "H200"]
    types = files["instance_types.json"]["instanceTypes"]
    for name in [name for name, row in types.items() if row["gpu"] == "H200"]:
        types.pop(name)
        files["regions/us-west-1.json"]["offers"].pop(name, None)
    result = refresh("--to", str(write(tmp_path, files)), "--region", "us-west-2", "--region", "us-west-1")
    assert result.exit_code == 0, result.output
    assert "note: left out: p5en.48xlarge: no row in gpus.json for EC2's 'H200' with" in result.stderr
    assert "p5en.48xlarge" not in checked_catalog(tmp_path).type_names


def test_the_repositorys_own_files_are_the_default(refresh: Refresh, tmp_path: Path) -> None:
    """Only looked up: the command's option says where it would write."""
    from gpufleet.commands.catalog_refresh import refresh as command

    [option] = [parameter for parameter in command.params if parameter.name == "directory"]
    assert option.default == DATA_DIRECTORY
