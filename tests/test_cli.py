"""The command as a whole: its help, and what a shell completes, by the protocol that shells speak."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gpufleet.cli import SUBCOMMANDS, main
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.models import known_ids
from stacks.config import stack_names

ROOT = Path(__file__).parents[1]
RUN = "import sys; sys.argv[0] = 'gpufleet'; from gpufleet.cli import main; main()"
HEAVY = ("pulumi", "pulumi_aws", "boto3", "moto", "jinja2")

# Help -----------------------------------------------------------------------------------------------------------------


def examples(text):
    """The command lines under `Example:` or `Examples:`."""
    block = re.search(r"^  Examples?:\n((?:    .+\n)+)", text, re.M)
    return [line.strip() for line in block[1].splitlines()] if block else []


def of_group(group, *path):
    """Every command below a group, by its words; groups too."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from of_group(command, *path, name)


COMMANDS = {" ".join(words): command for words, command in of_group(main)}


def options_of(command):
    """Its options; of a group those of its subcommands."""
    below = [options_of(other) for _, other in of_group(command)] if isinstance(command, click.Group) else []
    own = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*below)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_has_examples_that_it_would_take(name):
    known = options_of(COMMANDS[name])
    found = examples(CliRunner().invoke(main, [*name.split(), "--help"]).stdout)
    assert found
    for line in found:
        assert re.search(rf"\bgpufleet {name}\b", line), line
        arguments = re.split(r"[>)#]", line.split(f"gpufleet {name}", 1)[1])[0].split()
        assert {a for a in arguments if a.startswith("-") and a != "-"} <= known, line


def test_the_help_names_every_subcommand_and_examples_of_those_that_come_first():
    text = CliRunner().invoke(main, ["--help"]).stdout
    for name, (_, help_line) in SUBCOMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(help_line.split()[0])}", text, re.M)
    named = {re.search(r"gpufleet ([\w-]+)", line)[1] for line in examples(text)}
    assert {"init", "check", "plan", "preview", "diff"} <= named <= set(SUBCOMMANDS)


# Completion -----------------------------------------------------------------------------------------------------------


def completed(line, *, shell="bash", python=RUN):
    """What the shell is told for a command line whose last word is being written."""
    words = line.split(" ")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "_GPUFLEET_COMPLETE": f"{shell}_complete",
                   "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", python], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done


def values(line):
    return [answer.partition(",")[2] for answer in completed(line).stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gpufleet ", list(SUBCOMMANDS)),
        ("gpufleet p", ["plan", "preview"]),
        ("gpufleet --v", ["--version"]),
        ("gpufleet plan --fo", ["--format"]),
        ("gpufleet plan --format ", ["table", "json", "jsonl"]),
        ("gpufleet check --st", ["--stack", "--strict"]),
        ("gpufleet plan -s ", stack_names()),
        ("gpufleet check -s dev-us-east-1 -s prod-e", ["prod-eu-west-1"]),
        ("gpufleet preview --stack dev", ["dev-us-east-1"]),
        ("gpufleet diff main -s dev", ["dev-us-east-1"]),
        ("gpufleet render -s dev", ["dev-us-east-1"]),
        ("gpufleet up-local -s dev", ["dev-us-east-1"]),
        ("gpufleet plan -s dev-us-east-1 --region ", list(load_catalog().regions)),
        ("gpufleet init --region us-", [r for r in load_catalog().regions if r.startswith("us-")]),
        ("gpufleet init --model qwen/qwen3-8", [i for i in known_ids() if i.lower().startswith("qwen/qwen3-8")]),
        ("gpufleet init --precision fp", ["fp32", "fp16", "fp8"]),
        ("gpufleet catalog ", ["show", "refresh", "diff"]),
        ("gpufleet catalog show --gpu a100", ["A100-40GB", "A100-80GB"]),
        ("gpufleet catalog refresh --region us-w", ["us-west-1", "us-west-2"]),
        ("gpufleet completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_a_shell_completes(line, expected):
    assert expected
    assert values(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "gpufleet ",
        "gpufleet init --model Qwen",
        *(f"gpufleet {name} --" for name in SUBCOMMANDS),
        "gpufleet preview -s ",
    ],
)
def test_completing_imports_nothing_that_takes_long(line):
    spy = f"{RUN.replace('main()', '')}\ntry: main()\nexcept SystemExit: print(*sys.modules, file=sys.stderr)"
    imported = set(completed(line, python=spy).stderr.split())
    assert not imported & set(HEAVY)
    assert "click" in imported
    if line == "gpufleet ":
        assert not {m for m in imported if m.startswith(("gpufleet.commands", "gpufleet.planner", "pydantic"))}


def test_descriptions_stand_beside_the_names_where_a_shell_shows_them():
    assert completed("gpufleet ch", shell="zsh").stdout.splitlines() == ["plain", "check", SUBCOMMANDS["check"][1]]


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """The command on PATH, as an installed one is."""
    program = tmp_path / "gpufleet"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -c "{RUN}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("on_path")
def test_the_script_works_in_a_real_bash():
    script = """
        set -eu
        source <(gpufleet completion bash)
        complete -p gpufleet
        COMP_WORDS=(gpufleet plan -s prod-u); COMP_CWORD=3
        _gpufleet_completion gpufleet
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["complete -o nosort -F _gpufleet_completion gpufleet", "prod-us-east-1"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("shell", "marks"),
    [
        ("bash", ["complete -o nosort -F _gpufleet_completion gpufleet", "_GPUFLEET_COMPLETE=bash_complete"]),
        ("zsh", ["#compdef gpufleet", "compdef _gpufleet_completion gpufleet", "_GPUFLEET_COMPLETE=zsh_complete"]),
        ("fish", ["complete --no-files --command gpufleet", "_GPUFLEET_COMPLETE=fish_complete"]),
    ],
)
def test_each_shell_has_a_script_that_it_can_read(shell, marks):
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    for mark in marks:
        assert mark in result.stdout
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=result.stdout, text=True, check=True)


def test_another_shell_is_told_which_there_are():
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr
