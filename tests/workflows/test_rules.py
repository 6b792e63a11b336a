"""What holds for every workflow: actionlint, zizmor, and rules that neither of them has."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.running import PROJECT
from tests.workflows.conftest import require
from tests.workflows.runner import ACTIONS, WORKFLOWS, load

FILES = sorted([*WORKFLOWS.glob("*.yml"), *ACTIONS.glob("*/action.yml")])
NAMES = [path.stem for path in sorted(WORKFLOWS.glob("*.yml"))]

UNTRUSTED = re.compile(
    r"github\.(event\.(pull_request|workflow_run|head_commit|commits|issue|comment|inputs)|head_ref|actor)|inputs\."
    r"|needs\.|steps\.|matrix\."
)
"""What somebody else may have written: it reaches a script as a variable, never as part of it."""

PULUMI = "pulumi/actions"
READERS = {"preview", "drift"}
"""Jobs that must not be able to change anything."""


def jobs(path: Path) -> dict[str, Any]:
    document = load(path)
    return document.get("jobs") or {"": document["runs"]}


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path).values():
        yield from job.get("steps", [])


def test_actionlint_has_nothing_to_say() -> None:
    require("actionlint")
    done = subprocess.run(
        ["actionlint", "-color=false", "-shellcheck", str(Path(sys.prefix, "bin", "shellcheck"))],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_has_nothing_to_say() -> None:
    zizmor = Path(sys.prefix, "bin", "zizmor")
    done = subprocess.run(
        [zizmor, "--offline", "--no-progress", "--color=never", "--config", ".github/zizmor.yml", ".github"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.relative_to(PROJECT).as_posix() in done.stderr for path in FILES), "a file was not looked at"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PROJECT / ".github").as_posix())
def test_an_action_of_others_is_named_by_digest_and_version(path: Path) -> None:
    found = re.findall(r"^[\s-]*uses: *(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) == len([s for s in steps(path) if "uses" in s]) + len(
        [j for j in jobs(path).values() if "uses" in j]
    )
    for use in found:
        assert re.fullmatch(r"\./\S+|[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use


def test_an_action_has_one_digest_everywhere() -> None:
    uses = {step["uses"] for path in FILES for step in steps(path) if "@" in step.get("uses", "")}
    assert len(uses) == len({use.partition("@")[0] for use in uses})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PROJECT / ".github").as_posix())
def test_scripts_run_in_bash_and_hold_no_foreign_text(path: Path) -> None:
    shell = load(path).get("defaults", {}).get("run", {}).get("shell")
    for step in steps(path):
        if "run" in step:
            assert step.get("shell", shell) == "bash"
            assert not [e for e in re.findall(r"\$\{\{.*?\}\}", step["run"]) if UNTRUSTED.search(e)], step["run"]
            assert "${{" not in step["run"]


@pytest.mark.parametrize("name", NAMES)
def test_a_job_has_the_rights_that_it_names_and_no_others(name: str) -> None:
    document = load(WORKFLOWS / f"{name}.yml")
    assert document["permissions"] == {}
    assert "pull_request_target" not in document["on"]
    assert "secrets" not in (WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8")
    for job_name, job in document["jobs"].items():
        rights = job["permissions"]
        assert isinstance(rights, dict)
        assert rights
        assert {right for right, level in rights.items() if level == "write"} <= {"id-token", "pull-requests"}
        if "uses" not in job:
            assert job["runs-on"] == "ubuntu-24.04"
            assert int(job["timeout-minutes"]) <= 60
            uses_pulumi = any(PULUMI in step.get("uses", "") and "command" in step["with"] for step in job["steps"])
            assert ("id-token" in rights) == uses_pulumi, job_name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PROJECT / ".github").as_posix())
def test_a_checkout_leaves_no_token_behind(path: Path) -> None:
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


@pytest.mark.parametrize("name", NAMES)
def test_jobs_that_only_look_have_the_role_that_only_reads(name: str) -> None:
    for job_name, job in load(WORKFLOWS / f"{name}.yml")["jobs"].items():
        roles = {s["with"]["role"] for s in job.get("steps", []) if s.get("uses") == "./.github/actions/connect"}
        expected = "AWS_PREVIEW_ROLE_ARN" if job_name in READERS else "AWS_DEPLOY_ROLE_ARN"
        assert roles <= {f"${{{{ vars.{expected} }}}}"}
        commands = {s["with"].get("command") for s in job.get("steps", []) if PULUMI in s.get("uses", "")} - {None}
        assert commands <= ({"preview"} if job_name in READERS else {"up"})


def test_pulumi_is_of_the_version_of_its_library() -> None:
    """One version for the command and for what the program imports."""
    version = (PROJECT / ".pulumi.version").read_text(encoding="utf-8").strip()
    with (PROJECT / "pyproject.toml").open("rb") as file:
        assert f"pulumi=={version}" in tomllib.load(file)["project"]["dependencies"]
    for path in FILES:
        for step in steps(path):
            if PULUMI in step.get("uses", ""):
                assert step["with"]["pulumi-version-file"] == ".pulumi.version"
