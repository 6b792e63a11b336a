"""A fleet of a diffusion pipeline: the machine, the user's own server, and what is refused."""

from __future__ import annotations

import pytest

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import NothingFitsError, RequirementError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
IMAGE = "registry.example.com/sdxl-server:1.4"
TOKEN = "arn:aws:ssm:us-east-1:123456789012:parameter/hf-token"


def plan(model=None, serving=None, **sections) -> DeploymentPlan:
    document = {
        "region": "us-east-1",
        "model": {"id": SDXL, **(model or {})},
        "serving": {"image": IMAGE, **(serving or {})},
        "scaling": {"min": 1, "max": 2},
        **sections,
    }
    return plan_deployment(parse_requirements(document), load_catalog())


def refused(**keys):
    with pytest.raises(RequirementError) as caught:
        plan(**keys)
    return {problem.path: problem for problem in caught.value.problems}


def test_the_server_is_the_users_own_and_gets_nothing_of_ours():
    serving = {"args": ["--preload", "sdxl"], "environment": {"A": "b"}, "port": 8080, "healthPath": "/healthz"}
    server = plan(serving=serving).server
    assert (server.engine, server.image) == ("diffusers", IMAGE)
    assert server.command == ("--preload", "sdxl")
    assert server.environment == {"A": "b"}
    assert (server.port, server.replica_ports, server.health_path) == (8080, (8080,), "/healthz")
    assert server.max_model_len is server.max_num_seqs is server.kv_cache_dtype is None


def test_the_machine_follows_from_the_largest_phase():
    small, large = plan(), plan(serving={"diffusion": {"imagesPerPrompt": 8}})
    assert small.instance.gpu.name in ("T4", "L4")
    assert large.memory.per_gpu.total_gib > small.memory.per_gpu.total_gib
    assert large.instance.gpu.memory_mib > small.instance.gpu.memory_mib
    for planned in (small, large):
        assert planned.memory.per_gpu.total_gib <= planned.memory.per_gpu.budget_gib
        assert planned.tensor_parallelism == 1


def test_every_gpu_of_an_instance_serves_a_replica_behind_the_proxy():
    planned = plan(instance={"type": "g6.12xlarge"})
    assert planned.replicas_per_instance == 4
    assert planned.proxy is not None
    assert planned.server.replica_ports == (8001, 8002, 8003, 8004)


def test_a_plan_survives_json():
    planned = plan(model={"pipeline": {"loras": [{"rank": 8}]}})
    assert DeploymentPlan.from_json(planned.to_json()) == planned
    assert planned.to_json() == plan(model={"pipeline": {"loras": [{"rank": 8}]}}).to_json()


def test_the_weights_of_the_model_are_all_of_them_wherever_they_wait():
    apart, resident = plan(serving={"diffusion": {"offload": "model"}}), plan()
    assert apart.model.weights_gib == resident.model.weights_gib
    assert apart.memory.per_gpu.weights_gib < resident.memory.per_gpu.weights_gib
    assert {part.name for part in apart.host.parts} == {"processes", "offloaded weights"}
    assert apart.limits.memory_mib >= apart.host.memory_mib


def test_the_disk_holds_every_network():
    more = plan(model={"pipeline": {"controlNets": [{}], "alongside": [{"id": "runwayml/stable-diffusion-v1-5"}]}})
    assert more.storage.weights_gib > plan().storage.weights_gib + 4


def test_an_image_is_required():
    document = {"region": "us-east-1", "model": {"id": SDXL}, "scaling": {"min": 1, "max": 2}}
    with pytest.raises(RequirementError) as caught:
        plan_deployment(parse_requirements(document), load_catalog())
    assert [p.path for p in caught.value.problems] == ["serving.image"]
    assert "diffusers" in caught.value.describe()


def test_a_gated_pipeline_needs_a_token():
    flux = {"id": "black-forest-labs/FLUX.1-dev", "precision": "int4"}
    assert "serving.secrets.HF_TOKEN" in refused(model=flux)
    assert plan(model=flux, serving={"secrets": {"HF_TOKEN": TOKEN}}).server.secrets == {"HF_TOKEN": TOKEN}


def test_mistakes_of_the_pipeline_and_of_the_fleet_are_told_together():
    found = refused(
        model={"tensorParallelism": 2}, serving={"maxModelLen": 8}, instance={"families": ["g99"]},
    )  # fmt: skip
    assert {"model.tensorParallelism", "serving.maxModelLen", "instance.families.0"} <= set(found)


def test_where_nothing_fits_the_options_that_would_do_are_told():
    with pytest.raises(NothingFitsError) as caught:
        plan(
            model={"id": "black-forest-labs/FLUX.1-schnell", "precision": "bf16"}, instance={"type": "g6.2xlarge"},
        )  # fmt: skip
    problem = caught.value.problems[0]
    assert "decoding takes" in problem.message
    assert "set model.precision to int4" in problem.next_step
    smaller = plan(
        model={"id": "black-forest-labs/FLUX.1-schnell", "precision": "int4"}, instance={"type": "g6.2xlarge"},
    )  # fmt: skip
    assert smaller.instance.type == "g6.2xlarge"
