"""What the user asks for: the sections of a requirements document, parsed and checked on their own.

Owns the key names (the contract), their defaults, their words in the documentation and every rule that needs nothing but
the document. Leaves the form of a value to `values`, and to `planning` what depends on the catalogue, the architecture or
the account. Unknown keys are refused, with the nearest valid one; all problems are reported at once.
"""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from gpufleet.planner import units, values
from gpufleet.planner.errors import Problem, RequirementError, list_names, nearest

SECRET_NAME = r"(?i)(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)(_|$)"
"""Environment names whose values must not lie in a stack file."""

MOST_GPUS = 8
"""GPUs of EC2's largest instances."""

TARGETS = (
    "gpu_utilization_percent",
    "cpu_utilization_percent",
    "requests_per_target",
    "requests_in_flight",
    "kv_cache_utilization_percent",
)
"""Fields of `Scaling`: the signals that add and remove instances. The others only add."""

DEFAULT_TLS_POLICY: values.TlsPolicy = "ELBSecurityPolicy-TLS13-1-2-2021-06"
"""TLS 1.2 and 1.3 with forward secrecy; AWS's own default still admits TLS 1.0."""

_MASKED = "(hidden)"

_SectionT = TypeVar("_SectionT", bound="Section")


class Section(BaseModel):
    """A part of the document: frozen, in the document's own camelCase, unknown keys refused.

    A field's description ends with "Defaults to …" where the default is a behaviour; its example is as YAML writes it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, strict=True, validate_default=False, defer_build=True
    )


class Model(Section):
    """What is served."""

    id: values.ModelId = Field(description="Model id, as on Hugging Face.", examples=["Qwen/Qwen3-8B"])
    source: values.Source | None = Field(
        None,
        description="Where the weights come from: a repository on Hugging Face, at a revision (a commit, tag or branch); "
        "objects in S3; or the image. Defaults to hf://<id>, at its newest commit when an instance boots.",
        examples=["hf://Qwen/Qwen3-8B@b968826d9c46dd6066d109eabc6255188de91218"],
    )
    parameters: values.Parameters | None = Field(
        None, description="Parameter count. Defaults to what the architecture gives.", examples=["8.19B"]
    )
    architecture: values.ModelConfig | None = Field(
        None,
        description="Fields of the model's Hugging Face config.json; or a path to one, to a GGUF or safetensors file, or to a "
        "directory of these. Defaults to the known model's.",
        examples=["architectures/Qwen2.5-14B-Instruct-GPTQ-Int8.json"],
    )
    precision: values.WeightFormat = Field(
        None,
        description="How the weights lie in GPU memory. Defaults to the checkpoint's own quantised format; without one, "
        "bf16 where the card has it, else fp16.",
        examples=["fp16"],
    )
    tensor_parallelism: values.Degree = Field(
        "auto",
        description="GPUs among which each layer of a replica is split. Defaults to the smallest valid degree that fits.",
        examples=[2],
    )
    pipeline_parallelism: values.PositiveCount = Field(
        1, description="Groups of such GPUs among which a replica's layers are divided.", examples=[2]
    )
    data_parallelism: values.PositiveCount = Field(
        1,
        description="Ranks of one server that each run the whole model but share the experts: of mixtures of experts only.",
        examples=[4],
    )
    quantization: Literal["awq", "gptq", "bitsandbytes", "compressedTensors", "autoRound"] | None = Field(
        None,
        description="Method behind a quantised checkpoint, where its config.json does not say it. Defaults to what the "
        "config.json says.",
        examples=["awq"],
    )
    lora: values.LoraKeys | None = Field(
        None,
        description="Room for adapters that requests may name. Defaults to no adapters.",
        examples=[{"rank": 32, "resident": 4}],
    )
    draft: values.DraftKeys | None = Field(
        None,
        description="A draft for speculative decoding. Defaults to no draft.",
        examples=[{"id": "Qwen/Qwen3-0.6B"}],
    )

    pipeline: values.PipelineKeys | None = Field(
        None,
        description="What a diffusion pipeline loads, where its id alone does not say it. Defaults to the components of "
        "the known pipeline.",
        examples=[{"base": "stabilityai/stable-diffusion-xl-base-1.0"}],
    )

    @property
    def weights_source(self) -> str:
        """The source, with its default."""
        return self.source or f"hf://{self.id}"

    @property
    def repository(self) -> tuple[str, str]:
        """Repository on Hugging Face and its revision, each empty where there is none."""
        if not self.weights_source.startswith("hf://"):
            return "", ""
        name, _, revision = self.weights_source.removeprefix("hf://").partition("@")
        return name, revision


class KnownMemory(Section):
    """Terms of a GPU's memory that you know from a start of your own; each replaces the planner's estimate. Per GPU."""

    weights_bytes: values.Bytes | None = Field(
        None,
        alias="weights",
        description="What loading the model took. Defaults to an estimate.",
        examples=["14.99GiB"],
    )
    activations_bytes: values.Bytes | None = Field(
        None,
        alias="activations",
        description="Peak of the server's profiling run. Defaults to an estimate.",
        examples=["1.89GiB"],
    )
    non_torch_bytes: values.Bytes | None = Field(
        None,
        alias="nonTorch",
        description="CUDA context and NCCL, as the server counts them. Defaults to an estimate.",
        examples=["0.25GiB"],
    )
    cuda_graphs_bytes: values.Bytes | None = Field(
        None, alias="cudaGraphs", description="CUDA graphs. Defaults to an estimate.", examples=["0.91GiB"]
    )
    outside_bytes: values.Bytes | None = Field(
        None,
        alias="outside",
        description="What driver and graphs take of the card beside the server's share. Defaults to an estimate.",
        examples=["1.5GiB"],
    )


class Serving(Section):
    """How the server runs."""

    engine: Literal["vllm", "diffusers"] = Field(
        "vllm",
        description="The model server: vLLM, or for a diffusion pipeline the one in your image, built on diffusers. "
        "Defaults to diffusers for a diffusion pipeline.",
        examples=["vllm"],
    )
    engine_version: values.Version | None = Field(
        None, description="Version of the engine. Defaults to the image's tag.", examples=["0.19.0"]
    )
    image: values.Image | None = Field(
        None,
        description="Container image. Defaults to the engine's own image at engineVersion.",
        examples=["vllm/vllm-openai:v0.19.0"],
    )
    args: tuple[values.Text, ...] = Field(
        (),
        strict=False,
        description="Further arguments of the server, after the plan's.",
        examples=[["--enable-prefix-caching"]],
    )
    environment: dict[values.EnvironmentName, values.Text] = Field(
        {}, description="Environment of the server. Never secrets.", examples=[{"VLLM_LOGGING_LEVEL": "WARNING"}]
    )
    secrets: dict[values.EnvironmentName, values.SecretArn] = Field(
        {},
        description="Environment variables read at boot from SSM or Secrets Manager, by ARN.",
        examples=[{"HF_TOKEN": "arn:aws:ssm:us-east-1:123456789012:parameter/hf-token"}],
    )
    port: Annotated[values.Count, values.within(1, 65000, "a port")] = Field(
        8000, description="Port that the instance serves.", examples=[8000]
    )
    health_path: values.UrlPath = Field(
        "/health", description="Path that answers 200 when the server is ready.", examples=["/health"]
    )
    max_model_len: values.PositiveCount | None = Field(
        None,
        description="Context length, in tokens. Defaults to 8192, or the model's own where that is shorter.",
        examples=[16384],
    )
    max_num_seqs: values.PositiveCount | None = Field(
        None,
        description="The server's own cap on sequences at once. Defaults to the engine's default on the chosen card.",
        examples=[32],
    )
    max_num_batched_tokens: values.PositiveCount | None = Field(
        None,
        description="Tokens that the server takes into one step. Defaults to the engine's default on the chosen card.",
        examples=[8192],
    )
    full_contexts: values.PositiveCount = Field(
        1, description="Sequences of maxModelLen that must have room in the cache at once.", examples=[2]
    )
    kv_cache_dtype: Literal["auto", "fp16", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2"] = Field(
        "auto", description="Storage of the KV cache. Defaults to the compute type's.", examples=["fp8"]
    )
    gpu_memory_utilization: Annotated[values.Share, values.within(0.1, 0.99, "a share")] | None = Field(
        None,
        description="Share of the usable GPU memory that the server may take. Defaults to 0.9; in `gpufleet size` to the "
        "engine's own.",
        examples=["90%"],
    )
    diffusion: values.DiffusionKeys | None = Field(
        None,
        description="How the server makes an image, of a diffusion pipeline. Defaults to one image of the pipeline's own "
        "size.",
        examples=[{"width": 1216, "height": 832, "vaeSlicing": True}],
    )
    memory: KnownMemory | None = Field(
        None,
        description="Terms of a GPU's memory that you know better than the planner. Defaults to its estimates.",
        examples=[{"nonTorch": "0.25GiB"}],
    )
    min_vcpu: Annotated[values.Number, values.within(0.1, 192, "vCPUs")] = Field(
        2.0, description="vCPUs that a replica needs, per GPU.", examples=[4]
    )
    min_memory_bytes: values.Bytes = Field(
        4 * units.GIB,
        alias="minMemory",
        description="RAM that a replica needs per GPU, beside memory-mapped weights.",
        examples=["24GiB"],
    )


class Instance(Section):
    """Which machines may be taken, and how they are bought."""

    families: tuple[values.FamilyName, ...] = Field(
        (), strict=False, description="Order of preference, never a filter.", examples=[["g6", "g5"]]
    )
    exclude: tuple[values.TypeOrFamilyName, ...] = Field(
        (), strict=False, description="Types or families never to take.", examples=[["g6.xlarge", "p3dn"]]
    )
    type: values.TypeName | None = Field(
        None,
        description="An exact type; pins the choice. Defaults to the best that fits.",
        examples=["g6.2xlarge"],
    )
    architecture: Literal["x86_64", "arm64"] = Field(
        "x86_64", description="CPU architecture; the image must be built for it.", examples=["arm64"]
    )
    max_price_usd_per_hour: values.Usd | None = Field(
        None,
        alias="maxPricePerHour",
        description="Highest on-demand price of an instance, USD. Defaults to no cap.",
        examples=[3.5],
    )
    max_gpus: values.PositiveCount | None = Field(
        None,
        description="Most GPUs on an instance. Defaults to 8, and to less than 8 times what a replica needs.",
        examples=[8],
    )
    min_zones: values.PositiveCount = Field(1, description="Availability zones that must offer the type.", examples=[2])
    optimize: Literal["cost", "costPerReplica"] = Field(
        "cost",
        description="What is cheapest: the price of one instance, or of one replica on it.",
        examples=["costPerReplica"],
    )
    ami: values.Ami = Field(
        "latest",
        description="An AMI id, to pin; `latest`, the newest at each `up`; or `launch`, the newest whenever an instance "
        "launches, with which a rollout also replaces instances that are up to date.",
        examples=["ami-0123456789abcdef0"],
    )
    ami_parameter: values.ParameterName | None = Field(
        None,
        description="SSM parameter that `latest` and `launch` read. Defaults to AWS's Deep Learning Base AMI for the architecture.",
        examples=["/golden/gpu/ami-id"],
    )
    on_demand_base: Annotated[values.Count, values.within(0, 10_000, "instances")] = Field(
        1, description="Instances always bought on demand.", examples=[2]
    )
    spot_percentage: values.Percent = Field(
        0.0, description="Share of the instances above the base bought as Spot, in per cent.", examples=[50]
    )
    capacity_reservations: tuple[values.CapacityReservation, ...] = Field(
        (),
        strict=False,
        description="Capacity reservations, or resource groups of them, that on-demand instances launch into while they have "
        "room.",
        examples=[["cr-0123456789abcdef0"]],
    )

    @property
    def most_gpus(self) -> int:
        """The most GPUs on an instance, whatever a replica needs."""
        return MOST_GPUS if self.max_gpus is None else self.max_gpus


class LatencyStepKeys(Section):
    """Instances that are added while the percentile lies above the target by so much."""

    above_seconds: Annotated[values.Seconds, values.within(0, 3600, "a duration in seconds")] = Field(
        alias="above", description="Seconds above the target from which it holds; 0 in the first.", examples=["1s"]
    )
    add_percent: Annotated[values.Count, values.within(1, 1000, "a percentage")] = Field(
        alias="add", description="Instances to add, per cent of the fleet; one at least.", examples=[50]
    )


class Latency(Section):
    """The latency that the fleet is scaled out to keep."""

    percentile: values.Percentile = Field(
        "p90", description="Percentile of the load balancer's TargetResponseTime.", examples=["p99"]
    )
    target_seconds: Annotated[values.Seconds, values.within(0.001, 3600, "a duration in seconds")] = Field(
        alias="target",
        description="Instances are added while the percentile lies above this. The time ends where an answer begins: of a "
        "streamed one it is the time to its first token.",
        examples=["2s"],
    )
    steps: tuple[LatencyStepKeys, ...] = Field(
        (),
        strict=False,
        description="How much is added, by how slow it is. Defaults to 20% of the fleet, 50% from 1.5 times the target and "
        "100% from twice the target.",
        examples=[[{"above": "0s", "add": 20}, {"above": "2s", "add": 100}]],
    )
    evaluation_periods: Annotated[values.Count, values.within(1, 60, "minutes")] = Field(
        3, description="Minutes that are looked at.", examples=[5]
    )
    datapoints_to_alarm: Annotated[values.Count, values.within(1, 60, "minutes")] | None = Field(
        None,
        description="Minutes of these that must be slow before instances are added. Defaults to all of them.",
        examples=[3],
    )
    min_requests: values.PositiveCount | None = Field(
        None,
        description="Requests without which a minute counts as fast enough. Defaults to as many as it takes for one of them to "
        "lie above the percentile: 10 for p90, 100 for p99.",
        examples=[20],
    )


class Scaling(Section):
    """Size of the fleet and what moves it."""

    min: Annotated[values.Count, values.within(0, 10_000, "instances")] = Field(
        description="Fewest instances.", examples=[1]
    )
    desired: Annotated[values.Count, values.within(0, 10_000, "instances")] | None = Field(
        None, description="Instances at creation only. Defaults to min.", examples=[2]
    )
    max: Annotated[values.Count, values.within(1, 10_000, "instances")] = Field(
        description="Most instances.", examples=[4]
    )
    min_healthy_percent: Annotated[values.Count, values.within(0, 100, "a percentage")] = Field(
        100,
        alias="minHealthy",
        description="Share of the fleet in service during a rollout, per cent. Below 100 old instances go before new ones "
        "come, which needs no spare quota.",
        examples=[100],
    )
    stop_on_alarm: values.Boolean = Field(
        True,
        description="Whether an alarm of the fleet ends a rollout. One that is on already ends the next one too: false lets "
        "the cure through.",
        examples=[False],
    )
    gpu_utilization_percent: values.UtilizationTarget = Field(
        None,
        alias="gpuUtilization",
        description="Target of the mean utilisation of the group's GPUs, per cent: the share of time in which a GPU has "
        "anything to do, which under continuous batching is nearly all of it from the first request on. Defaults to 70 for a "
        "server of your own where no other target is given, else to off.",
        examples=[65],
    )
    cpu_utilization_percent: values.UtilizationTarget = Field(
        None,
        alias="cpuUtilization",
        description="Target of the group's mean CPU utilisation, per cent. Defaults to off.",
        examples=[60],
    )
    requests_per_target: values.RequestsTarget = Field(
        None,
        alias="requestsPerTarget",
        description="Target of the requests that an instance gets in a minute, for requests that are much alike. Defaults to "
        "off.",
        examples=[120],
    )
    requests_in_flight: values.RequestsTarget = Field(
        None,
        alias="requestsInFlight",
        description="Target of the requests that a replica works on or has waiting, of servers that tell (vLLM). Defaults to "
        "60% of the sequences that a replica takes at once where no other target is given, else to off.",
        examples=[24],
    )
    kv_cache_utilization_percent: values.UtilizationTarget = Field(
        None,
        alias="kvCacheUtilization",
        description="Target of a replica's mean use of its KV cache, per cent, of servers that tell (vLLM). Defaults to 50 "
        "where no other target is given, else to off.",
        examples=[60],
    )
    waiting_requests: values.RequestsTarget = Field(
        None,
        alias="waitingRequests",
        description="Adds capacity while more requests than this wait in a replica, on average: 20% of the fleet, 50% from "
        "twice as many and 100% from four times. Never removes any, for the queue of a healthy fleet is empty. Defaults to off.",
        examples=[2],
    )
    latency: Latency | None = Field(
        None,
        description="Adds capacity while requests are slow. Defaults to off.",
        examples=[{"percentile": "p90", "target": "2s"}],
    )
    schedules: tuple[values.ScheduleKeys, ...] = Field(
        (),
        strict=False,
        description="Narrower bounds from a time on, until the next of them: a name; cron, or time with or without days; "
        "timeZone; min, max and desired. Defaults to min and max at all times.",
        examples=[
            [
                {"name": "day", "days": ["mon-fri"], "time": "07:30", "timeZone": "Europe/Dublin", "min": 3},
                {"name": "night", "cron": "0 20 * * *", "timeZone": "Europe/Dublin"},
            ]
        ],
    )

    @property
    def targets(self) -> dict[str, float | None]:
        """What target tracking may hold, by the names of the fields."""
        return {name: getattr(self, name) for name in TARGETS}


class Network(Section):
    """Where the fleet lives and who may reach it. Empty: the program makes a small VPC."""

    vpc_id: values.VpcId | None = Field(
        None,
        description="An existing VPC. Defaults to one that the program makes.",
        examples=["vpc-0123456789abcdef0"],
    )
    subnet_ids: tuple[values.SubnetId, ...] = Field(
        (),
        strict=False,
        description="Subnets of the instances, in vpcId. Defaults to subnets that the program makes.",
        examples=[["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]],
    )
    load_balancer_subnet_ids: tuple[values.SubnetId, ...] = Field(
        (),
        strict=False,
        description="Subnets of the load balancer. Defaults to subnetIds; required when internal is false.",
        examples=[["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"]],
    )
    internal: values.Boolean = Field(
        True, description="Whether the load balancer has private addresses only.", examples=[False]
    )
    certificate_arn: values.CertificateArn | None = Field(
        None,
        description="Certificate for HTTPS. Defaults to HTTP, which only an internal load balancer may speak.",
        examples=["arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"],
    )
    allowed_cidrs: tuple[values.Cidr, ...] = Field(
        (),
        strict=False,
        description="Networks that may reach the load balancer. Defaults to the VPC's own.",
        examples=[["10.0.0.0/8"]],
    )
    tls_policy: values.TlsPolicy = Field(
        DEFAULT_TLS_POLICY,
        description="Security policy of the HTTPS listener: TLS versions and ciphers.",
        examples=["ELBSecurityPolicy-TLS13-1-3-2021-06"],
    )
    access_logs: values.Boolean = Field(
        False,
        description="Whether the load balancer writes a line for each request into a bucket of the stack's. Defaults to true "
        "in stacks whose environment is prod, production, prd or live.",
        examples=[True],
    )
    delete_access_logs: values.Boolean = Field(
        False,
        description="Whether the bucket of the access logs may be deleted while there are logs in it. Never where protect is "
        "true.",
        examples=[False],
    )
    nat_per_zone: values.Boolean = Field(
        False,
        description="Whether every zone in which the fleet may run has a NAT gateway of its own, in a VPC that the program "
        "makes; else one serves all. Defaults to true in stacks whose environment is prod, production, prd or live.",
        examples=[False],
    )
    endpoints: tuple[values.Endpoint, ...] = Field(
        (),
        strict=False,
        description="AWS services that instances reach by interface endpoints instead of the NAT gateway, in a VPC that the "
        "program makes. S3 always has its gateway endpoint there.",
        examples=[["ecr", "logs", "ssm"]],
    )
    flow_logs: values.Boolean = Field(
        False,
        description="Whether CloudWatch Logs gets the flow logs of a VPC that the program makes. Defaults to true in stacks "
        "whose environment is prod, production, prd or live.",
        examples=[False],
    )


class Requirements(Section):
    """A whole requirements document."""

    region: values.RegionName = Field(description="AWS region.", examples=["us-east-1"])
    model: Model
    serving: Serving = Field(default_factory=lambda: Serving())
    instance: Instance = Field(default_factory=lambda: Instance())
    scaling: Scaling
    network: Network = Field(default_factory=lambda: Network())
    timing: values.TimingSection | None = Field(
        None,
        description="How long things take, where you know better than the planner. Defaults to its estimates.",
        examples=[{"imagePull": "2m"}],
    )
    alarms: values.AlarmsSection | None = Field(
        None,
        description="Whom the fleet's alarms call. Defaults to nobody: they show in CloudWatch alone.",
        examples=[{"emails": ["oncall@example.com"]}],
    )
    protect: values.Boolean = Field(
        False,
        description="Whether Pulumi refuses to replace or delete the load balancer, and to delete logs. Defaults to true in stacks whose "
        "environment is prod, production, prd or live.",
        examples=[True],
    )
    tags: dict[values.TagKey, values.TagValue] = Field(
        {}, description="Tags of every resource that can carry them.", examples=[{"team": "search"}]
    )


class Workload(Protocol):
    """What decides a replica's size: a part of `Requirements`, and of a document that is only sized."""

    @property
    def model(self) -> Model: ...

    @property
    def serving(self) -> Serving: ...


