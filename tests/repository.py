"""A git repository made for a test: the project, and commits on top of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".gpufleet", "__pycache__", ".*_cache", ".hypothesis", "tests")
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")


@dataclass(frozen=True, slots=True)
class Repository:
    """The project under git, in a directory of its own."""

    directory: Path

    def git(self, *arguments: str) -> str:
        """What git says; a failure fails the test."""
        done = subprocess.run(
            ["git", *IDENTITY, *arguments], cwd=self.directory, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"git {' '.join(arguments)}\n{done.stderr}"
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        """Everything as it lies there as a commit; its hash."""
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that must be there, once."""
        file = self.directory / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def gpufleet(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command, of this repository's own code."""
        return subprocess.run(
            [sys.executable, "-c", "from gpufleet.cli import main; main()", *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(self.directory), "COLUMNS": "120", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )


def copy_project(directory: Path) -> Repository:
    """The project as it lies there, without its tests, with one commit; this environment is its `.venv`."""
    shutil.copytree(PROJECT, directory, ignore=LEFT_OUT)
    (directory / ".venv").symlink_to(sys.prefix)
    repository = Repository(directory)
    repository.git("init", "-q", "-b", "main")
    # A link is not the directory that the project's own file ignores.
    (directory / ".git" / "info" / "exclude").write_text(".venv\n", encoding="utf-8")
    repository.commit("The project")
    return repository
