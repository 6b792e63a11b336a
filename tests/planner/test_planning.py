"""Requirements to plan, through the public way in: the choice, its reasons, its JSON, its refusals."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
import yaml
from documents import LLAMA_8B, document, plan
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import NothingFitsError, PlanningError, RequirementError
from gpufleet.planner.facts import AccountFacts, SubnetFact, Zone
from gpufleet.planner.network import ENDPOINT_SERVICES
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from gpufleet.planner.values import Endpoint

CONTRACT = {
    "schemaVersion", "region", "model", "memory", "kvBytesPerToken", "kvCacheTokens", "fullContexts", "instance",
    "tensorParallelism", "replicasPerInstance", "limits", "limitsByType", "fallbacks", "availabilityZoneIds", "capacity",
    "cost", "candidates", "warnings",
}  # fmt: skip
PER_GPU = {
    "weightsGiB", "activationsGiB", "nonTorchGiB", "cudaGraphsGiB", "kvCacheGiB", "kvNeededGiB", "headroomGiB", "totalGiB",
    "budgetGiB", "usableGiB",
}  # fmt: skip


def candidate(planned: DeploymentPlan, name: str):
    return next(c for c in planned.candidates if c.type == name)


RESERVATIONS = {"reservationIds", "reservationGroupArns"}


def test_the_json_has_every_name_of_the_contract():
    found = json.loads(plan().to_json())
    assert set(found) >= CONTRACT
    assert set(found["memory"]) == {"perGpu", "kvBytesPerToken", "kvCacheTokens", "fullContexts", "longestContext"}
    assert set(found["memory"]["perGpu"]) == PER_GPU
    assert all(found[name] == found["memory"][name] for name in ("kvBytesPerToken", "kvCacheTokens", "fullContexts"))
    assert set(found["instance"]) >= {"type", "family", "vcpu", "memoryMiB", "gpu"}
    assert set(found["instance"]["gpu"]) == {"name", "count", "memoryMiB"}
    assert set(found["limits"]) == {"vcpu", "memoryMiB"}
    assert set(found["capacity"]) == {"min", "desired", "max", "onDemandBase", "spotPercentage"} | RESERVATIONS
    assert set(found["cost"]) == {
        "currency", "priceDate", "hourly", "monthly", "onDemand", "spot", "waste", "items"
    }  # fmt: skip
    assert set(found["candidates"][0]) == {
        "type", "verdict", "reason", "tensorParallelism", "replicasPerInstance", "hourlyUsd", "hourlyUsdPerReplica",
        "spotHourlyUsd", "availabilityZoneIds", "pipelineParallelism", "gpu", "gpuCount", "usableGiB", "budgetGiB",
        "neededGiB", "shortfallGiB", "idleGpus", "idleGpuMemoryGiB",
    }  # fmt: skip


def test_a_plan_survives_json_and_is_the_same_bytes_each_time():
    first, second = plan(), plan()
    assert first.to_json() == second.to_json()
    assert DeploymentPlan.from_json(first.to_json()) == first


def test_the_parts_of_the_memory_add_up():
    memory = plan().memory.per_gpu
    assert memory.total_gib == pytest.approx(
        memory.weights_gib + memory.activations_gib + memory.non_torch_gib + memory.cuda_graphs_gib, abs=1e-3
    )
    assert memory.kv_cache_gib == pytest.approx(memory.budget_gib - memory.total_gib, abs=1e-3)
    assert memory.budget_gib == pytest.approx(0.9 * memory.usable_gib, abs=1e-3)
    assert memory.headroom_gib == pytest.approx(memory.kv_cache_gib - memory.kv_needed_gib, abs=1e-3)


def test_8b_at_fp16_does_not_fit_a_t4_and_the_plan_says_why():
    planned = plan()
    t4 = candidate(planned, "g4dn.xlarge")
    assert t4.verdict == "rejected"
    assert "14.99 GiB" in t4.reason
    assert "T4" in t4.reason
    assert planned.instance.gpu.name == "L4"
    assert planned.instance.type == "g6.xlarge"


def test_every_offered_type_stands_once_in_the_candidates_with_a_reason():
    planned = plan()
    offered = {o.instance_type.name for o in load_catalog().offers("us-east-1")}
    assert [c.type for c in planned.candidates] == sorted(offered)
    assert all(c.reason for c in planned.candidates)
    assert [c.type for c in planned.candidates if c.verdict == "choice"] == [planned.instance.type]
    assert {c.type for c in planned.candidates if c.verdict == "fallback"} == set(planned.fallbacks)


def test_a_preferred_family_that_cannot_is_passed_over_with_its_reason():
    planned = plan(region="ap-south-1", instance={"families": ["g4dn"]}, model={"tensorParallelism": 1})
    assert planned.instance.family != "g4dn"
    assert any("g4dn was passed over" in w and "weights alone" in w for w in planned.warnings)


def test_preference_is_an_order_and_a_dear_one_is_warned_of_with_both_prices():
    planned = plan(instance={"families": ["g6e"]})
    assert planned.instance.family == "g6e"
    (warning,) = [w for w in planned.warnings if "times" in w]
    assert "1.8610" in warning
    assert "g6.xlarge at 0.8048" in warning


def test_the_size_grows_within_the_family_until_the_host_holds_the_server():
    planned = plan(serving={"minMemory": "20GiB"}, instance={"families": ["g6"]})
    assert planned.instance.type == "g6.2xlarge"
    assert "minMemory" in candidate(planned, "g6.xlarge").reason


@pytest.mark.parametrize(
    ("instance", "name", "says"),
    [
        ({"exclude": ["g6"]}, "g6.xlarge", "instance.exclude names g6"),
        ({"maxPricePerHour": 0.9}, "g6.2xlarge", "maxPricePerHour is 0.90"),
        ({"maxGpus": 1}, "g6.12xlarge", "maxGpus is 1"),
        ({"minZones": 5}, "g6e.xlarge", "minZones is 5"),
        ({"type": "g5.xlarge"}, "g6.xlarge", "pins g5.xlarge"),
        ({}, "g5g.xlarge", "arm64"),
        ({}, "g6f.xlarge", "GRID"),
        ({}, "inf2.xlarge", "Neuron"),
    ],
)
def test_each_filter_names_itself(instance, name, says):
    found = candidate(plan(instance=instance), name)
    assert found.verdict == "rejected"
    assert says in found.reason


def test_several_replicas_share_the_instance_behind_a_proxy():
    planned = plan(instance={"type": "g6.12xlarge"}, model={"tensorParallelism": 2})
    assert planned.replicas_per_instance == 2
    assert planned.proxy is not None
    assert planned.server.replica_ports == (8001, 8002)
    assert planned.limits.vcpu == pytest.approx((48 * 0.8 - 0.5) / 2)
    assert planned.server.command.count("--port") == 1


def test_auto_takes_the_smallest_degree_that_fits():
    planned = plan(instance={"type": "g4dn.12xlarge"})
    assert planned.tensor_parallelism == 2
    assert planned.replicas_per_instance == 2


def test_fallbacks_run_the_same_replicas_and_have_limits():
    planned = plan()
    assert planned.fallbacks
    assert list(planned.limits_by_type) == [planned.instance.type, *planned.fallbacks]
    for name in planned.fallbacks:
        stand_in = candidate(planned, name)
        assert stand_in.replicas_per_instance == planned.replicas_per_instance
        assert stand_in.tensor_parallelism == planned.tensor_parallelism
        assert set(stand_in.availability_zone_ids) & set(planned.availability_zone_ids)


def test_bf16_is_the_default_where_the_card_has_it_and_fp16_elsewhere():
    small = {**LLAMA_8B, "num_hidden_layers": 4}
    assert (
        plan(model={"precision": None, "architecture": small}, instance={"type": "g6.xlarge"}).model.precision == "bf16"
    )
    on_t4 = plan(model={"precision": None, "architecture": small}, instance={"type": "g4dn.xlarge"})
    assert on_t4.model.precision == "fp16"
    assert any("no bf16" in w for w in on_t4.warnings)


def test_the_server_runs_with_the_numbers_of_the_plan():
    planned = plan(
        serving={"maxModelLen": 4096, "args": ["--enable-prefix-caching"]}, model={"source": "s3://bucket/llama"}
    )
    command = planned.server.command
    assert command[-1] == "--enable-prefix-caching"
    pairs = dict(zip(command[:-1:2], command[1:-1:2], strict=True))
    assert pairs == {
        "--model": "/models/example/Llama-8B",
        "--served-model-name": "example/Llama-8B",
        "--dtype": "float16",
        "--tensor-parallel-size": "1",
        "--max-model-len": "4096",
        "--max-num-seqs": "16",
        "--gpu-memory-utilization": "0.9",
        "--kv-cache-dtype": "auto",
        "--port": "8000",
    }


@pytest.mark.parametrize(
    "args",
    [
        ["--tensor-parallel-size", "4"],
        ["--tensor-parallel-size=4"],
        ["-tp", "4"],
        ["--max_model_len", "9000"],
        ["--max-model", "9000"],
        ["--port", "9000"],
        ["--pipeline-parallel-size", "2"],
        ["--dtype", "bfloat16"],
    ],
)
def test_an_argument_that_contradicts_the_plan_is_an_error(args):
    with pytest.raises(RequirementError) as caught:
        plan(serving={"args": args})
    assert caught.value.problems[0].path.startswith("serving.args")


def test_an_argument_that_repeats_the_plan_is_harmless():
    assert plan(serving={"args": ["--tensor-parallel-size", "1", "--port=8000"]}).server.command[-1] == "--port=8000"


def test_a_precision_that_the_server_cannot_load_warns_in_the_plan_and_is_refused_by_up():
    planned = plan(model={"precision": "int8"})
    assert len(planned.refusals) == 1
    assert "int8" in planned.refusals[0]
    assert planned.refusals[0] in planned.warnings
    published = {**LLAMA_8B, "quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128}}
    assert plan(model={"precision": "int8", "architecture": published}).refusals == ()
    assert plan(model={"precision": "fp8"}).refusals == ()
    assert plan(model={"precision": "fp16", "architecture": published}).refusals


def test_a_gated_model_needs_its_token():
    gated = {"id": "meta-llama/Llama-3.1-8B-Instruct", "architecture": None}
    with pytest.raises(RequirementError) as caught:
        plan(model=gated)
    assert caught.value.problems[0].path == "serving.secrets.HF_TOKEN"
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/hf"
    assert plan(model=gated, serving={"secrets": {"HF_TOKEN": arn}}).server.secrets == {"HF_TOKEN": arn}
    assert plan(model={**gated, "source": "s3://bucket/llama"}).instance.type


@pytest.mark.parametrize(
    ("sections", "path", "near"),
    [
        ({"region": "us-eats-1"}, "region", "us-east-1"),
        ({"instance": {"type": "g6.xlrage"}}, "instance.type", "g6.xlarge"),
        ({"instance": {"families": ["g66"]}}, "instance.families.0", "g6"),
        ({"instance": {"exclude": ["g6.xlrage"]}}, "instance.exclude.0", "g6.xlarge"),
    ],
)
def test_an_unknown_name_gets_the_nearest_names(sections, path, near):
    with pytest.raises(PlanningError) as caught:
        plan(**sections)
    assert caught.value.problems[0].path == path
    assert near in caught.value.problems[0].next_step


def test_a_type_that_the_region_lacks_names_the_regions_that_have_it():
    with pytest.raises(RequirementError) as caught:
        plan(region="eu-west-1", instance={"type": "g6.xlarge"})
    assert caught.value.problems[0].path == "instance.type"
    assert "us-east-1" in caught.value.problems[0].allowed


def test_when_nothing_fits_the_nearest_misses_say_what_would_make_each_work():
    with pytest.raises(NothingFitsError) as caught:
        plan(instance={"maxPricePerHour": 0.7})
    (problem,) = caught.value.problems
    assert "g6.xlarge" in problem.message
    assert "raise instance.maxPricePerHour" in problem.next_step
    assert {c["verdict"] for c in problem.candidates} == {"rejected"}
    assert plan(instance={"maxPricePerHour": 0.81}).instance.type == "g6.xlarge"


def test_many_gpus_where_one_is_needed_are_never_taken_by_accident():
    only_eights = {"exclude": ["g7e", "p5.4xlarge", "g6e.xlarge"]}
    asked = {"model": {"architecture": {**LLAMA_8B, "num_hidden_layers": 96}, "tensorParallelism": 1}}
    with pytest.raises(NothingFitsError) as caught:
        plan(instance=only_eights, **asked)
    (problem,) = caught.value.problems
    assert "set instance.maxGpus to 8" in problem.next_step
    accepted = plan(instance={**only_eights, "maxGpus": 8}, **asked)
    assert accepted.instance.gpu.count == 8
    pinned = plan(instance={**only_eights, "type": "p5.48xlarge"}, **asked)
    assert pinned.replicas_per_instance == 8
    without = plan()
    assert "instance.maxGpus 8 accepts that" in candidate(without, "p5.48xlarge").reason
    assert candidate(plan(instance={"maxGpus": 8}), "p5.48xlarge").verdict == "possible"


def test_a_candidate_tells_what_it_needs_has_and_leaves_idle():
    planned = plan()
    choice, memory = candidate(planned, planned.instance.type), planned.memory.per_gpu
    assert choice.needed_gib == pytest.approx(memory.total_gib + memory.kv_needed_gib, abs=1e-3)
    assert (choice.gpu, choice.gpu_count, choice.usable_gib) == ("L4", 1, memory.usable_gib)
    assert choice.idle_gpu_memory_gib == pytest.approx(memory.headroom_gib, abs=1e-3)
    t4 = candidate(planned, "g4dn.xlarge")
    assert t4.shortfall_gib == pytest.approx(t4.needed_gib - t4.budget_gib, abs=1e-3)
    assert t4.idle_gpus is None
    assert candidate(planned, "inf2.xlarge").needed_gib is None
    three = plan(model={"tensorParallelism": 1}, instance={"type": "g6.12xlarge"})
    assert candidate(three, "g6.12xlarge").idle_gpus == 0
    lone = plan(model={"tensorParallelism": 4}, instance={"type": "g6.48xlarge"})
    assert candidate(lone, "g6.48xlarge").idle_gpus == 0


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "families": st.lists(st.sampled_from(["g4dn", "g5", "g6", "g6e", "p4d", "p5"]), max_size=3, unique=True),
        "exclude": st.lists(st.sampled_from(["g6.xlarge", "g5", "g6e", "p5.4xlarge", "g7"]), max_size=3, unique=True),
        "maxPricePerHour": st.floats(0.5, 60).map(lambda p: round(p, 2)),
        "maxGpus": st.sampled_from([1, 2, 4, 8]),
        "minZones": st.integers(1, 4),
        "optimize": st.sampled_from(["cost", "costPerReplica"]),
    },
)


TRIED = re.compile(r"(?:set|lower|raise) ([\w.]+) to ([\w.]+) \(then ([\w.-]+) serves it\)")
ELSEWHERE = re.compile(r"take the region ([\w-]+) \(there ([\w.-]+) serves it")


@settings(max_examples=40)
@given(
    region=st.sampled_from(["af-south-1", "eu-west-1", "ap-south-1", "us-west-1"]),
    layers=st.sampled_from([32, 80, 160]),
    degree=st.sampled_from(["auto", 1, 2]),
    context=st.sampled_from([8192, 131072]),
    contexts=st.sampled_from([1, 8]),
    instance=OPTIONS,
)
def test_every_change_that_is_advised_works(region, layers, degree, context, contexts, instance):
    """Each advised change is made in the document, which is planned again."""
    asked = document(
        region=region,
        model={"architecture": {**LLAMA_8B, "num_hidden_layers": layers}, "tensorParallelism": degree},
        serving={"maxModelLen": context, "fullContexts": contexts},
        instance=instance,
    )
    catalog = load_catalog()
    try:
        plan_deployment(parse_requirements(asked), catalog)
    except NothingFitsError as error:
        advice = error.problems[0].next_step
    else:
        return
    tried = TRIED.findall(advice)
    assert tried or ELSEWHERE.search(advice) or "remove " in advice or "no single change" in advice
    for key, value, name in tried:
        section, _, field = key.partition(".")
        changed = {**asked, section: {**asked.get(section, {}), field: yaml.safe_load(value)}}
        found = plan_deployment(parse_requirements(changed), catalog)
        assert candidate(found, name).verdict != "rejected"
    for other, name in ELSEWHERE.findall(advice):
        assert plan_deployment(parse_requirements({**asked, "region": other}), catalog).instance.type == name


def test_a_region_without_gpus_says_so_and_names_another():
    with pytest.raises(NothingFitsError) as caught:
        plan(region="ca-west-1")
    (problem,) = caught.value.problems
    assert problem.message == "ca-west-1 offers no accelerated instance type"
    assert "take the region ca-central-1" in problem.next_step


def test_an_invalid_degree_lists_the_valid_ones():
    with pytest.raises(RequirementError) as caught:
        plan(model={"tensorParallelism": 3})
    assert "1, 2, 4, 8" in caught.value.problems[0].allowed


def test_a_context_longer_than_the_models_own_is_refused():
    with pytest.raises(RequirementError) as caught:
        plan(serving={"maxModelLen": 200000})
    assert caught.value.problems[0].path == "serving.maxModelLen"


FACTS = AccountFacts(
    zones=(
        Zone(id="use1-az1", name="us-east-1c"),
        Zone(id="use1-az2", name="us-east-1a"),
        Zone(id="use1-az3", name="us-east-1e"),
    ),
    ami_id="ami-0123456789abcdef0",
)


def test_the_account_narrows_the_zones_and_names_them():
    planned = plan(FACTS)
    assert planned.availability_zone_ids == ("use1-az1", "use1-az2")
    assert [(s.zone_id, s.zone_name) for s in planned.network.subnets] == [
        ("use1-az1", "us-east-1c"), ("use1-az2", "us-east-1a"), ("use1-az3", "us-east-1e"),
    ]  # fmt: skip
    assert planned.machine_image.id == "ami-0123456789abcdef0"


def test_given_subnets_narrow_the_zones_and_the_balancer_needs_two():
    vpc = "vpc-12345678"
    one = SubnetFact(id="subnet-11111111", vpc_id=vpc, zone_id="use1-az1")
    two = SubnetFact(id="subnet-22222222", vpc_id=vpc, zone_id="use1-az2")
    network = {"vpcId": vpc, "subnetIds": [one.id, two.id]}
    facts = AccountFacts(zones=FACTS.zones, subnets=(one, two), vpc_cidr="10.1.0.0/16", ami_id="ami-12345678")
    planned = plan(facts, network=network)
    assert planned.network.instance_subnet_ids == (one.id, two.id)
    assert planned.network.subnets == ()
    with pytest.raises(RequirementError, match="two zones"):
        plan(
            AccountFacts(zones=FACTS.zones, subnets=(one,), vpc_cidr="10.1.0.0/16"),
            network={"vpcId": vpc, "subnetIds": [one.id]},
        )


def test_subnets_of_zones_never_overlap_and_do_not_depend_on_the_type():
    import ipaddress

    planned, other = plan(), plan(instance={"type": "p5.48xlarge"})
    assert planned.network == other.network
    nets = [ipaddress.ip_network(c) for s in planned.network.subnets for c in (s.private_cidr, s.public_cidr)]
    assert not any(a.overlaps(b) for i, a in enumerate(nets) for b in nets[:i])
    assert all(n.subnet_of(ipaddress.ip_network("10.0.0.0/16")) for n in nets)


@settings(max_examples=60)
@given(
    instance=OPTIONS,
    region=st.sampled_from(["us-east-1", "eu-west-1", "ap-south-1", "sa-east-1"]),
    layers=st.sampled_from([8, 32, 80]),
    degree=st.sampled_from(["auto", 1, 2, 4, 8]),
    context=st.sampled_from([2048, 8192, 65536]),
)
def test_the_choice_is_the_best_of_all_that_can(instance, region, layers, degree, context):
    """Against exhaustive search: each offered type is planned alone, as if pinned, and ranked by the documented rules."""
    asked = document(
        region=region,
        model={"architecture": {**LLAMA_8B, "num_hidden_layers": layers}, "tensorParallelism": degree},
        serving={"maxModelLen": context},
        instance=instance,
    )
    catalog = load_catalog()
    families = instance.get("families", [])
    alone = []
    for offer in catalog.offers(region):
        kind = offer.instance_type
        if kind.name in instance.get("exclude", []) or kind.family in instance.get("exclude", []):
            continue
        try:
            found = plan_deployment(parse_requirements({**asked, "instance": {**instance, "type": kind.name}}), catalog)
        except NothingFitsError:
            continue
        if "maxGpus" not in instance and kind.gpu_count >= 8 * found.gpus_per_replica:
            continue
        price = offer.price.on_demand_usd_per_hour
        per = found.replicas_per_instance if instance.get("optimize") == "costPerReplica" else 1
        place = families.index(kind.family) if kind.family in families else len(families)
        idle = kind.gpu_count - found.replicas_per_instance * found.tensor_parallelism
        cost = 0 if price is None else round(price / per, 6)
        alone.append(((place, price is None, cost, idle, -kind.generation, kind.name), found))
    try:
        planned = plan_deployment(parse_requirements(asked), catalog)
    except NothingFitsError:
        assert not alone
        return
    _, best = min(alone, key=lambda pair: pair[0])
    assert planned.instance == best.instance
    assert planned.tensor_parallelism == best.tensor_parallelism


def test_gateways_stand_where_the_fleet_may_run_and_in_the_first_zone():
    single, own = plan(network={"natPerZone": False}), plan(network={"natPerZone": True})
    first = single.network.subnets[0].zone_id
    assert single.network.nat_zone_ids == (first,)
    assert own.network.nat_zone_ids[0] == first
    assert set(own.network.nat_zone_ids) == {first, *own.availability_zone_ids}


def test_every_endpoint_that_can_be_named_has_its_services():
    assert set(ENDPOINT_SERVICES) == set(get_args(Endpoint))
    planned = plan(network={"endpoints": ["ssm", "ecr"]}).network
    assert planned.endpoint_services == ("ecr.api", "ecr.dkr", "ssm", "ssmmessages")
    assert planned.endpoint_zone_ids == plan().availability_zone_ids
    assert plan().network.endpoint_services == plan().network.endpoint_zone_ids == ()