def parse_requirements(document: Mapping[str, Any]) -> Requirements:
    """The document as `Requirements`; a `RequirementError` with every problem in it otherwise."""
    requirements = parse_section(Requirements, document)
    problems = _contradictions(requirements)
    if problems:
        raise RequirementError(problems)
    return requirements


def parse_section(section: type[_SectionT], document: Mapping[str, Any]) -> _SectionT:
    """The document as this section; a `RequirementError` with every problem of single values otherwise."""
    if not isinstance(document, Mapping):
        raise RequirementError(
            Problem(
                path="",
                message="not a requirements document",
                given=type(document).__name__,
                allowed="a mapping of sections",
            )
        )
    try:
        return section.model_validate(_without_nulls(section, document))
    except ValidationError as error:
        raise RequirementError([_problem(e, section) for e in error.errors(include_url=False)]) from None


def _without_nulls(section: type[Section], document: Mapping[str, Any]) -> dict[str, Any]:
    """A section written without any key (`gpufleet:network:`) is an empty one."""
    return {key: {} if value is None and key in section.model_fields else value for key, value in document.items()}


def _problem(error: Any, document: type[Section]) -> Problem:
    """A pydantic error in our shape."""
    kind, parts = error["type"], error["loc"]
    unknown = parts[-1:] if kind == "extra_forbidden" else ()  # somebody's own text, whatever it looks like
    known = parts[: len(parts) - len(unknown)]
    location = [*(part for part in known if part != "[key]" and not _is_branch(part)), *unknown]
    path = ".".join(str(part) for part in location)
    given = _shown(path, error.get("input"))
    if kind == "extra_forbidden":
        valid = _valid_keys(location[:-1], document)
        near = nearest(str(location[-1]), valid, 1)
        return Problem(
            path=path,
            message="unknown key",
            given=location[-1],
            allowed=list_names(valid),
            next_step=f"did you mean {near[0]}?" if near else "remove it",
        )
    if kind == "missing":
        return Problem(path=path, message="required, but missing", next_step=f"add {path}")
    if kind == "value_error":
        allowed, _, hint = str(error["ctx"]["error"]).partition("; ")
        return Problem(path=path, message="not a valid value", given=given, allowed=allowed, next_step=hint)
    if kind == "literal_error":
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        near = nearest(str(error.get("input")), allowed.split(", "), 1)
        next_step = f"did you mean {near[0]}?" if near else ""
        return Problem(path=path, message="not a valid value", given=given, allowed=allowed, next_step=next_step)
    return Problem(
        path=path, message="not a valid value", given=given, allowed=_ALLOWED_BY_KIND.get(kind, error["msg"])
    )


