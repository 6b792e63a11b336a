"""What an instance fetches before its servers start, and what the server is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements

COMMIT = "b968826d9c46dd6066d109eabc6255188de91218"


def planned(model: dict[str, Any], **sections: Any) -> DeploymentPlan:
    document = {
        "region": "us-east-1",
        "model": {"id": "Qwen/Qwen3-8B", "precision": "fp16"} | model,
        "scaling": {"min": 1, "max": 2},
        **sections,
    }
    return plan_deployment(parse_requirements(document), load_catalog())


def value_of(flag: str, plan: DeploymentPlan) -> str | None:
    command = plan.server.command
    return command[command.index(flag) + 1] if flag in command else None


@pytest.mark.parametrize(
    ("source", "downloads", "path", "revision"),
    [
        (None, ("hf://Qwen/Qwen3-8B",), "Qwen/Qwen3-8B", None),
        (f"hf://Qwen/Qwen3-8B@{COMMIT}", (f"hf://Qwen/Qwen3-8B@{COMMIT}",), "Qwen/Qwen3-8B", COMMIT),
        ("hf://acme/tuned@v1.0", ("hf://acme/tuned@v1.0",), "acme/tuned", "v1.0"),
        ("s3://weights/qwen3/", ("s3://weights/qwen3/",), "/models/Qwen/Qwen3-8B", None),
        ("image:/weights", (), "/weights", None),
    ],
)
def test_a_source_is_fetched_at_its_revision(
    source: str | None, downloads: tuple[str, ...], path: str, revision: str | None
) -> None:
    plan = planned({"source": source} if source else {})
    assert plan.model.downloads == downloads
    assert (value_of("--model", plan), value_of("--revision", plan)) == (path, revision)


def test_a_draft_is_fetched_too() -> None:
    plan = planned({"source": "s3://weights/qwen3", "draft": {"id": "Qwen/Qwen3-0.6B"}})
    assert plan.model.downloads == ("s3://weights/qwen3", "hf://Qwen/Qwen3-0.6B")


def test_a_server_of_the_users_own_fetches_for_itself() -> None:
    plan = plan_deployment(
        parse_requirements(
            {
                "region": "us-east-1",
                "model": {"id": "stabilityai/stable-diffusion-xl-base-1.0"},
                "serving": {"image": "registry.example.com/sdxl:1.4", "port": 8080, "healthPath": "/healthz"},
                "scaling": {"min": 1, "max": 2},
            }
        ),
        load_catalog(),
    )
    assert plan.model.downloads == ()


def test_an_argument_cannot_take_another_revision() -> None:
    with pytest.raises(RequirementError, match="--revision") as error:
        planned({"source": f"hf://Qwen/Qwen3-8B@{COMMIT}"}, serving={"args": ["--revision", "main"]})
    assert "model.source decides" in error.value.problems[0].next_step


@pytest.mark.parametrize("source", ["hf://Qwen/Qwen3-8B@", "hf://Qwen/Qwen3-8B@a b", "hf://Qwen@x/y", "hf://a/b@$(id)"])
def test_what_is_no_revision_is_refused(source: str) -> None:
    with pytest.raises(RequirementError, match=r"model\.source"):
        planned({"source": source})


def test_a_gated_model_needs_its_token_at_a_revision_too() -> None:
    with pytest.raises(RequirementError, match="gated"):
        planned({"id": "meta-llama/Llama-3.1-8B-Instruct", "source": "hf://meta-llama/Llama-3.1-8B-Instruct@main"})


def test_a_start_that_takes_long_has_a_hook_as_long_as_there_is() -> None:
    timing = planned({}).timing
    assert timing.load_seconds < timing.lifecycle_timeout_seconds <= 7200
