"""A runner for the tests: takes a job of a workflow and runs its steps' scripts as GitHub's runner does.

Owns the working directory, the files that scripts write to, and the conditions of steps and jobs. `actions/checkout` is
a clone of the test's repository as deep as the job asks for; a composite action of this project runs its own steps;
`upload-artifact` puts files into the test's GitHub. Every other action is noted, not run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.emulator.running import PROJECT
from tests.workflows.expressions import condition, evaluate, interpolate
from tests.workflows.github_api import REPOSITORY, TOKEN, GitHub

WORKFLOWS = PROJECT / ".github" / "workflows"
ACTIONS = PROJECT / ".github" / "actions"

RUN_ID = 4242

SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""GitHub's for `shell: bash`."""

CHANGES_THE_MACHINE = ("sudo", "go")
"""Commands that are noted instead of run."""


def load(path: Path) -> dict[str, Any]:
    """A workflow or an action. All scalars are text, `on` too."""
    document: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    return document


def workflow(name: str) -> dict[str, Any]:
    """A workflow by its file's name."""
    return load(WORKFLOWS / f"{name}.yml")


@dataclass
class Result:
    """What a job did."""

    outcome: str = "success"
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""
    used: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """The actions that were met, by name without version, with their inputs."""
    noted: list[str] = field(default_factory=list)
    """The commands that would have changed the machine."""

    def inputs_of(self, action: str) -> dict[str, str]:
        """The inputs of the only use of an action."""
        [inputs] = [inputs for name, inputs in self.used if name == action]
        return inputs


@dataclass
class Runner:
    """Runs jobs for one event. `event` is GitHub's payload, `commit` what the event is for."""

    directory: Path
    origin: Path
    """The repository that is checked out."""
    github: GitHub
    event_name: str
    event: dict[str, Any]
    ref: str
    """The ref that is checked out, such as refs/heads/main."""
    commit: str
    variables: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        name: str,
        job: str,
        *,
        needs: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        matrix: Mapping[str, str] | None = None,
        failing: str = "",
    ) -> Result:
        """A job of a workflow. `failing` is an action that fails when it is met."""
        document = workflow(name)
        context = self.context(needs=needs or {}, inputs=inputs or {}, matrix=matrix or {})
        return _Job(self, document, document["jobs"][job], context, failing).run()

    def starts(self, name: str, job: str, *, needs: Mapping[str, Any] | None = None) -> bool:
        """Whether a job's condition is met, its needs having ended as they say. A skipped need skips a job that does not
        ask for more."""
        results = {need["result"] for need in (needs or {}).values()}
        status = "failure" if "failure" in results else "skipped" if results - {"success"} else "success"
        return condition(workflow(name)["jobs"][job].get("if"), self.context(needs=needs or {}), status)

    def context(self, **more: Any) -> dict[str, Any]:
        """The contexts of expressions."""
        github = {
            "event_name": self.event_name,
            "event": self.event,
            "repository": REPOSITORY,
            "token": TOKEN,
            "run_id": str(RUN_ID),
            "workflow": "test",
        }
        return {"github": github, "vars": self.variables, "needs": {}, "inputs": {}, "matrix": {}} | more


