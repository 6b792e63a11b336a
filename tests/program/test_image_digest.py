"""An image that is named by its digest is pulled and run by it, everywhere."""

from __future__ import annotations

import yaml

from templates.render import render_compose
from tests.program.conftest import Runner

DIGEST = "sha256:" + "0123456789abcdef" * 4
REPOSITORY = "111122223333.dkr.ecr.us-east-1.amazonaws.com/serving/vllm"
IMAGE = f"{REPOSITORY}:v0.19.0@{DIGEST}"


def test_a_digest_goes_from_the_stack_file_into_every_command_on_the_instance(run: Runner) -> None:
    program = run(serving={"image": IMAGE})
    assert program.run.plan.server.image == IMAGE
    mentions = [line.strip() for line in program.scripts().splitlines() if REPOSITORY in line]
    assert len(mentions) >= 2, "pulled and run"
    assert all(IMAGE in line for line in mentions), mentions
    compose = yaml.safe_load(render_compose(program.run.plan))
    assert IMAGE in [service["image"] for service in compose["services"].values()]


def test_the_right_to_pull_is_for_the_repository_not_its_digest(run: Runner) -> None:
    (pull,) = [s for s in run(serving={"image": IMAGE}).statements() if "ecr:BatchGetImage" in s["Action"]]
    assert pull["Resource"] == ["arn:aws:ecr:us-east-1:111122223333:repository/serving/vllm"]
