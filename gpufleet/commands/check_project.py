"""What can be known of the checkout and of this machine before `up`.

Owns which files and programs `pulumi up` needs here. Leaves the stacks to `check_stack`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpufleet.commands.check_report import Report
from gpufleet.planner.errors import Problem
from stacks.config import load_yaml

PROJECT_FILE = "Pulumi.yaml"


def check_project(project: Path) -> Report:
    """The project file, the environment that it names, and the Pulumi CLI."""
    report = Report(f"{PROJECT_FILE} and this machine")
    path = project / PROJECT_FILE
    if not path.is_file():
        report.errors.append(
            Problem(
                "", f"there is no {PROJECT_FILE}: Pulumi finds no project here", next_step="run from a whole checkout"
            )
        )
        return report
    document = report.ask(lambda: load_yaml(path))
    if document is not None:
        _check_environment(project, document, report)
    _check_cli(report)
    return report


def _check_environment(project: Path, document: Any, report: Report) -> None:
    """Pulumi runs the program in the virtual environment that the project names, whichever is active."""
    runtime = document.get("runtime") if isinstance(document, Mapping) else None
    options = runtime.get("options") if isinstance(runtime, Mapping) else None
    named = options.get("virtualenv") if isinstance(options, Mapping) else None
    if not named:
        report.passed.append("the program runs in whichever Python is active")
    elif (project / str(named) / "bin" / "python").exists():
        report.passed.append(f"the virtual environment {named} is there")
    else:
        report.warnings.append(
            Problem(
                "runtime.options.virtualenv",
                "there is no such virtual environment yet, and Pulumi runs the program in it",
                given=named,
                next_step="run `make setup`",
            )
        )


def _check_cli(report: Report) -> None:
    if shutil.which("pulumi"):
        report.passed.append("the Pulumi CLI is on PATH")
    else:
        report.notes.append(
            "the Pulumi CLI is not on PATH; only preview and up need it: https://www.pulumi.com/docs/install/"
        )