_ALLOWED_BY_KIND = {
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "string_pattern_mismatch": "text of another form",
}


def _is_branch(part: Any) -> bool:
    """Whether a part of pydantic's location names a branch of a union or a validator, not a key."""
    return isinstance(part, str) and ("[" in part or "(" in part)


def _shown(path: str, value: Any) -> Any:
    """What was given, unless it may be a secret."""
    if path.startswith(("serving.secrets", "serving.environment")):
        return _MASKED
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return f"a {type(value).__name__}" if isinstance(value, Mapping | list | tuple) else str(value)


def _valid_keys(location: list[Any], section: type[BaseModel]) -> list[str]:
    for part in location:
        field = next((f for n, f in section.model_fields.items() if (f.alias or n) == part), None)
        models = [m for m in _models_in(field.annotation if field else None)]
        if not models:
            return []
        section = models[0]
    return [field.alias or name for name, field in section.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]


def _contradictions(r: Requirements) -> list[Problem]:
    """Every pair of keys that cannot both be meant."""
    return [problem for rule in _RULES for problem in rule(r)]


def _capacity(r: Requirements) -> list[Problem]:
    problems, s, i = [], r.scaling, r.instance
    if s.min > s.max:
        problems.append(
            Problem(
                path="scaling.min",
                message="more than scaling.max",
                given=s.min,
                allowed=f"0 to {s.max}",
                next_step="lower scaling.min or raise scaling.max",
            )
        )
    if s.desired is not None and not s.min <= s.desired <= s.max:
        problems.append(
            Problem(
                path="scaling.desired",
                message="outside of min and max",
                given=s.desired,
                allowed=f"{s.min} to {s.max}",
                next_step="leave scaling.desired out to begin with min",
            )
        )
    if i.spot_percentage > 0 and i.on_demand_base < 1:
        problems.append(
            Problem(
                path="instance.onDemandBase",
                message="Spot needs an on-demand base: a mixed group never falls back from Spot to on demand by itself",
                given=i.on_demand_base,
                allowed="1 or more while spotPercentage is above 0",
                next_step="set instance.onDemandBase to 1",
            )
        )
    return problems


