"""The one-way rule: planner ← templates ← components ← __main__; nothing imports the other way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "gpufleet/planner": {"pulumi", "pulumi_aws", "boto3", "botocore", "jinja2", "click", "yaml", "templates", "components", "stacks",
                         "gpufleet.commands", "gpufleet.emulator", "datetime", "random", "time", "socket", "urllib"},
    "templates": {"pulumi", "pulumi_aws", "boto3", "components", "stacks", "gpufleet.commands", "gpufleet.emulator"},
    "components": {"boto3", "stacks", "gpufleet.commands", "gpufleet.emulator"},
    "stacks": {"components", "templates", "gpufleet.commands", "gpufleet.emulator", "boto3"},
    "gpufleet/configuration": {"pulumi", "pulumi_aws", "boto3", "jinja2", "click", "templates", "components", "stacks",
                               "gpufleet.commands", "gpufleet.emulator", "gpufleet.review", "gpufleet.offline"},
    "gpufleet/simulation": {"pulumi", "boto3", "jinja2", "click", "yaml", "templates", "components", "stacks", "gpufleet.commands",
                            "gpufleet.emulator", "random", "time", "socket", "urllib"},
    "gpufleet/emulator": {"gpufleet.planner", "components", "templates", "stacks", "pulumi"},
}  # fmt: skip
MODULES = [(folder, path) for folder in FORBIDDEN for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize(
    ("folder", "path"), MODULES, ids=lambda v: v.relative_to(ROOT).as_posix() if isinstance(v, Path) else v
)
def test_a_module_imports_only_downwards(folder, path):
    wrong = {n for n in imported(path) for f in FORBIDDEN[folder] if n == f or n.startswith(f + ".")}
    assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize(
    "path", sorted(p for _, p in MODULES if p.name != "__init__.py"), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_a_module_says_what_it_owns(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path.relative_to(ROOT)} has no docstring"
