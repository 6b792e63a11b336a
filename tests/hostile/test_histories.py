"""Names of revisions and histories of git that nobody expects: compared, or refused in one message."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from gpufleet.review.sides import Directory, PlanFile, Revision, SideError, resolve
from tests.hostile.cases import TEXTS, counted, gpufleet
from tests.repository import Repository, copy_project

DEV = "stacks/Pulumi.dev-us-east-1.yaml"
REVISIONS = (
    "HEAD", "HEAD^", "HEAD~99999999", "HEAD^{tree}", "HEAD^{/x}", ":/", ":0:README.md", "HEAD:README.md", "@{u}", "@{-1}", "@{99999}",
    "main..HEAD",
    "HEAD...HEAD", "^HEAD", "--all", "--output=CANARY", "-", "--", "stash@{0}", "0" * 40, "f" * 7, "refs/heads/*", "HEAD@{yesterday}", 
    ".git",
    "HEAD\n", "\nHEAD", "~", "..", ".", "/", "HEAD^{}", "FETCH_HEAD", "a:b:c", "HEAD^{commit}^{commit}", "$(touch CANARY)",
    "--upload-pack=touch CANARY",
)  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The project with one stack only, so that a comparison takes a moment."""
    copied = copy_project(tmp_path_factory.mktemp("history") / "project")
    for file in (copied.directory / "stacks").glob("Pulumi.prod-*.yaml"):
        file.unlink()
    copied.commit("One stack")
    return copied


@counted(300)
def test_a_name_is_a_side_or_an_error(repository: Repository, case: Random) -> None:
    name = case.choice((*REVISIONS, *TEXTS))
    if case.random() < 0.6:
        name = case.choice(
            (name + case.choice(REVISIONS), name[: case.randint(0, len(name))], case.choice(TEXTS) + name)
        )
    said: object
    try:
        said = resolve(name, repository.directory)
    except SideError as error:
        said = str(error)
    assert said
    assert isinstance(said, PlanFile | Directory | Revision | str)


NO_SIDES = [
    name for name in (*REVISIONS, *TEXTS) if not name.strip().startswith(("HEAD", "@", ".", "/")) and name != "-"
]
"""Those that are nothing in any repository."""


@pytest.mark.parametrize("name", NO_SIDES)
def test_the_command_ends_in_one_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a file that is no plan."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-plan.json").write_text("{}", encoding="utf-8")
    found = gpufleet("diff", "--", "no-plan.json", name)
    assert found.status == 1
    assert sum(line.startswith("error: ") for line in found.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "no-plan.json"]


ODD_STACKS = {
    "binary": bytes(range(256)) * 50, "empty": b"", "deep": b"config: " + b"[" * 100_000, "a b": None, "a\nb": None, "été": None,
    "$(touch CANARY)": None, "x'y": None,
}  # fmt: skip
"""What stack files hold by the beginning of their names; None for what the good one holds."""
LINKS = {"link-out": "/etc/passwd", "link-nowhere": "nowhere.yaml", "link-loop": "Pulumi.link-loop-us-east-1.yaml"}


def odd_everything(repository: Repository) -> None:
    """Odd stacks, links, a deleted stack, a submodule and an octopus merge, in one commit."""
    stacks = repository.directory / "stacks"
    good = (repository.directory / DEV).read_bytes()
    for name, content in ODD_STACKS.items():
        (stacks / f"Pulumi.{name}-us-east-1.yaml").write_bytes(good if content is None else content)
    for name, to in LINKS.items():
        (stacks / f"Pulumi.{name}-us-east-1.yaml").symlink_to(to)
    (repository.directory / DEV).unlink()
    (repository.directory / ".gitmodules").write_text(
        '[submodule "other"]\n\tpath = vendor/other\n\turl = ../nowhere\n', encoding="utf-8"
    )
    repository.git("add", "-A")
    base = repository.git("rev-parse", "HEAD")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{base},vendor/other")
    tree = repository.git("write-tree")
    sides = [repository.git("commit-tree", tree, "-p", base, "-m", f"side {i}") for i in range(3)]
    parents = [word for side in sides for word in ("-p", side)]
    repository.git("reset", "-q", "--hard", repository.git("commit-tree", tree, *parents, "-m", "octopus"))


def test_odd_stacks_are_compared_each_for_itself(repository: Repository) -> None:
    """In processes of their own: each side is run with its own code."""
    start = repository.git("rev-parse", "HEAD")
    odd_everything(repository)
    odd = repository.git("rev-parse", "HEAD")
    repository.git("reset", "-q", "--hard", start)
    done = repository.gpufleet("diff", start, odd, "--format", "json")
    assert "Traceback" not in done.stderr
    statuses = {stack["stack"]: stack["status"] for stack in json.loads(done.stdout)["stacks"]}
    broken = {
        f"{name}-us-east-1" for name in (*(n for n, content in ODD_STACKS.items() if content is not None), "link-out")
    }
    assert statuses["dev-us-east-1"] == "removed"
    assert {name for name, status in statuses.items() if status == "broken"} >= broken
    assert done.returncode == 1
    assert not (repository.directory / "CANARY").exists()


def test_code_that_prints_something_else_is_one_error(repository: Repository) -> None:
    start = repository.git("rev-parse", "HEAD")
    (repository.directory / "gpufleet/review/describe_stacks.py").write_text('print("{}")\n', encoding="utf-8")
    odd = repository.commit("odd")
    repository.git("reset", "-q", "--hard", start)
    done = repository.gpufleet("diff", start, odd)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "prints something else than snapshots" in done.stderr