def _rollout(r: Requirements) -> list[Problem]:
    """What would leave nothing in service."""
    problems, s = [], r.scaling
    smallest = max(1, s.min)
    if smallest * s.min_healthy_percent < 100:
        problems.append(
            Problem(
                path="scaling.minHealthy",
                message=f"would leave no instance in service while a fleet of {smallest} is replaced",
                given=s.min_healthy_percent,
                allowed="100" if smallest == 1 else f"{-(-100 // smallest)} to 100",
                next_step="leave scaling.minHealthy out, or raise scaling.min",
            )
        )
    return problems


def _reservations(r: Requirements) -> list[Problem]:
    i, problems, path = r.instance, [], "instance.capacityReservations"
    named = i.capacity_reservations
    if named and i.spot_percentage == 100:
        problems.append(
            Problem(
                path=path,
                message="contradicts spotPercentage 100: Spot instances never run in a capacity reservation",
                given=", ".join(named),
                allowed="a spotPercentage below 100",
                next_step="lower instance.spotPercentage, or raise instance.onDemandBase and set it to 0",
            )
        )
    problems += [
        Problem(path=path, message="named twice", given=name, next_step="remove one")
        for name in sorted({n for n in named if named.count(n) > 1})
    ]
    problems += [
        Problem(
            path=path,
            message="lies in another region than the fleet",
            given=name,
            allowed=f"a resource group in {r.region}",
            next_step=f"name one of {r.region}",
        )
        for name in named
        if name.startswith("arn:") and name.split(":")[3] != r.region
    ]
    return problems


