"""docs/models.md says what the command prints."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpufleet.cli import main
from gpufleet.planner.models import known_ids
from tests.stacks.weight_files import gguf_bytes

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.+?)```\n```console\n\$ gpufleet size -f model\.yaml (.+?)\n(.+?)```", PAGE, re.S)
"""Document, further arguments, and lines of the output."""


def test_there_is_one_for_each_way_and_addition():
    assert len(EXAMPLES) == PAGE.count("```console") == 9


@pytest.mark.parametrize(("document", "arguments", "shown"), EXAMPLES)
def test_the_lines_stand_in_the_output_in_their_order(document, arguments, shown, tmp_path):
    shutil.copytree(ROOT / "stacks" / "architectures", tmp_path / "architectures")
    (tmp_path / "model.gguf").write_bytes(gguf_bytes())
    (tmp_path / "model.yaml").write_text(document, encoding="utf-8")
    result = CliRunner().invoke(main, ["size", "-f", str(tmp_path / "model.yaml"), *arguments.split()])
    printed = iter(result.output.splitlines())
    for line in shown.splitlines():
        start, is_cut, _ = line.partition("…")
        assert any(p.startswith(start) if is_cut else p == line for p in printed), (line, result.output)


def test_the_number_of_models_is_the_registrys():
    assert f"{len(known_ids())} published models" in PAGE
