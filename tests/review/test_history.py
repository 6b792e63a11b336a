"""`gpufleet diff` on a real history: a repository with eleven commits that change one thing each."""

from __future__ import annotations

import json

import pytest

from tests.review.history import (
    AMI,
    CHANGES,
    DEV_STACK,
    FP8_STACK,
    INDIA_STACK,
    INT8_STACK,
    NEW_STACK,
    README,
    History,
    readme_comment,
    with_comment,
)


def only(document, *, status="changed"):
    """The one stack that differs."""
    [stack] = [s for s in document["stacks"] if s["status"] != "unchanged"]
    assert stack["status"] == status
    return stack


def asked(stack):
    return {c["path"]: (c["before"], c["after"]) for c in stack["requirements"]}


def planned(stack):
    return {c["path"]: (c["before"], c["after"]) for c in stack["plan"]}


def operations(stack):
    return {o["name"].removeprefix("gpufleet-"): o["operation"] for o in stack["operations"]}


def kinds(stack):
    return {risk["kind"] for risk in stack["risks"]}


def test_every_change_of_the_history_has_a_test():
    assert {f"test_{change.__name__}" for change in CHANGES} <= set(globals())


def test_precision(history: History):
    status, document = history.diff("precision")
    assert status == 0
    assert document["touched"] == [INT8_STACK]
    stack = only(document)
    assert asked(stack)["model.precision"] == ("int8", "fp16")
    before, after = planned(stack)["instance.type"]
    assert before.startswith("g5.")
    assert after.startswith("g5.12")
    reason = next(c["reason"] for c in stack["plan"] if c["path"] == "instance.type")
    assert "weights alone take 27.57 GiB" in reason
    cost = stack["monthlyUsd"]
    assert cost["difference"]["max"] == pytest.approx(cost["after"]["max"] - cost["before"]["max"], abs=0.01)
    assert [part["cause"] for part in cost["parts"]] == [f"{before} to {after}"]
    assert {"rollout", "fallback"} <= kinds(stack)
    assert set(operations(stack).values()) == {"update"}
    assert {"replica.sh", "compose.yaml", "haproxy.cfg"} <= {file["name"] for file in stack["files"]}


def test_family(history: History):
    stack = only(history.diff("family")[1])
    assert stack["stack"] == FP8_STACK
    assert asked(stack) == {"instance.families": (["g6e", "p5"], ["p5"])}
    before, after = planned(stack)["instance.type"]
    assert before.startswith("g6e.")
    assert after.startswith("p5.")
    assert stack["monthlyUsd"]["difference"]["min"] > 10_000


def test_scaling_target(history: History):
    stack = only(history.diff("scaling_target")[1])
    assert asked(stack) == {"scaling.requestsInFlight": (9, 10)}
    assert planned(stack) == {"scaling.requestsInFlight": (9, 10)}
    assert operations(stack) == {"requests-in-flight": "update", "dashboard": "update"}
    assert kinds(stack) == set()
    assert stack["monthlyUsd"]["parts"] == []


def test_tag(history: History):
    """A tag reaches the instances through the launch template, so it replaces them all: nobody expects that."""
    stack = only(history.diff("tag")[1])
    assert asked(stack) == {"tags.team": ("ml-platform", "search")}
    assert kinds(stack) == {"rollout"}
    assert set(operations(stack).values()) == {"update"}
    assert len(stack["operations"]) > 20
    assert stack["files"] == []


def test_template_text(history: History):
    """The stack files did not change: each side ran with its own templates."""
    _, document = history.diff("template_text")
    assert document["touched"] == [DEV_STACK, INDIA_STACK, INT8_STACK, FP8_STACK]
    for stack in document["stacks"]:
        assert stack["requirements"] == stack["plan"] == []
        assert operations(stack) == {"template": "update", "group": "update"}
        [file] = stack["files"]
        assert (file["name"], file["linesAdded"], file["linesRemoved"]) == ("boot.sh", 1, 1)
        assert '+  log "containers of $STACK are up"' in file["diff"]
        assert kinds(stack) == {"rollout"}


def test_ami(history: History):
    stack = only(history.diff("ami")[1])
    assert asked(stack) == {"instance.ami": (None, AMI)}
    assert planned(stack)["machineImage.id"][1] == AMI
    assert operations(stack) == {"template": "update", "group": "update"}
    assert kinds(stack) == {"rollout"}


def test_region_price(history: History):
    """Nothing of the stack changes but what it costs."""
    stack = only(history.diff("region_price")[1])
    assert stack["stack"] == DEV_STACK
    assert stack["requirements"] == stack["plan"] == []
    assert operations(stack) == {"dashboard": "update"}, "it shows what the fleet costs"
    assert stack["monthlyUsd"]["parts"] == [
        {"cause": "price of g6.xlarge", "difference": {"min": 73.0, "desired": 73.0, "max": 146.0}}
    ]


def test_dearer_type(history: History):
    """A new price moves a stack whose file did not change: that is said, and how to keep it where it is."""
    stack = only(history.diff("dearer_type")[1])
    assert stack["stack"] == DEV_STACK
    assert stack["requirements"] == []
    before, after = planned(stack)["instance.type"]
    assert before == "g6.xlarge"
    assert after != before
    assert {"choice", "rollout"} <= kinds(stack)
    [message] = [risk["message"] for risk in stack["risks"] if risk["kind"] == "choice"]
    assert f"the type moves from {before} to {after} although the stack file asks for nothing else" in message
    assert f"{before} 0.9048 → 1.9048" in message
    assert message.endswith(f"instance.type: {before} in the stack file keeps it where it is")