def _latency(r: Requirements) -> list[Problem]:
    latency, problems = r.scaling.latency, []
    if latency is None:
        return []
    above = [step.above_seconds for step in latency.steps]
    if above and (above[0] != 0 or any(low >= high for low, high in pairwise(above))):
        problems.append(
            Problem(
                path="scaling.latency.steps",
                message="steps begin at the target and each above the one before it",
                given=", ".join(f"{seconds:g}s" for seconds in above),
                allowed="above: 0s in the first, and more in each of the others",
                next_step="sort them, and begin with above: 0s",
            )
        )
    added = [step.add_percent for step in latency.steps]
    if any(less > more for less, more in pairwise(added)):
        problems.append(
            Problem(
                path="scaling.latency.steps",
                message="a slower fleet would get fewer instances",
                given=", ".join(f"{percent}%" for percent in added),
                allowed="add: as much as in the step before it, or more",
                next_step="sort them",
            )
        )
    if latency.datapoints_to_alarm is not None and latency.datapoints_to_alarm > latency.evaluation_periods:
        problems.append(
            Problem(
                path="scaling.latency.datapointsToAlarm",
                message="more than scaling.latency.evaluationPeriods, the minutes that are looked at",
                given=latency.datapoints_to_alarm,
                allowed=f"1 to {latency.evaluation_periods}",
                next_step="raise scaling.latency.evaluationPeriods",
            )
        )
    return problems