class _Job:
    def __init__(
        self, runner: Runner, document: dict[str, Any], job: dict[str, Any], context: dict[str, Any], failing: str
    ) -> None:
        self._runner, self._job, self._failing = runner, job, failing
        self._context = context | {"steps": {}}
        self._result = Result()
        self._workspace = runner.directory / "workspace"
        self._files = {name: runner.directory / name for name in ("output", "summary", "env", "path")}
        self._directory_of_stand_ins = runner.directory / "bin"
        self._environment = self._base_environment(document)

    def run(self) -> Result:
        self._workspace.mkdir()
        self._make_stand_ins()
        for step in self._job["steps"]:
            self._step(step, self._context)
        for name, value in self._job.get("outputs", {}).items():
            self._result.outputs[name] = interpolate(value, self._context)
        self._result.summary = self._files["summary"].read_text() if self._files["summary"].exists() else ""
        noted = self._directory_of_stand_ins / "noted"
        self._result.noted = noted.read_text().splitlines() if noted.exists() else []
        return self._result

    def _base_environment(self, document: dict[str, Any]) -> dict[str, str]:
        event = self._runner.directory / "event.json"
        event.write_text(json.dumps(self._runner.event))
        kept = {
            key: value
            for key, value in os.environ.items()
            if key in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") or key.startswith("COVERAGE")
        }
        own = {
            "CI": "true",
            "GITHUB_EVENT_NAME": self._runner.event_name,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_OUTPUT": str(self._files["output"]),
            "GITHUB_STEP_SUMMARY": str(self._files["summary"]),
            "GITHUB_ENV": str(self._files["env"]),
            "GITHUB_PATH": str(self._files["path"]),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": self._runner.commit,
            "GITHUB_REF_NAME": self._runner.ref.rpartition("/")[2],
            "RUNNER_TEMP": str(self._runner.directory),
            "GH_CONFIG_DIR": str(self._runner.directory / "gh"),
            # The tests run what is installed here; make says what it would do, and fails for a target that is not there.
            "MAKEFLAGS": "n",
            "PYTHONPATH": str(self._workspace),
        }
        declared = {**document.get("env", {}), **self._job.get("env", {})}
        values = {key: interpolate(value, self._context) for key, value in declared.items()}
        path = f"{self._directory_of_stand_ins}{os.pathsep}{kept['PATH']}"
        return kept | own | self._runner.github.environment() | values | {"PATH": path}

    def _make_stand_ins(self) -> None:
        self._directory_of_stand_ins.mkdir()
        for name in CHANGES_THE_MACHINE:
            script = self._directory_of_stand_ins / name
            script.write_text(f'#!/bin/sh\necho "{name} $*" >> "$(dirname "$0")/noted"\necho /opt/{name}\n')
            script.chmod(0o755)

    def _step(self, step: dict[str, Any], context: dict[str, Any]) -> None:
        if not condition(step.get("if"), context, self._result.outcome):
            return
        if "run" in step:
            succeeded = self._script(step, context)
        else:
            inputs = {key: interpolate(value, context) for key, value in step.get("with", {}).items()}
            succeeded = self._action(step["uses"].partition("@")[0], inputs)
        if not succeeded:
            self._result.outcome = "failure"

    def _script(self, step: dict[str, Any], context: dict[str, Any]) -> bool:
        self._files["output"].write_text("")
        values = {key: interpolate(value, context) for key, value in step.get("env", {}).items()}
        script = self._runner.directory / "step.sh"
        script.write_text(interpolate(step["run"], context))
        done = subprocess.run(
            [*SHELL, str(script)],
            cwd=self._workspace,
            env=self._environment | values,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        self._result.log += done.stdout
        if "id" in step:
            lines = self._files["output"].read_text().splitlines()
            outputs = {name: value for name, _, value in (line.partition("=") for line in lines)}
            self._context["steps"][step["id"]] = {"outputs": outputs}
        return done.returncode == 0

    def _action(self, name: str, inputs: dict[str, str]) -> bool:
        self._result.used.append((name, inputs))
        if name.startswith("./"):
            # A composite action sees its inputs, and of the rest of the workflow little more than `github`.
            inside = {"inputs": inputs, "github": self._context["github"]}
            for step in load(self._workspace / name / "action.yml")["runs"]["steps"]:
                self._step(step, inside)
        elif name == "actions/checkout":
            self._checkout(int(inputs.get("fetch-depth", 1)))
        elif name == "actions/upload-artifact":
            files = {path: self._workspace / path for path in inputs["path"].split()}
            found = {path: file.read_bytes() for path, file in files.items() if file.exists()}
            self._runner.github.upload(RUN_ID, inputs["name"], found)
        return name != self._failing

    def _checkout(self, depth: int) -> None:
        limit = [f"--depth={depth}"] if depth else []
        git("init", "-q", directory=self._workspace)
        git(
            "fetch", "-q", *limit, self._runner.origin.as_uri(), f"+{self._runner.ref}:refs/remotes/origin/checked-out",
            directory=self._workspace,
        )  # fmt: skip
        git("checkout", "-q", "--detach", "refs/remotes/origin/checked-out", directory=self._workspace)
        (self._workspace / ".venv").symlink_to(sys.prefix)


def git(*arguments: str, directory: Path) -> str:
    """What git says; an error with its words where it refuses."""
    done = subprocess.run(
        ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid", "-C", str(directory), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def matrix_of(job: dict[str, Any], context: dict[str, Any]) -> list[str]:
    """The stacks that a job runs for."""
    expression = job["strategy"]["matrix"]["stack"].removeprefix("${{").removesuffix("}}")
    stacks: list[str] = evaluate(expression, context)
    return stacks
