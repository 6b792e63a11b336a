"""What a side may be, and what is said when it is none: revisions, directories, plan files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from gpufleet.cli import main
from tests.repository import Repository, copy_project

DEV = "dev-us-east-1"
DEV_FILE = f"stacks/Pulumi.{DEV}.yaml"


def diff(*arguments: str) -> str:
    """The one message of a call that cannot be answered."""
    result = CliRunner().invoke(main, ["diff", *arguments])
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The project in a repository of its own."""
    return copy_project(tmp_path / "project")


def compare(repository: Repository, *arguments: str, status: int = 0):
    done = repository.gpufleet("diff", *arguments, "--format", "json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def statuses(document):
    return {s["stack"]: s["status"] for s in document["stacks"]}


def plan_file(directory: Path, name: str, *options: str) -> str:
    path = directory / name
    path.write_text(
        CliRunner().invoke(main, ["plan", "-s", DEV, "--format", "json", *options]).stdout, encoding="utf-8"
    )
    return str(path)


# Revisions --------------------------------------------------------------------------------------------------------


def test_an_unknown_revision_names_the_nearest(repository):
    repository.git("branch", "feature/larger-model")
    done = repository.gpufleet("diff", "main", "feature/larger-modle")
    assert done.returncode == 1
    assert (
        "there is no git revision, directory or plan file feature/larger-modle; did you mean feature/larger-model?"
        in done.stderr
    )


def test_an_option_like_revision_is_no_option_of_git(repository):
    done = repository.gpufleet("diff", "--", "--exec=touch x", "main")
    assert done.returncode == 1
    assert "there is no git revision" in done.stderr
    assert not (repository.directory / "x").exists()


def test_outside_of_a_repository(repository):
    subprocess.run(["rm", "-rf", str(repository.directory / ".git")], check=True)
    done = repository.gpufleet("diff", "main", GIT_CEILING_DIRECTORIES=str(repository.directory.parent))
    assert done.returncode == 1
    assert "is in no git repository" in done.stderr


def test_a_shallow_clone_says_how_to_get_the_rest(repository, tmp_path):
    repository.edit(DEV_FILE, "team: ml-platform", "team: search")
    repository.commit("tag")
    shallow = tmp_path / "shallow"
    repository.git("clone", "-q", "--depth", "1", repository.directory.as_uri(), str(shallow))
    done = Repository(shallow).gpufleet("diff", "HEAD^1")
    assert done.returncode == 1
    assert "git fetch --unshallow" in done.stderr


def test_without_head_this_checkout_as_it_is(repository):
    repository.edit(DEV_FILE, "max: 2", "max: 3")
    (repository.directory / "stacks/Pulumi.trial-us-east-1.yaml").write_text(
        (repository.directory / DEV_FILE).read_text(encoding="utf-8"), encoding="utf-8"
    )
    document = compare(repository, "main")
    assert document["head"] == "this checkout"
    assert statuses(document)[DEV] == "changed"
    assert statuses(document)["trial-us-east-1"] == "added"


def test_merge_base_leaves_out_what_happened_on_the_base_since(repository):
    repository.git("switch", "-qc", "feature")
    repository.edit(DEV_FILE, "max: 2", "max: 3")
    repository.commit("more instances")
    repository.git("switch", "-q", "main")
    repository.edit("stacks/Pulumi.prod-us-east-1.yaml", "max: 6", "max: 7")
    repository.commit("meanwhile")
    assert list(statuses(compare(repository, "main", "feature")).values()).count("changed") == 2
    found = compare(repository, "main", "feature", "--merge-base")
    assert [name for name, status in statuses(found).items() if status == "changed"] == [DEV]
    assert found["base"].startswith("merge base of main (")
    repository.git("switch", "-q", "feature")
    assert statuses(compare(repository, "main", "--merge-base")) == statuses(found)


def test_unrelated_histories_have_no_merge_base(repository):
    repository.git("switch", "-q", "--orphan", "other")
    repository.git("checkout", "-q", "main", "--", ".")
    repository.commit("no history")
    done = repository.gpufleet("diff", "main", "other", "--merge-base")
    assert done.returncode == 1
    assert "no commit in common" in done.stderr


def test_a_project_below_the_root_of_the_repository(tmp_path):
    inner = copy_project(tmp_path / "mono" / "serving").directory
    subprocess.run(["rm", "-rf", str(inner / ".git")], check=True)
    outer = Repository(tmp_path / "mono")
    outer.git("init", "-q", "-b", "main")
    (outer.directory / ".git/info/exclude").write_text(".venv\n", encoding="utf-8")
    outer.commit("everything")
    project = Repository(inner)
    project.edit(DEV_FILE, "max: 2", "max: 3")
    assert statuses(compare(project, "HEAD"))[DEV] == "changed"


def test_no_hook_of_the_user_runs_and_a_hook_may_run_it(repository):
    hook = repository.directory / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {repository.directory}/ran\n", encoding="utf-8")
    hook.chmod(0o755)
    done = repository.gpufleet("diff", "main", "-s", DEV, GIT_DIR=".git", GIT_INDEX_FILE="elsewhere")
    assert done.returncode == 0, done.stderr
    assert not (repository.directory / "ran").exists()


def test_code_that_does_not_run_is_said_with_its_place(repository):
    repository.edit("gpufleet/planner/cost.py", "import math\n", "import math\ndef\n")
    commit = repository.commit("typo")
    repository.git("checkout", "-q", "HEAD~1")
    done = repository.gpufleet("diff", "HEAD", "main")
    assert done.returncode == 1
    assert f"error: main ({commit[:7]}): its code does not run: SyntaxError: invalid syntax" in done.stderr
    assert "gpufleet/planner/cost.py" in done.stderr


def test_a_component_that_fails_breaks_every_stack_and_says_where(repository):
    repository.edit(
        "components/logs.py",
        "        super().__init__(",
        "        raise KeyError('retention')\n        super().__init__(",
    )
    repository.commit("bug")
    document = compare(repository, "HEAD~1", "HEAD", status=1)
    assert set(statuses(document).values()) == {"broken"}
    note = document["stacks"][0]["notes"][0]
    assert "the program fails: KeyError: 'retention' (components/logs.py, line " in note


def test_a_revision_from_before_the_command(repository):
    repository.git("rm", "-q", "gpufleet/review/describe_stacks.py")
    repository.commit("old")
    done = repository.gpufleet("diff", "HEAD", "HEAD~1")
    assert done.returncode == 1
    assert "is older than `gpufleet diff`" in done.stderr


def test_a_snapshot_of_another_version(repository):
    repository.edit("gpufleet/review/snapshot.py", "\nVERSION = 1\n", "\nVERSION = 2\n")
    repository.commit("newer")
    done = repository.gpufleet("diff", "HEAD~1", "HEAD", PYTHONPATH=str(Path(__file__).parents[2]))
    assert done.returncode == 1


def test_a_plan_of_another_schema_version_on_one_side(repository):
    """Only the values of the plans cannot be compared: requirements, resources and files still are."""
    repository.edit("gpufleet/planner/plan.py", "SCHEMA_VERSION = 1", "SCHEMA_VERSION = 2")
    repository.edit(DEV_FILE, "max: 2", "max: 3")
    repository.commit("another schema")
    document = compare(repository, "HEAD~1", "HEAD", "-s", DEV)
    [stack] = document["stacks"]
    assert "a plan of schema version 1, and this gpufleet reads version 2" in stack["notes"][0]
    assert [c["path"] for c in stack["requirements"]] == ["scaling.max"]
    assert [o["name"] for o in stack["operations"]] == ["gpufleet-group"]
    assert stack["plan"] == []


def test_other_packages_are_noted(repository):
    repository.edit("requirements.txt", "rich==15.0.0", "rich==14.0.0")
    repository.commit("older rich")
    assert compare(repository, "HEAD~1", "HEAD", "-s", DEV)["notes"] == [
        "requirements.txt differs: both sides ran with the packages that are installed here"
    ]


# Directories ------------------------------------------------------------------------------------------------------


def test_two_directories(repository, tmp_path):
    other = copy_project(tmp_path / "other")
    other.edit(DEV_FILE, "max: 2", "max: 3")
    document = compare(repository, str(repository.directory), str(other.directory))
    assert statuses(document)[DEV] == "changed"
    assert not list(other.directory.rglob("__pycache__"))


def test_a_directory_that_is_no_project(tmp_path):
    assert "there is no gpufleet project in it" in diff(str(tmp_path), str(tmp_path))


def test_a_name_that_is_a_path_and_a_revision_is_asked_back(repository):
    repository.git("branch", "stacks")
    done = repository.gpufleet("diff", "stacks")
    assert done.returncode == 1
    assert "stacks is both a path and a git revision; write ./stacks, or refs/heads/stacks" in done.stderr


# Plan files -------------------------------------------------------------------------------------------------------


def test_two_plan_files(tmp_path):
    before = plan_file(tmp_path, "before.json")
    after = plan_file(tmp_path, "after.json", "--region", "eu-central-1")
    result = CliRunner().invoke(main, ["diff", before, after, "--format", "json"])
    assert result.exit_code == 0, result.output
    [stack] = json.loads(result.stdout)["stacks"]
    assert stack["stack"] == "plan"
    assert {c["path"] for c in stack["plan"]} >= {"region", "availabilityZoneIds"}
    assert stack["operations"] is None
    assert stack["monthlyUsd"]["difference"]["min"] != 0


def test_a_plan_file_beside_a_revision_needs_the_stack(tmp_path):
    before = plan_file(tmp_path, "before.json")
    result = CliRunner().invoke(main, ["diff", before, "-s", DEV, "--format", "json"])
    assert result.exit_code == 0, result.output
    assert statuses(json.loads(result.stdout)) == {DEV: "unchanged"}


def test_previews_have_resources_too(tmp_path):
    preview = CliRunner().invoke(main, ["preview", "-s", DEV, "--format", "json"]).stdout
    (tmp_path / "a.json").write_text(preview, encoding="utf-8")
    (tmp_path / "b.json").write_text(preview.replace('"ml-platform"', '"search"'), encoding="utf-8")
    result = CliRunner().invoke(main, ["diff", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--format", "json"])
    [stack] = json.loads(result.stdout)["stacks"]
    assert stack["stack"] == DEV
    assert "gpufleet-template" in {o["name"] for o in stack["operations"]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "not JSON"),
        ("[]", "no plan; write one with `gpufleet plan … --format json`"),
        ('{"a": 1}', "no plan"),
        ('{"schemaVersion": 7}', "a plan of schema version 7, and this gpufleet reads version 1"),
        ('{"plan": {"schemaVersion": 7}}', "a plan of schema version 7"),
        ('{"schemaVersion": 1}', "not a plan of this gpufleet: region: Field required"),
        ("\ufeff\x00", "not JSON"),
    ],
)
def test_a_file_that_is_no_plan(tmp_path, content, expected):
    good, bad = plan_file(tmp_path, "good.json"), tmp_path / "bad.json"
    bad.write_text(content, encoding="utf-8")
    assert f"{bad}: {expected}" in diff(good, str(bad))


def test_a_file_that_is_not_text(tmp_path):
    good, bad = plan_file(tmp_path, "good.json"), tmp_path / "bad.json"
    bad.write_bytes(b"\xff\xfe\x00")
    assert f"{bad}: the file cannot be read: it is not text" in diff(good, str(bad))


# Calls ------------------------------------------------------------------------------------------------------------


def test_an_unknown_stack_names_the_nearest(tmp_path):
    before = plan_file(tmp_path, "before.json")
    assert "neither side has a stack dev-us-est-1; did you mean dev-us-east-1?" in diff(
        before, "-s", "dev-us-est-1", "-s", DEV
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--fail-on", "replacment"], "replacment is no kind of risk; did you mean replacement?"),
        (["--max-monthly-increase", "-1"], "max-monthly-increase"),
        (["--min-headroom", "101"], "min-headroom"),
        (["--write", "comment.txt"], "comment.txt must end with .md or .json"),
    ],
)
def test_wrong_options(options, expected):
    result = CliRunner().invoke(main, ["diff", "main", *options])
    assert result.exit_code == 2
    assert expected in result.stderr


def test_written_files_hold_what_is_printed(tmp_path):
    before, after = plan_file(tmp_path, "before.json"), plan_file(tmp_path, "after.json", "--region", "eu-central-1")
    markdown, as_json = tmp_path / "d.md", tmp_path / "d.json"
    call = ["diff", before, after, "--write", str(markdown), "--write", str(as_json), "--format"]
    assert CliRunner().invoke(main, [*call, "markdown"]).stdout == markdown.read_text(encoding="utf-8")
    assert CliRunner().invoke(main, [*call, "json"]).stdout == as_json.read_text(encoding="utf-8")


def test_a_place_where_nothing_can_be_written(tmp_path):
    before = plan_file(tmp_path, "before.json")
    assert "No such file or directory" in diff(before, before, "--write", str(tmp_path / "missing" / "d.md"))