def full_contexts_problems(r: Workload) -> list[Problem]:
    """Whether more sequences must have room than the server takes at once."""
    s = r.serving
    if s.max_num_seqs is not None and s.full_contexts > s.max_num_seqs:
        return [
            Problem(
                path="serving.fullContexts",
                message="more than serving.maxNumSeqs, which caps the sequences at once",
                given=s.full_contexts,
                allowed=f"1 to {s.max_num_seqs}",
                next_step="raise serving.maxNumSeqs or lower serving.fullContexts",
            )
        ]
    return []


def _secrets(r: Requirements) -> list[Problem]:
    s = r.serving
    problems = [
        Problem(
            path=f"serving.environment.{name}",
            message="looks like a secret; a stack file and user data are not places for one",
            given=_MASKED,
            allowed="serving.secrets with the ARN of an SSM SecureString or a Secrets Manager secret",
            next_step=f"store it in AWS and write serving.secrets.{name}: arn:aws:…",
        )
        for name in sorted(s.environment)
        if re.search(SECRET_NAME, name)
    ]
    problems += [
        Problem(
            path=f"serving.secrets.{name}", message="also given in serving.environment", next_step="keep one of the two"
        )
        for name in sorted(set(s.environment) & set(s.secrets))
    ]
    problems += [
        Problem(
            path=f"serving.secrets.{name}",
            message=f"lies in another region than the fleet ({r.region})",
            given=arn,
            allowed=f"an ARN in {r.region}",
            next_step=f"store the secret in {r.region} too",
        )
        for name, arn in sorted(s.secrets.items())
        if arn.split(":")[3] != r.region
    ]
    return problems


