"""`gpufleet ami`, asked of the emulator; and one value set in a file's text without a change of anything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.cli import main
from gpufleet.configuration.edit import with_value
from gpufleet.planner.errors import RequirementError
from stacks import config as stack_config
from tests.emulator.running import Emulator, running_emulator

STACK, REGION = "prod-us-east-1", "us-east-1"
OLD, NEW = "ami-0123456789abcdef0", "ami-0fedcba9876543210"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with running_emulator(tmp_path_factory.mktemp("emulator") / "log") as emulator:
        yield emulator


@pytest.fixture
def file(tmp_path, monkeypatch, emulator: Emulator) -> Path:
    """The shipped stack's file in a directory of its own; AWS is the emulator."""
    directory = tmp_path / "stacks"
    shutil.copytree(stack_config.STACKS_DIRECTORY, directory, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(stack_config, "STACKS_DIRECTORY", directory)
    monkeypatch.setattr(stack_config.stack_file, "__defaults__", (directory,))
    for name, value in {
        "AWS_ENDPOINT_URL": emulator.endpoint, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return directory / f"Pulumi.{STACK}.yaml"


def ami(*arguments):
    return CliRunner().invoke(main, ["ami", "-s", STACK, *arguments])


def newest(emulator: Emulator) -> str:
    name = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023/latest/ami-id"
    return emulator.client("ssm", REGION).get_parameter(Name=name)["Parameter"]["Value"]


def test_it_shows_both_and_changes_nothing(file, emulator):
    before = file.read_bytes()
    result = ami()
    assert result.exit_code == 0, result.output
    assert "instance.ami is latest: AWS's newest at each `up`" in result.stdout
    assert f"AWS's newest: {newest(emulator)} (base-oss-nvidia" in result.stdout
    assert f"gpufleet ami -s {STACK} --update" in result.stdout
    assert file.read_bytes() == before


def test_an_update_pins_the_newest_once_and_keeps_the_rest_of_the_file(file, emulator):
    before, mode = file.read_text(), file.stat().st_mode
    result = ami("--update")
    assert result.exit_code == 0, result.output
    assert f"Changed: instance.ami: latest → {newest(emulator)}" in result.stdout
    added = [line for line in file.read_text().splitlines() if line not in before.splitlines()]
    assert added == [f"    ami: {newest(emulator)}"]
    assert file.read_text().replace(f"{added[0]}\n", "") == before
    assert file.stat().st_mode == mode
    assert sorted(p.name for p in file.parent.glob(".*")) == []
    again = ami("--update", "--format", "json")
    assert json.loads(again.stdout)["isNewest"] is True
    assert json.loads(again.stdout)["updated"] is False


def test_the_stacks_own_parameter_is_the_one_that_is_read(file, emulator):
    emulator.client("ssm", REGION).put_parameter(Name="/golden/ami", Value=NEW, Type="String", Overwrite=True)
    file.write_text(
        file.read_text().replace(
            "    minZones: 2\n", f"    minZones: 2\n    ami: {OLD} # tested\n    amiParameter: /golden/ami\n"
        )
    )
    result = ami("--update")
    assert result.exit_code == 0, result.output
    assert f"    ami: {NEW} # tested\n" in file.read_text()
    emulator.client("ssm", REGION).put_parameter(Name="/golden/ami", Value="none", Type="String", Overwrite=True)
    refused = ami("--update")
    assert refused.exit_code == 1
    assert "/golden/ami does not hold an AMI id" in refused.stderr
    assert NEW in file.read_text()


def test_a_parameter_that_is_not_there_is_said_in_one_message(file):
    before = file.read_text().replace("    minZones: 2\n", "    minZones: 2\n    amiParameter: /not/there\n")
    file.write_text(before)
    result = ami("--update")
    assert result.exit_code == 1
    assert "ParameterNotFound" in result.stderr
    assert "Traceback" not in result.stderr
    assert file.read_text() == before


FILES = {
    "in block style": "config:\n  gpufleet:instance: # machines\n    # best first\n    families: [g6]\n  gpufleet:model: {id: a/b}\n",
    "in flow style": "config:\n  gpufleet:instance: {families: [g6]} # machines\n",
    "empty in flow style": "config:\n  gpufleet:instance: {}\n",
    "there before": f"config:\n    gpufleet:instance:\n        ami:   {OLD}   # tested\n        families: [g6]\n",
    "in quotes": f"config:\n  gpufleet:instance:\n    ami: '{OLD}'\n",
    "without keys": "config:\n  gpufleet:instance: # none yet\n  gpufleet:model:\n    id: a/b\n",
    "without keys at the end": "config:\n  gpufleet:model:\n    id: a/b\n  gpufleet:instance:",
    "not there": "# a stack\nconfig:\n  # where\n  aws:region: us-east-1\n  gpufleet:model:\n    id: a/b\n",
    "with Windows lines": "config:\r\n  aws:region: us-east-1\r\n  gpufleet:instance:\r\n    families: [g6]\r\n",
    "named in quotes": 'config:\n  "gpufleet:instance":\n    "families": [g6]\n',
    "below a document's mark": "---\nconfig:\n  gpufleet:instance:\n    families:\n    - g6\n",
}


def set_ami(text: str) -> str:
    return with_value(text, "gpufleet:instance", "ami", NEW, stack_config.parse_yaml)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_every_line_but_the_one_stays(text):
    changed = set_ami(text)
    assert yaml.safe_load(changed)["config"]["gpufleet:instance"]["ami"] == NEW
    comments = [part.strip() for line in text.splitlines() if "#" in line for part in [line.split("#", 1)[1]]]
    assert all(comment in changed for comment in comments)
    assert changed.count("\r\n") in (0, changed.count("\n"))
    assert set_ami(changed) == changed


@pytest.mark.parametrize(
    "text",
    [
        f"config:\n  gpufleet:instance:\n    ami: &image {OLD}\n  gpufleet:tags:\n    image: *image\n",
        f"config:\n  gpufleet:tags: &all\n    image: {OLD}\n  gpufleet:instance: *all\n",
        "config: {gpufleet:instance: {}}\n",
        "config:\n  gpufleet:instance:\n    ami: [a]\n",
    ],
)
def test_what_cannot_be_changed_alone_is_left_to_the_user(text):
    with pytest.raises(RequirementError) as caught:
        set_ami(text)
    assert "write `ami: ami-0fedcba9876543210` under gpufleet:instance yourself" in str(
        caught.value.problems[0].next_step
    )


WORDS = st.text("abcdef#:'\"{}[],&*!|>-% ", max_size=8)


@given(
    sections=st.dictionaries(st.sampled_from(["gpufleet:instance", "gpufleet:model", "aws:region", "x"]),
                             st.dictionaries(WORDS.filter(str.strip), WORDS | st.lists(WORDS, max_size=2), max_size=3), min_size=1),
    flow=st.sampled_from([None, True, False]),
    indent=st.integers(2, 6),
)  # fmt: skip
def test_nothing_of_any_file_is_lost(sections, flow, indent):
    text = yaml.safe_dump({"config": sections}, default_flow_style=flow, indent=indent, sort_keys=False)
    try:
        changed = set_ami(text)
    except RequirementError:
        return
    expected = {**sections, "gpufleet:instance": {**sections.get("gpufleet:instance", {}), "ami": NEW}}
    assert stack_config.parse_yaml(changed) == {"config": expected}
