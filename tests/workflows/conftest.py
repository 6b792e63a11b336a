"""A repository made for the tests, GitHub on loopback, and a runner for the events between them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.emulator.running import PROJECT
from tests.workflows.github_api import REPOSITORY, GitHub, running_github
from tests.workflows.runner import RUN_ID, Runner, git

Start = Callable[..., Runner]

NOT_COPIED = (".git", ".venv", ".gpufleet", "__pycache__", ".*_cache", ".hypothesis", "tests", "docs", "benchmarks")


def require(tool: str) -> None:
    """Skip without a tool, or fail where every test must run."""
    if shutil.which(tool):
        return
    if os.environ.get("GPUFLEET_REQUIRE_ENGINE") == "1":
        pytest.fail(f"GPUFLEET_REQUIRE_ENGINE=1, but {tool} is not on PATH", pytrace=False)
    pytest.skip(f"{tool} is not on PATH")


@dataclass(frozen=True, slots=True)
class Repository:
    """The project in a git repository; commits are made on the branch that is checked out."""

    directory: Path

    def git(self, *arguments: str) -> str:
        return git(*arguments, directory=self.directory)

    def stack_file(self, stack: str) -> Path:
        return self.directory / "stacks" / f"Pulumi.{stack}.yaml"

    def change(self, stack: str, section: str = "scaling", **values: Any) -> None:
        """Other values in a section of a stack, committed."""
        document = yaml.safe_load(self.stack_file(stack).read_text())
        document["config"][f"gpufleet:{section}"] |= values
        self.stack_file(stack).write_text(yaml.safe_dump(document))
        self.commit()

    def commit(self) -> str:
        """Everything as it lies there; the commit's name."""
        self.git("add", "--all")
        self.git("commit", "-q", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def merge(self, number: int) -> str:
        """GitHub's trial merge of the branch that is checked out into main, as the ref that a run gets; its commit."""
        branch = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "--detach", "main")
        self.git("merge", "-q", "--no-ff", "-m", "merge", branch)
        merged = self.git("rev-parse", "HEAD")
        self.git("update-ref", f"refs/pull/{number}/merge", merged)
        self.git("checkout", "-q", "-")
        return merged


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it lies there, in one commit on main."""
    directory = tmp_path_factory.mktemp("origin") / "repository"
    shutil.copytree(PROJECT, directory, ignore=shutil.ignore_patterns(*NOT_COPIED))
    git("init", "-q", "-b", "main", directory=directory)
    Repository(directory).commit()
    return directory


@pytest.fixture
def repository(pristine: Path, tmp_path: Path) -> Iterator[Repository]:
    """A copy for the test. What the test makes of it goes with it: it is many files."""
    shutil.copytree(pristine, tmp_path / "origin")
    yield Repository(tmp_path / "origin")
    shutil.rmtree(tmp_path)


@pytest.fixture
def github() -> Iterator[GitHub]:
    """GitHub, empty."""
    require("gh")
    with running_github() as github:
        yield github


@pytest.fixture
def start(repository: Repository, github: GitHub, tmp_path: Path) -> Start:
    """A runner for an event; each has a directory of its own."""

    def start(event_name: str, event: dict[str, Any], ref: str, **more: Any) -> Runner:
        directory = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        directory.mkdir()
        commit = repository.git("rev-parse", ref)
        return Runner(directory, repository.directory, github, event_name, event, ref, commit, **more)

    return start


@pytest.fixture
def pull_request(repository: Repository, start: Start) -> Start:
    """A runner for the pull request that the repository's branch makes; opened by a fork where `head` names one."""

    def pull_request(number: int = 1, head: str = REPOSITORY, **more: Any) -> Runner:
        repository.merge(number)
        event = {"number": number, "pull_request": {"number": number, "head": {"repo": {"full_name": head}}}}
        return start("pull_request", event, f"refs/pull/{number}/merge", **more)

    return pull_request


@pytest.fixture
def comment(repository: Repository, start: Start) -> Callable[..., Runner]:
    """A runner for the end of a run that a pull request had."""

    def comment(head: str = f"{REPOSITORY}:topic", sha: str = "") -> Runner:
        name, _, branch = head.partition(":")
        run = {
            "id": RUN_ID,
            "event": "pull_request",
            "conclusion": "success",
            "head_sha": sha or repository.git("rev-parse", "topic"),
            "head_branch": branch,
            "head_repository": {"id": 7, "full_name": name, "owner": {"login": name.partition("/")[0]}},
        }
        event = {"workflow_run": run, "repository": {"default_branch": "main"}}
        return start("workflow_run", event, "refs/heads/main")

    return comment


@pytest.fixture
def push(repository: Repository, github: GitHub, start: Start) -> Start:
    """A runner for a push to main; GitHub knows it as the newest commit."""

    def push(before: str, **more: Any) -> Runner:
        github.main = repository.git("rev-parse", "main")
        variables = {"PULUMI_BACKEND_URL": "s3://gpufleet-state-111122223333", "AWS_REGION": "us-east-1"}
        return start("push", {"before": before}, "refs/heads/main", variables=variables, **more)

    return push