def _placement(r: Requirements) -> list[Problem]:
    n, problems = r.network, []
    if n.vpc_id and not n.subnet_ids:
        problems.append(
            Problem(
                path="network.subnetIds", message="required with network.vpcId", next_step="name the instances' subnets"
            )
        )
    if (n.subnet_ids or n.load_balancer_subnet_ids) and not n.vpc_id:
        problems.append(
            Problem(
                path="network.vpcId", message="required with subnets", next_step="name the VPC that the subnets are in"
            )
        )
    if n.vpc_id and not n.internal and not n.load_balancer_subnet_ids:
        problems.append(
            Problem(
                path="network.loadBalancerSubnetIds",
                message="required when network.internal is false",
                next_step="name two or more public subnets in different zones",
            )
        )
    for key, ids in (("subnetIds", n.subnet_ids), ("loadBalancerSubnetIds", n.load_balancer_subnet_ids)):
        for repeated in sorted({i for i in ids if ids.count(i) > 1}):
            problems.append(
                Problem(path=f"network.{key}", message="named twice", given=repeated, next_step="remove one")
            )
    return problems


_OF_OWN_VPC = {"nat_per_zone": "natPerZone", "endpoints": "endpoints", "flow_logs": "flowLogs"}
"""Keys that shape the VPC that the program makes."""


