"""The two sides of a comparison: from what the user names to snapshots of its stacks.

Owns which kinds of sides there are (a git revision, a directory, a plan file), how a revision is checked out, and the
process in which its code runs. Leaves what they say of a stack to `snapshot`, and comparing to `compare`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from gpufleet.planner.errors import nearest, printable, shortened
from gpufleet.planner.plan import SCHEMA_VERSION, DeploymentPlan
from gpufleet.review.snapshot import VERSION, Snapshot, check_snapshot, read_snapshot

MODULE = "gpufleet.review.describe_stacks"
LOCKED_REQUIREMENTS = "requirements.txt"

TIMEOUT_S = 600.0
"""Of one side; a stack takes a fraction of a second."""

Progress = Callable[[str, int, int], None]
"""Is told a side's label, how many of its stacks are done, and how many there are."""


class SideError(Exception):
    """A side that cannot be compared, in one message for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side, with its snapshots by stack."""

    label: str
    stacks: Mapping[str, Snapshot]
    known: tuple[str, ...]
    """Every stack that it has, asked for or not."""
    requirements_lock: str | None = None
    """The text of its `requirements.txt`; None for a plan file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A file that `gpufleet plan` or `gpufleet preview` wrote with --format json."""

    path: Path

    @property
    def label(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A checkout of the project as it lies there."""

    path: Path
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A commit of the repository that the project lies in."""

    name: str
    commit: str
    project: Path

    @property
    def label(self) -> str:
        short = self.commit[:7]
        return short if self.commit.startswith(self.name) else f"{self.name} ({short})"


Source = PlanFile | Directory | Revision


# What was named ---------------------------------------------------------------------------------------------------


def resolve(name: str, project: Path) -> Source:
    """A side by its name: an existing file is a plan, an existing directory a checkout, anything else a git revision."""
    path = Path(name)
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()
    except (OSError, ValueError):  # no name that a path or a revision may have
        raise SideError(f"there is no git revision, directory or plan file {shortened(printable(name))}") from None
    commit = _commit(name, project)
    if commit and path.exists() and not _is_path_like(name):
        raise SideError(f"{name} is both a path and a git revision; write ./{name}, or refs/heads/{name}")
    if path.is_file():
        return PlanFile(path=path)
    if path.is_dir():
        return Directory(path=path, label="this checkout" if path.samefile(project) else name)
    if commit:
        return Revision(name=name, commit=commit, project=project)
    raise SideError(_unknown(name, project))


def merge_base(base: Source, head: Source) -> Source:
    """The commit in which head left base's line; head may be a checkout, whose commit counts."""
    if not isinstance(base, Revision) or isinstance(head, PlanFile):
        raise SideError("--merge-base needs a git revision as BASE, and a revision or a checkout as HEAD")
    of_head = head.commit if isinstance(head, Revision) else _commit("HEAD", head.path)
    found = _git(base.project, "merge-base", base.commit, of_head or "HEAD")
    if found is None:
        hint = _shallow_hint(base.project)
        raise SideError(f"{base.label} and {head.label} have no commit in common{hint}")
    return Revision(name=f"merge base of {base.name}", commit=found, project=base.project)


def export(revision: Revision, path: str, directory: Path) -> None:
    """The files below `path` in a revision, written below `directory` under the same path."""
    archive = directory / "export.tar"
    done = _run_git(revision.project, "archive", "--format=tar", f"--output={archive}", revision.commit, "--", path)
    if done.returncode:
        raise SideError(f"git cannot read {path} of {revision.label}: {done.stderr.strip()}")
    with tarfile.open(archive) as files:
        files.extractall(directory, filter="data")


def _commit(name: str, project: Path) -> str | None:
    return _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")


def _is_path_like(name: str) -> bool:
    return name in (".", "..") or "/" in name


def _unknown(name: str, project: Path) -> str:
    if _git(project, "rev-parse", "--git-dir") is None:
        return f"{name} is no file or directory, and {project} is in no git repository: name two directories or two plan files"
    refs = (
        _git(project, "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags") or ""
    ).split()
    near = nearest(name, refs, 2)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `git log` shows what there is"
    return f"there is no git revision, directory or plan file {name}{hint}{_shallow_hint(project)}"


def _shallow_hint(project: Path) -> str:
    shallow = _git(project, "rev-parse", "--is-shallow-repository") == "true"
    return " (this clone is shallow: `git fetch --unshallow` brings the whole history)" if shallow else ""


def _git(directory: Path, *arguments: str) -> str | None:
    """What git says; None where it refuses."""
    done = _run_git(directory, *arguments)
    return done.stdout.strip() if done.returncode == 0 else None


def _run_git(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Inside a hook these name the repository that the hook runs for.
    environment = {key: value for key, value in os.environ.items() if key not in _HOOK_VARIABLES}
    command = ["git", "-C", str(directory), *arguments]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SideError("git is not on PATH; install it, or name two directories or two plan files") from None


_HOOK_VARIABLES = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"})


# Snapshots --------------------------------------------------------------------------------------------------------


def take(sources: tuple[Source, Source], stacks: tuple[str, ...], progress: Progress) -> tuple[Side, Side]:
    """Both sides, side by side; a plan file stands for the one stack that `stacks` names, or for `plan`."""
    with contextlib.ExitStack() as checkouts, ThreadPoolExecutor(max_workers=2) as threads:
        # One after the other: git gets in its own way when two worktrees are added at once.
        places = [checkouts.enter_context(_checkout(source)) for source in sources]
        base, head = threads.map(lambda source, place: _side(source, place, stacks, progress), sources, places)
    return base, head


def _side(source: Source, place: Path, stacks: tuple[str, ...], progress: Progress) -> Side:
    if isinstance(source, PlanFile):
        return read_plan_file(source, stacks)
    return _run(source.label, place, stacks, progress)


@contextlib.contextmanager
def _checkout(source: Source) -> Iterator[Path]:
    """Where a side lies; a revision gets a worktree of its own for as long as it is needed."""
    if not isinstance(source, Revision):
        yield source.path
        return
    project = source.project
    prefix = _git(project, "rev-parse", "--show-prefix") or ""
    with tempfile.TemporaryDirectory(prefix="gpufleet-diff-") as temporary:
        tree = Path(temporary, Path(temporary).name)
        # No hook of the user's: they are for the user's own checkouts.
        no_hooks = ("-c", f"core.hooksPath={os.devnull}")
        added = _run_git(project, *no_hooks, "worktree", "add", "--detach", "--quiet", str(tree), source.commit)
        if added.returncode:
            raise SideError(f"git cannot check out {source.label} into a worktree: {added.stderr.strip()}")
        try:
            yield tree / prefix
        finally:
            _git(project, "worktree", "remove", "--force", str(tree))


def _run(label: str, directory: Path, stacks: tuple[str, ...], progress: Progress) -> Side:
    """The side's own code, asked for its stacks."""
    if not (directory / "stacks").is_dir() or not (directory / "gpufleet").is_dir():
        raise SideError(f"{label}: there is no gpufleet project in it (no stacks/ or no gpufleet/)")
    if not (directory / MODULE.replace(".", "/")).with_suffix(".py").is_file():
        raise SideError(f"{label} is older than `gpufleet diff`: its code cannot be asked; take a later revision")
    command = [sys.executable, "-m", MODULE, *stacks]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=directory, env=_environment(directory), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=errors, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        with _time_limit(process):
            known = _header(label, process.stdout)
            asked = tuple(name for name in known if not stacks or name in stacks)
            found = dict(_snapshots(label, process.stdout, len(asked), progress))
            status = process.wait()
        if status:
            errors.seek(0)
            raise SideError(f"{label}: {_why(status, errors.read())}")
    lock = directory / LOCKED_REQUIREMENTS
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    return Side(label=label, stacks=found, known=known, requirements_lock=text)


def _environment(directory: Path) -> dict[str, str]:
    """The caller's, with the side's code first and without anything that leads to an account or to a Pulumi state."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PULUMI_"))}
    return kept | {"PYTHONPATH": str(directory.resolve()), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}


@contextlib.contextmanager
def _time_limit(process: subprocess.Popen[str]) -> Iterator[None]:
    """The process is stopped when it takes too long, or when the caller is interrupted."""
    from threading import Timer

    timer = Timer(TIMEOUT_S, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()


def _header(label: str, lines: IO[str]) -> tuple[str, ...]:
    """Every stack of the side; none where its code ended before it said so."""
    line = lines.readline()
    if not line:
        return ()
    try:
        header = json.loads(line)
        version, stacks = header["version"], tuple(header["stacks"])
    except (ValueError, KeyError, TypeError):
        raise SideError(_NO_SNAPSHOT.format(label)) from None
    if version != VERSION:
        raise SideError(
            f"{label} gives snapshots of version {version}, and this gpufleet reads version "
            f"{VERSION}; run the `gpufleet diff` of the newer revision"
        )
    return stacks


def _snapshots(label: str, lines: IO[str], count: int, progress: Progress) -> Iterator[tuple[str, Snapshot]]:
    for done, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
            named = document["stack"], read_snapshot(document)
        except (ValueError, KeyError, TypeError):
            raise SideError(_NO_SNAPSHOT.format(label)) from None
        progress(label, done, count)
        yield named


_NO_SNAPSHOT = "{}: its code prints something else than snapshots; look for a `print` in it"


def _why(status: int, errors: str) -> str:
    """The last words of a process that ended before its time."""
    if status < 0:
        return f"its code was stopped (signal {-status}), after {TIMEOUT_S:g} s at the latest"
    lines = [line.strip() for line in errors.strip().splitlines() if line.strip()]
    places = [line for line in lines if line.startswith("File ")]
    where = f" ({places[-1]})" if places else ""
    hint = "; its requirements.txt may name packages that are not installed here" if "ModuleNotFound" in errors else ""
    return f"its code does not run: {lines[-1] if lines else f'exit status {status}'}{where}{hint}"


# Plan files -------------------------------------------------------------------------------------------------------


def read_plan_file(source: PlanFile, stacks: tuple[str, ...]) -> Side:
    """The side of a plan file. It says nothing of requirements and rendered files, and of resources if it is a preview's."""
    try:
        document = json.loads(source.path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SideError(f"{source.path}: the file cannot be read: {reason}") from None
    except (ValueError, RecursionError) as error:
        raise SideError(f"{source.path}: not JSON: {error}; write it with `gpufleet plan … --format json`") from None
    plan = document.get("plan", document) if isinstance(document, Mapping) else None
    if not isinstance(plan, Mapping) or "schemaVersion" not in plan:
        raise SideError(f"{source.path}: no plan; write one with `gpufleet plan … --format json`")
    if plan["schemaVersion"] != SCHEMA_VERSION:
        raise SideError(
            f"{source.path}: a plan of schema version {plan['schemaVersion']}, and this gpufleet reads version "
            f"{SCHEMA_VERSION}; write it again, or use the gpufleet that wrote it"
        )
    try:
        DeploymentPlan.model_validate(plan)
        if plan is not document:
            check_snapshot(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise SideError(f"{source.path}: not a plan of this gpufleet: {key}: {first['msg']}; write it again") from None
    stack = stacks[0] if len(stacks) == 1 else str(document.get("stack", "plan"))
    snapshot = read_snapshot({"plan": plan} if plan is document else document)
    return Side(label=source.label, stacks={stack: snapshot}, known=(stack,))