def test_a_refresh_that_moves_a_stack_can_fail_the_pull_request(history: History):
    status, document = history.diff("dearer_type", "--fail-on", "choice")
    assert status == 3
    assert "--fail-on choice" in "".join(document["failedGates"])
    assert history.diff("family", "--fail-on", "choice")[0] == 0, "the stack file asked for it"


def test_two_catalogues_of_the_history(history: History):
    def diff(*arguments):
        done = history.repository.gpufleet("catalog", "diff", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    commits = history.commits["dearer_type"]
    found = json.loads(diff(*commits, "--format", "json"))
    assert [(p["region"], p["name"], p["kind"], p["beforeUsd"], p["afterUsd"]) for p in found["prices"]] == [
        ("us-east-1", "g6.xlarge", "on demand", 0.9048, 1.9048)
    ]
    assert found["types"] == found["gpus"] == found["offers"] == []
    assert diff().endswith("Nothing differs.\n"), "this checkout against its own HEAD"
    shown = diff(*commits)
    assert "us-east-1  g6.xlarge  0.9048  1.9048  +110.5%" in shown


def test_deleted_stack(history: History):
    _, document = history.diff("deleted_stack")
    stack = only(document, status="removed")
    assert stack["stack"] == INDIA_STACK
    assert kinds(stack) == {"removal"}
    assert document["touched"] == []
    assert stack["monthlyUsd"]["difference"] == {"min": 0.0, "desired": 0.0, "max": 0.0}


def test_new_stack(history: History):
    _, document = history.diff("new_stack")
    stack = only(document, status="added")
    assert document["touched"] == [NEW_STACK]
    assert set(operations(stack).values()) == {"create"}
    assert stack["monthlyUsd"]["before"] is None
    assert document["monthlyIncreaseUsd"] == stack["monthlyUsd"]["after"]
    assert kinds(stack) == {"fallback", "quota"}


def test_broken_file(history: History):
    """It says what and where, and the other stacks are still compared."""
    status, document = history.diff("broken_file")
    assert status == 1
    stack = only(document, status="broken")
    [note] = stack["notes"]
    assert f"stacks/Pulumi.{DEV_STACK}.yaml" in note
    assert "did you mean max?" in note
    assert asked(stack) == {"scaling.max": (2, None), "scaling.maximum": (None, 2)}
    assert document["broken"] == [DEV_STACK]
    assert len(document["stacks"]) == 4


def test_mended_file(history: History):
    """The other way round: nobody knows what stands, and HEAD is fine."""
    before, after = history.commits["broken_file"]
    done = history.repository.gpufleet("diff", after, before, "--format", "json")
    assert done.returncode == 0
    stack = only(json.loads(done.stdout), status="mended")
    assert "did you mean max?" in stack["notes"][0]
    assert stack["monthlyUsd"] is None
    assert stack["operations"] is None


def test_the_whole_history_at_once(history: History):
    first, last = history.commits["precision"][0], history.commits["new_stack"][1]
    done = history.repository.gpufleet("diff", first, last, "--format", "json")
    document = json.loads(done.stdout)
    assert {s["stack"]: s["status"] for s in document["stacks"]} == {
        DEV_STACK: "changed", INDIA_STACK: "removed", INT8_STACK: "changed", FP8_STACK: "changed", NEW_STACK: "added",
    }  # fmt: skip
    differences = [s["monthlyUsd"]["difference"]["max"] for s in document["stacks"]]
    assert document["monthlyIncreaseUsd"]["max"] == pytest.approx(sum(differences), abs=0.05)


@pytest.mark.parametrize(
    ("change", "options", "status", "gate"),
    [
        ("precision", ["--max-monthly-increase", "30000"], 0, ""),
        (
            "precision",
            ["--max-monthly-increase", "10000"],
            3,
            "--max-monthly-increase 10000: all stacks together may cost 23,919",
        ),
        ("tag", ["--fail-on", "replacement,public"], 0, ""),
        ("tag", ["--fail-on", "replacement,rollout"], 3, f"--fail-on rollout: {DEV_STACK}: every instance"),
        ("new_stack", ["--fail-on", "any"], 3, "--fail-on fallback"),
        ("deleted_stack", ["--fail-on", "removal"], 3, "go on running"),
    ],
)
def test_gates(history: History, change, options, status, gate):
    found, document = history.diff(change, *options)
    assert found == status
    assert bool(document["failedGates"]) is bool(gate)
    assert gate in "".join(document["failedGates"])
    if "--max-monthly-increase" in options:
        assert ("cost" in kinds(only(document))) is bool(gate)


def test_the_same_commits_give_the_same_bytes(history: History):
    commits = history.commits["precision"]
    first, second = (history.repository.gpufleet("diff", *commits, "--format", "markdown").stdout for _ in range(2))
    assert first == second
    assert first


def test_nothing_of_the_comparison_is_left_behind(history: History):
    history.diff("tag")
    assert history.repository.git("worktree", "list").count("\n") == 0
    assert history.repository.git("status", "--porcelain") == ""


def test_every_view_names_what_matters(history: History):
    commits = history.commits["precision"]
    for view in ("table", "markdown"):
        shown = history.repository.gpufleet("diff", *commits, "--format", view).stdout
        for expected in (
            INT8_STACK,
            "g5.12xlarge",
            "rollout",
            "fallback",
            "+7,605",
            "model.precision",
            "gpufleet-template",
        ):
            assert expected in shown, (view, expected)


def test_the_readme_shows_a_comment_as_it_is(history: History):
    """Written anew by `python -m tests.review.history`."""
    text = README.read_text(encoding="utf-8")
    assert with_comment(text, readme_comment(history)) == text
