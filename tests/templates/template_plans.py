"""Plans to render: those of the shipped stacks, and some built by hand to hold any number and any text."""

from __future__ import annotations

from typing import Any

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.plan import DeploymentPlan, Limits, PlannedType, Proxy
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from stacks.config import read_stack_file, stack_file, stack_names

STACK = "dev-us-east-1"
LOG_GROUP = "/gpufleet/dev-us-east-1"

HOSTILE = (
    "plain",
    "",
    "two words",
    "$HOME ${HOME} $$ $(touch /tmp/owned) `id`",
    'it\'s "quoted" \\ \\n \\',
    "a; b && c | d > e < f & g",
    "* ? [a-z] {a,b} ~ !1",
    "#comment",
    "{{ plan }} {% raw %} {# no #}",
    "%i %n %%",
    "- : [] {} , & * ! | > @ yes null 1.0",
    '{"speculative": {"method": "ngram", "tokens": 3}}',
    "été 世界 \U0001f680 \u2028 \x85",
    "EOF",
    "line\nEOF\nEOF_\n'line",
    "\ttab\t",
)
"""Values that mean something to a shell, a unit file, YAML, JSON, Compose or Jinja."""


def command(*, model: str = "Qwen/Qwen3-8B", degree: int = 1, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The arguments of one vLLM server, as the planner orders them."""
    return (
        *("--model", model, "--dtype", "float16", "--tensor-parallel-size", str(degree), "--max-model-len", "8192"),
        *("--max-num-seqs", "16", "--gpu-memory-utilization", "0.9", "--kv-cache-dtype", "auto", "--port", "8000"),
        *more,
    )


def make_plan(
    *,
    replicas: int = 1,
    degree: int = 1,
    types: tuple[PlannedType, ...] | None = None,
    source: str = "hf://Qwen/Qwen3-8B",
    server: dict[str, Any] | None = None,
    health_path: str = "/health",
    longest_request_seconds: int = 300,
) -> DeploymentPlan:
    """An 8B model on g6 types, one or several replicas of it on each instance."""
    several = replicas > 1
    proxy = Limits(vcpu=0.5, memory_mib=256) if several else None
    types = types or (
        PlannedType(type="g6.2xlarge", replica=Limits(vcpu=6.4, memory_mib=26214), proxy=proxy, shared_memory_mib=1024),
        PlannedType(type="g5.4xlarge", replica=Limits(vcpu=12.8, memory_mib=52428), proxy=proxy, shared_memory_mib=999),
    )
    chosen = types[0]
    model = "/models/Qwen/Qwen3-8B" if source.startswith("s3:") else "Qwen/Qwen3-8B"
    cache = {"kv_bytes_per_token": 147_456, "kv_cache_tokens": 24_000, "full_contexts": 2}
    nothing = {"min": None, "desired": None, "max": None}
    spend = {"hourly": nothing, "monthly": nothing}
    return DeploymentPlan.model_validate(
        {
            "schema_version": 1,
            "region": "us-east-1",
            "model": {
                "id": "Qwen/Qwen3-8B",
                "source": source,
                "downloads": () if source == "image" else (source,),
                "parameters": 8_190_000_000,
                "precision": "fp16",
                "checkpoint_format": "bf16",
                "weights_gib": 15.26,
                "assumptions": (),
            },
            "memory": {
                "per_gpu": dict.fromkeys(
                    (
                        *("weights_gib", "activations_gib", "non_torch_gib", "cuda_graphs_gib"),
                        *("kv_cache_gib", "kv_needed_gib", "headroom_gib", "total_gib", "budget_gib", "usable_gib"),
                    ),
                    1.0,
                ),
                **cache,
                "longest_context": 24_000,
            },
            **cache,
            "instance": {
                "type": chosen.type,
                "family": chosen.type.partition(".")[0],
                "vcpu": 8,
                "memory_mib": 32768,
                "architecture": "x86_64",
                "gpu": {"name": "L4", "count": replicas * degree, "memory_mib": 22579},
            },
            "tensor_parallelism": degree,
            "pipeline_parallelism": 1,
            "data_parallelism": 1,
            "replicas_per_instance": replicas,
            "host": {"vcpu": 2.0 * degree, "memory_mib": 4096 * degree, "parts": ()},
            "limits": chosen.replica,
            "limits_by_type": {planned.type: planned.replica for planned in types},
            "types": types,
            "fallbacks": tuple(planned.type for planned in types[1:]),
            "availability_zone_ids": ("use1-az1", "use1-az2"),
            "capacity": {"min": 1, "desired": 1, "max": 2, "on_demand_base": 1, "spot_percentage": 0},
            "quotas": (),
            "cost": {
                "currency": "USD",
                "price_date": None,
                **spend,
                "on_demand": {**spend, "price_as_of": None},
                "spot": {**spend, "price_as_of": None},
                "waste": None,
                "items": (),
            },
            "server": {
                "engine": "vllm",
                "engine_version": "0.19.0",
                "image": "vllm/vllm-openai:v0.19.0",
                "command": command(model=model, degree=degree),
                "environment": {},
                "secrets": {},
                "port": 8000,
                "replica_ports": tuple(8001 + index for index in range(replicas)) if several else (8000,),
                "health_path": health_path,
                "max_model_len": 8192,
                "max_num_seqs": 16,
                "max_num_batched_tokens": 2048,
                "gpu_memory_utilization": 0.9,
                "kv_cache_dtype": "auto",
                **(server or {}),
            },
            "proxy": Proxy(image="haproxy:3.0.6", port=8000) if several else None,
            "storage": {
                "root_volume_gib": 140,
                "root_throughput_mibs": 125,
                "root_iops": 3000,
                "weights_gib": 15.26,
                "image_gib": 16.0,
            },
            "timing": {
                "boot_seconds": 60,
                "image_pull_seconds": 340,
                "weights_seconds": 170,
                "engine_start_seconds": 73,
                "load_seconds": 643,
                "slowest_type": "g6.xlarge",
                "slowest_load_seconds": 643,
                "path": (),
                "lifecycle_timeout_seconds": 1020,
                "health_check_grace_period_seconds": 1020,
                "instance_warmup_seconds": 660,
                "longest_request_seconds": longest_request_seconds,
            },
            "rollout": {
                "min_healthy_percent": 100,
                "max_healthy_percent": 110,
                "checkpoint_percents": (),
                "checkpoint_delay_seconds": None,
                "watches_alarms": True,
                "skips_matching": True,
            },
            "protects": False,
            "notifications": {},
            "scaling": {
                "metric_namespace": "GpuFleet",
                "gpu_utilization_percent": 70,
                "cpu_utilization_percent": None,
                "latency": None,
            },
            "network": {
                "vpc_id": "vpc-0123456789abcdef0",
                "vpc_cidr": None,
                "subnets": (),
                "instance_subnet_ids": ("subnet-0123456789abcdef0",),
                "load_balancer_subnet_ids": ("subnet-0123456789abcdef0",),
                "internal": True,
                "certificate_arn": None,
                "allowed_cidrs": (),
            },
            "machine_image": {"id": "ami-0123456789abcdef0", "parameter": None, "at_launch": False},
            "tags": {},
            "candidates": (),
            "notices": (),
            "warnings": (),
            "refusals": (),
        }
    )


def forty_types() -> tuple[PlannedType, ...]:
    """As many types as an Auto Scaling group takes, with names and limits as long as there are."""
    return tuple(
        PlannedType(
            type=f"g{index:02d}en-flex.48xlarge",
            replica=Limits(vcpu=100.11 + index, memory_mib=1_000_000 + index),
            proxy=Limits(vcpu=0.55, memory_mib=300 + index),
            shared_memory_mib=16_384 + index,
        )
        for index in range(40)
    )


HOSTILE_SERVER: dict[str, Any] = {
    "command": command(more=HOSTILE),
    "environment": {f"VALUE_{index}": value for index, value in enumerate(HOSTILE)},
}

SECRETS = {
    "HF_TOKEN": "arn:aws:ssm:eu-west-1:123456789012:parameter/hf/token",
    "OTHER": "arn:aws:secretsmanager:us-east-1:123456789012:secret:other-AbCdEf",
}

PLANS: dict[str, DeploymentPlan] = {
    "one": make_plan(),
    "four": make_plan(replicas=4, degree=2, server={"secrets": SECRETS}),
    "s3": make_plan(source="s3://weights/qwen3-8b/", server={"secrets": SECRETS}),
    "image": make_plan(source="image"),
    "forty": make_plan(replicas=8, source="s3://weights/qwen3-8b/", types=forty_types(), server={"secrets": SECRETS}),
    "hostile": make_plan(server=HOSTILE_SERVER),
    "hostile-four": make_plan(replicas=4, server=HOSTILE_SERVER, health_path="/it's/%7E/$HOME/a%20b"),
}

PLANS |= {
    stack: plan_deployment(parse_requirements(read_stack_file(stack_file(stack))), load_catalog())
    for stack in stack_names()
}
PLANS["planned-four"] = plan_deployment(
    parse_requirements(
        {
            "region": "us-east-1",
            "model": {"id": "Qwen/Qwen3-8B", "parameters": "8.19B", "tensorParallelism": 1},
            "serving": {"image": "vllm/vllm-openai:v0.19.0", "port": 80},
            "instance": {"type": "g6.12xlarge"},
            "scaling": {"min": 1, "max": 2},
        }
    ),
    load_catalog(),
)
PLANS["pipeline"] = plan_deployment(
    parse_requirements(
        {
            "region": "us-east-1",
            "model": {"id": "stabilityai/stable-diffusion-xl-base-1.0"},
            "serving": {"image": "registry.example.com/sdxl:1.4", "port": 8080, "healthPath": "/healthz"},
            "instance": {"type": "g6.12xlarge"},
            "scaling": {"min": 1, "max": 2},
        }
    ),
    load_catalog(),
)
"""A server of the user's own, without arguments, a replica on each of four GPUs."""
