"""The contract of the requirements document, and its mistakes: one clear problem each."""

from __future__ import annotations

import pytest
from documents import document
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.planner.errors import RequirementError
from gpufleet.planner.requirements import Requirements, parse_requirements

EXAMPLE = {
    "region": "us-east-1",
    "model": {
        "id": "Qwen/Qwen3-8B",
        "source": "hf://Qwen/Qwen3-8B",
        "parameters": "8.19B",
        "precision": "fp16",
        "tensorParallelism": "auto",
    },
    "serving": {
        "engine": "vllm",
        "image": "vllm/vllm-openai:v0.19.0",
        "args": [],
        "environment": {},
        "secrets": {"HF_TOKEN": "arn:aws:ssm:us-east-1:123456789012:parameter/hf-token"},
        "port": 8000,
        "healthPath": "/health",
        "maxModelLen": 8192,
        "maxNumSeqs": 16,
        "fullContexts": 1,
        "kvCacheDtype": "auto",
        "gpuMemoryUtilization": 0.9,
        "minVcpu": 2,
        "minMemory": "4GiB",
    },
    "instance": {
        "families": ["g6", "g5"],
        "exclude": ["g6.xlarge", "p3dn"],
        "type": "g6.2xlarge",
        "architecture": "x86_64",
        "maxPricePerHour": 3.00,
        "maxGpus": 8,
        "minZones": 1,
        "optimize": "cost",
        "ami": "latest",
        "onDemandBase": 1,
        "spotPercentage": 0,
    },
    "scaling": {
        "min": 1,
        "desired": 1,
        "max": 4,
        "gpuUtilization": 70,
        "cpuUtilization": 60,
        "latency": {"percentile": "p90", "target": "2s"},
    },
    "network": {
        "vpcId": "vpc-0123456789abcdef0",
        "subnetIds": ["subnet-0123456789abcdef0"],
        "loadBalancerSubnetIds": ["subnet-0123456789abcdef1", "subnet-0123456789abcdef2"],
        "internal": True,
        "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012",
        "allowedCidrs": ["10.0.0.0/8"],
    },
    "tags": {"team": "search"},
}


GIVEN_VPC = {"vpcId": EXAMPLE["network"]["vpcId"], "subnetIds": EXAMPLE["network"]["subnetIds"]}
CERTIFICATE = EXAMPLE["network"]["certificateArn"]


def problems(**sections):
    with pytest.raises(RequirementError) as caught:
        parse_requirements(document(**sections))
    return caught.value.problems


def test_every_key_of_the_contract_is_taken():
    parsed = parse_requirements(EXAMPLE)
    assert parsed.model.parameters == 8_190_000_000
    assert parsed.serving.min_memory_bytes == 4 * 1024**3
    assert parsed.instance.max_price_usd_per_hour == 3.0
    assert parsed.scaling.latency is not None
    assert parsed.scaling.latency.target_seconds == 2.0
    assert parsed.tags == {"team": "search"}


def test_defaults():
    parsed = parse_requirements(
        {"region": "us-east-1", "model": {"id": "a/b", "parameters": "8B"}, "scaling": {"min": 1, "max": 2}}
    )
    assert parsed.model.weights_source == "hf://a/b"
    assert parsed.model.precision is None
    assert parsed.model.tensor_parallelism == "auto"
    assert parsed.instance.max_gpus is None
    assert parsed.instance.most_gpus == 8
    assert parsed.instance.families == ()
    assert parsed.instance.max_price_usd_per_hour is None
    assert set(parsed.scaling.targets.values()) == {None}
    assert parsed.serving.max_num_seqs is None
    assert parsed.network.internal is True


@pytest.mark.parametrize(
    ("sections", "path", "meant"),
    [
        ({"scaling": {"gpuUtilisation": 70}}, "scaling.gpuUtilisation", "gpuUtilization"),
        ({"serving": {"max_model_len": 8192}}, "serving.max_model_len", "maxModelLen"),
        ({"instance": {"familys": ["g6"]}}, "instance.familys", "families"),
        ({"scaling": {"latency": {"percentil": "p90", "target": 2}}}, "scaling.latency.percentil", "percentile"),
        ({"servng": {}}, "servng", "serving"),
    ],
)
def test_an_unknown_key_names_the_nearest_valid_one(sections, path, meant):
    (problem,) = problems(**sections)
    assert problem.path == path
    assert problem.message == "unknown key"
    assert meant in problem.next_step
    assert meant in problem.allowed


