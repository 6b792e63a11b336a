"""The steps of comment.yml: one comment, updated in place, whatever a pull request's run has left behind."""

from __future__ import annotations

import pytest

from tests.workflows.conftest import Repository
from tests.workflows.github_api import BOT, REPOSITORY
from tests.workflows.runner import RUN_ID, workflow

MARK = "<!-- gpufleet-diff -->"
STACK = "prod-eu-west-1"
FORK = "somebody/fleet"
NUMBER = 7


@pytest.fixture(autouse=True)
def topic(repository: Repository, github) -> None:
    """A branch, and this repository's pull request of it."""
    repository.git("checkout", "-q", "-b", "topic")
    repository.change(STACK, max=12)
    github.open_pull(NUMBER, head=f"{REPOSITORY}:topic", sha=repository.git("rev-parse", "topic"))


def bodies(github, number=NUMBER):
    return [comment["body"] for comment in github.comments.get(number, [])]


def write(comment, **more):
    result = comment(**more).run("comment", "comment")
    assert result.outcome == "success", result.log
    return result


def test_what_the_run_found_becomes_the_comment_of_its_pull_request(repository, github, pull_request, comment):
    compared = pull_request(NUMBER).run("pull-request", "diff")
    assert compared.outcome == "success", compared.log
    write(comment)
    [body] = bodies(github)
    assert body.startswith(f"{MARK}\n### gpufleet: ")
    assert compared.summary.removeprefix(MARK).strip() in body
    commit = repository.git("rev-parse", "topic")
    assert body.endswith(f"\n\nCommit {commit}, [run](https://github.com/{REPOSITORY}/actions/runs/{RUN_ID}).")


def test_a_second_push_updates_the_comment_and_leaves_the_others(repository, github, comment):
    before = [github.comment(NUMBER, f"comment {i}", {"login": "somebody", "type": "User"}) for i in range(130)]
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": f"{MARK}\nfirst".encode()})
    write(comment)
    github.comment(NUMBER, "thanks", {"login": "somebody", "type": "User"})
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": f"{MARK}\nsecond".encode()})
    write(comment)
    ours = [body for body in bodies(github) if body.startswith(MARK)]
    assert len(ours) == 1
    assert "second" in ours[0]
    assert "first" not in ours[0]
    assert bodies(github)[: len(before)] == [c["body"] for c in before]
    assert len(bodies(github)) == len(before) + 2


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ({"login": "stranger", "type": "User"}, f"{MARK}\nof a stranger"),
        ({"login": "github-actions[bot]", "type": "User"}, f"{MARK}\nof somebody who took the name"),
        (BOT, "#### :tropical_drink: `preview` on gpufleet/dev-us-east-1"),
        (BOT, f"quotes {MARK}"),
    ],
)
def test_a_comment_that_is_not_ours_is_not_touched(github, comment, user, text):
    github.comment(NUMBER, text, user)
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": f"{MARK}\nours".encode()})
    write(comment)
    assert bodies(github)[0] == text
    assert len(bodies(github)) == 2
    assert "ours" in bodies(github)[1]


def test_a_fork_gets_its_comment_too(repository, github, comment):
    sha = repository.git("rev-parse", "topic")
    github.open_pull(8, head=f"{FORK}:topic", sha=sha)
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": f"{MARK}\nof the fork".encode()})
    write(comment, head=f"{FORK}:topic")
    assert bodies(github) == []
    [body] = bodies(github, 8)
    assert "of the fork" in body


@pytest.mark.parametrize(
    ("head", "state", "base"),
    [
        ("somebody/other:topic", "open", "main"),
        (f"{FORK}:another", "open", "main"),
        (f"{FORK}:topic", "closed", "main"),
        (f"{FORK}:topic", "open", "release"),
    ],
)
def test_a_run_of_a_fork_reaches_no_pull_request_but_its_own(repository, github, comment, head, state, base):
    github.open_pull(8, head=head, sha=repository.git("rev-parse", "topic"), state=state, base=base)
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": b"hostile", "number": b"7", "pull.json": b'{"number": 7}'})
    result = write(comment, head=f"{FORK}:topic")
    assert github.comments == {}
    assert "nothing to say" in result.log


def test_an_overtaken_run_says_nothing(github, comment):
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": f"{MARK}\nold".encode()})
    write(comment, sha="0123456789012345678901234567890123456789")
    assert github.comments == {}


def test_a_huge_text_is_cut(github, comment):
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": (MARK + "\n" + "ä@a " * 5_000_000).encode()})
    write(comment)
    [body] = bodies(github)
    assert 50_000 < len(body) <= 65_536
    assert body.startswith(MARK)
    assert "[run](" in body.splitlines()[-1]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"diff.md": b""},
        {"diff.json": b"{}"},
        {"../../diff.md": b"elsewhere"},
    ],
)
def test_a_run_that_left_no_text_does_not_leave_the_old_comment_standing(github, comment, files):
    github.comment(NUMBER, f"{MARK}\nold", BOT)
    if files:
        github.upload(RUN_ID, "gpufleet-diff", files)
    write(comment)
    [body] = bodies(github)
    assert body.startswith(f"{MARK}\n### gpufleet: no comparison\n")


def test_an_expired_or_another_artifact_is_not_taken(github, comment):
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": b"right"})
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": b"expired"}, expired=True)
    github.upload(RUN_ID, "gpufleet-diff-2", {"diff.md": b"another"})
    github.upload(RUN_ID + 1, "gpufleet-diff", {"diff.md": b"of another run"})
    write(comment)
    assert "right" in bodies(github)[0]


def test_a_broken_archive_is_no_text(github, comment):
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": b"x"})
    github.archives = {identity: b"no archive" for identity in github.archives}
    write(comment)
    assert "no comparison" in bodies(github)[0]


def test_nobody_is_called_and_nothing_is_run_by_what_a_fork_writes(github, comment, tmp_path):
    hostile = (
        "@acme/admins (@owner) a@b $(touch pwned) `touch pwned` ${{ github.token }} <script>x</script>\n::error::x"
    )
    github.upload(RUN_ID, "gpufleet-diff", {"diff.md": hostile.encode(), "step.sh": b"touch pwned"})
    result = write(comment)
    [body] = bodies(github)
    assert "@\u200bacme/admins (@\u200bowner) a@b" in body
    assert "<script>" in body  # GitHub shows it as text, as it does in every comment
    assert "::error::" not in result.log
    assert not list(tmp_path.rglob("pwned"))


def test_it_waits_for_runs_of_pull_requests_that_came_to_an_end(comment):
    runner = comment()
    assert runner.starts("comment", "comment")
    for key, value in (("event", "push"), ("conclusion", "cancelled")):
        other = comment()
        other.event["workflow_run"][key] = value
        assert not other.starts("comment", "comment")
    assert workflow("comment")["on"]["workflow_run"]["workflows"] == [workflow("pull-request")["name"]]


def test_it_checks_out_nothing(comment):
    assert write(comment).used == []