def _given_vpc(r: Requirements) -> list[Problem]:
    """The program changes nothing in somebody's VPC."""
    n = r.network
    problems = [
        Problem(
            path=f"network.{key}",
            message="belongs to a VPC that the program makes; in network.vpcId it changes nothing",
            given=", ".join(value) if isinstance(value, tuple) else value,
            next_step=f"remove it, and see to it in {n.vpc_id}",
        )
        for name, key in _OF_OWN_VPC.items()
        if n.vpc_id and (value := getattr(n, name))
    ]
    problems += [
        Problem(path="network.endpoints", message="named twice", given=name, next_step="remove one")
        for name in sorted({name for name in n.endpoints if n.endpoints.count(name) > 1})
    ]
    return problems


def _access_logs(r: Requirements) -> list[Problem]:
    """Logs that somebody counts on are not deleted with a stack."""
    if not r.network.delete_access_logs:
        return []
    path = "network.deleteAccessLogs"
    if r.protect:
        return [
            Problem(
                path=path,
                message="contradicts protect: a protected stack keeps its access logs",
                given=True,
                allowed="false while protect is true",
                next_step="remove it",
            )
        ]
    if not r.network.access_logs:
        return [
            Problem(
                path=path,
                message="there are no access logs to delete",
                given=True,
                next_step="set network.accessLogs to true, or remove it",
            )
        ]
    return []


def _exposure(r: Requirements) -> list[Problem]:
    n, problems = r.network, []
    if not n.internal and not n.certificate_arn:
        problems.append(
            Problem(
                path="network.certificateArn",
                message="required when network.internal is false: an internet-facing endpoint speaks HTTPS only",
                next_step=f"request a certificate in AWS Certificate Manager in {r.region}",
            )
        )
    if not n.internal and not n.allowed_cidrs:
        problems.append(
            Problem(
                path="network.allowedCidrs",
                message="required when network.internal is false: who may reach the endpoint is never a default",
                next_step="name the networks, or 0.0.0.0/0 to open it to everybody",
            )
        )
    if n.tls_policy != DEFAULT_TLS_POLICY and not n.certificate_arn:
        problems.append(
            Problem(
                path="network.tlsPolicy",
                message="is a policy of HTTPS, which needs network.certificateArn",
                given=n.tls_policy,
                next_step=f"request a certificate in AWS Certificate Manager in {r.region}, or remove network.tlsPolicy",
            )
        )
    arn_region = n.certificate_arn.split(":")[3] if n.certificate_arn else ""
    if arn_region and arn_region != r.region:
        problems.append(
            Problem(
                path="network.certificateArn",
                message="lies in another region than the fleet",
                given=n.certificate_arn,
                allowed=f"a certificate in {r.region}",
                next_step=f"request one in AWS Certificate Manager in {r.region}",
            )
        )
    return problems


def _pinned_type(r: Requirements) -> list[Problem]:
    i = r.instance
    if i.type and (i.type in i.exclude or i.type.split(".")[0] in i.exclude):
        return [
            Problem(
                path="instance.type",
                message="also named in instance.exclude",
                given=i.type,
                next_step="keep one of the two",
            )
        ]
    return []


_RULES: tuple[Callable[[Requirements], list[Problem]], ...] = (
    _capacity, _rollout, _reservations, _latency, full_contexts_problems, _secrets, _placement, _given_vpc,
    _access_logs, _exposure, _pinned_type,
)  # fmt: skip