@pytest.mark.parametrize(
    ("sections", "path", "says"),
    [
        ({"model": {"precision": "fp12"}}, "model.precision", "fp32, fp16, bf16, fp8, int8, int4"),
        ({"model": {"tensorParallelism": 0}}, "model.tensorParallelism", "auto"),
        ({"model": {"id": "a b"}}, "model.id", "Qwen/Qwen3-8B"),
        ({"model": {"id": "Qwеn/Qwen3-8B"}}, "model.id", "letters"),  # a Cyrillic е
        ({"scaling": {"max": 10**400}}, "scaling.max", "whole number"),
        ({"model": {"source": "http://x"}}, "model.source", "hf://owner/name"),
        ({"serving": {"gpuMemoryUtilization": 90}}, "serving.gpuMemoryUtilization", "0.9 or 90%"),
        ({"serving": {"port": True}}, "serving.port", "whole number"),
        ({"serving": {"args": "--x"}}, "serving.args", "a list"),
        ({"serving": {"image": "vllm openai"}}, "serving.image", "container image"),
        ({"scaling": {"gpuUtilization": 0.7}}, "scaling.gpuUtilization", "70"),
        ({"scaling": {"min": -1}}, "scaling.min", "0 to"),
        ({"scaling": {"max": "two"}}, "scaling.max", "whole number"),
        ({"scaling": {"min": 3}}, "scaling.min", "0 to 2"),
        ({"scaling": {"desired": 9}}, "scaling.desired", "1 to 2"),
        ({"scaling": {"latency": {"percentile": "p101", "target": 1}}}, "scaling.latency.percentile", "p90"),
        ({"instance": {"spotPercentage": 0.5}}, "instance.spotPercentage", "50"),
        ({"instance": {"spotPercentage": 50, "onDemandBase": 0}}, "instance.onDemandBase", "Spot"),
        ({"instance": {"type": "g6.xlarge", "exclude": ["g6"]}}, "instance.type", "exclude"),
        ({"serving": {"fullContexts": 17}}, "serving.fullContexts", "maxNumSeqs"),
        ({"network": {"allowedCidrs": ["10.0.0.1/8"]}}, "network.allowedCidrs.0", "10.0.0.0/8"),
        ({"network": {"vpcId": "vpc-12345678"}}, "network.subnetIds", "required with network.vpcId"),
        ({"network": {"internal": False, "allowedCidrs": ["0.0.0.0/0"]}}, "network.certificateArn", "HTTPS"),
        ({"network": {"endpoints": ["ecrr"]}}, "network.endpoints.0", "autoscaling, ec2, ecr, logs, monitoring"),
        ({"network": {"endpoints": ["ecrr"]}}, "network.endpoints.0", "did you mean ecr?"),
        ({"network": {"endpoints": ["ecr", "ecr"]}}, "network.endpoints", "named twice"),
        ({"network": {**GIVEN_VPC, "endpoints": ["ecr"]}}, "network.endpoints", "changes nothing"),
        ({"network": {**GIVEN_VPC, "natPerZone": True}}, "network.natPerZone", "changes nothing"),
        ({"network": {**GIVEN_VPC, "flowLogs": True}}, "network.flowLogs", "changes nothing"),
        ({"network": {"accessLogs": "yes"}}, "network.accessLogs", "true or false"),
        ({"network": {"deleteAccessLogs": True}}, "network.deleteAccessLogs", "no access logs"),
        (
            {"network": {"accessLogs": True, "deleteAccessLogs": True}, "protect": True},
            "network.deleteAccessLogs",
            "protect",
        ),
        (
            {"network": {"certificateArn": CERTIFICATE, "tlsPolicy": "ELBSecurityPolicy-2016-08"}},
            "network.tlsPolicy",
            "TLS13",
        ),
        ({"network": {"tlsPolicy": "ELBSecurityPolicy-TLS13-1-3-2021-06"}}, "network.tlsPolicy", "certificateArn"),
        ({"tags": {"AWS:x": "y"}}, "tags.AWS:x", "aws:"),
        ({"tags": {"aws:x": "y"}}, "tags.aws:x", "aws:"),
        ({"region": "useast1"}, "region", "us-east-1"),
    ],
)
def test_a_mistake_ends_in_one_problem_that_says_what_is_allowed(sections, path, says):
    (problem,) = problems(**sections)
    assert problem.path == path
    assert says in problem.describe()


def test_all_problems_are_reported_at_once():
    found = problems(scaling={"min": "x", "max": 0}, model={"precision": "fp12"}, serving={"port": 0})
    assert {p.path for p in found} == {"scaling.min", "scaling.max", "model.precision", "serving.port"}


def test_a_secret_is_never_shown():
    found = problems(serving={"secrets": {"HF_TOKEN": "hf_abcdef"}}, model={"precision": "fp12"})
    assert "hf_abcdef" not in "\n".join(p.describe() for p in found)
    (problem,) = problems(serving={"environment": {"HF_TOKEN": "hf_abcdef"}})
    assert problem.path == "serving.environment.HF_TOKEN"
    assert "hf_abcdef" not in problem.describe()


def test_an_internet_facing_fleet_names_who_may_reach_it():
    arn = EXAMPLE["network"]["certificateArn"]
    (problem,) = problems(network={"internal": False, "certificateArn": arn})
    assert problem.path == "network.allowedCidrs"


def test_a_missing_section_and_an_empty_document():
    with pytest.raises(RequirementError) as caught:
        parse_requirements({})
    assert {p.path for p in caught.value.problems} == {"region", "model", "scaling"}
    with pytest.raises(RequirementError, match="not a requirements document"):
        parse_requirements([])  # type: ignore[arg-type]


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=5,
)
SECTIONS = {name: sorted(f.alias or n for n, f in field.annotation.model_fields.items())
            for name, field in Requirements.model_fields.items()
            if name in ("model", "serving", "instance", "scaling", "network")}  # fmt: skip


@settings(max_examples=400)
@given(st.data())
def test_a_broken_document_is_parsed_or_refused_with_problems(data):
    section = data.draw(st.sampled_from(sorted(SECTIONS)))
    key = data.draw(st.one_of(st.sampled_from(SECTIONS[section]), st.text(max_size=5)))
    broken = document(**{section: {key: data.draw(VALUES)}})
    try:
        assert isinstance(parse_requirements(broken), Requirements)
    except RequirementError as error:
        described = [problem.message for problem in error.problems]
    else:
        described = ["parsed"]
    assert described
    assert all(described)
