"""What the user asks for: the sections of a requirements document, parsed and checked on their own.

Owns the key names (the contract), their defaults and every rule that needs nothing but the document. Leaves to
`planning` what depends on the catalogue, the architecture or the account. Unknown keys are refused, with the nearest
valid one; all problems are reported at once.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from gpufleet.planner import units
from gpufleet.planner.errors import Problem, RequirementError, list_names, nearest

Precision = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4"]
PRECISION_SPELLINGS = {"float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}
"""What Hugging Face and PyTorch call some of the formats."""

SECRET_NAME = r"(?i)(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)(_|$)"
"""Environment names whose values must not lie in a stack file."""

_MASKED = "(hidden)"


def _matching(pattern: str, forms: str) -> Callable[[str], str]:
    """A check that the whole value matches; the pattern is compiled when a value first needs it."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(forms)
        return value

    return check


def _lowered(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _precision(value: Any) -> Any:
    lowered = _lowered(value)
    return PRECISION_SPELLINGS.get(lowered, lowered) if isinstance(lowered, str) else lowered


def _text(value: Any) -> Any:
    """YAML reads `team: 5` as a number; a tag or a variable is text all the same. Booleans stay refused."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


def _within(low: float, high: float | None, what: str) -> AfterValidator:
    def check(value: float) -> float:
        if value < low or (high is not None and value > high):
            raise ValueError(
                f"{what} from {low:,g} to {high:,g}" if high is not None else f"{what} of {low:,g} or more"
            )
        return value

    return AfterValidator(check)


def _degree(value: Any) -> Any:
    if _lowered(value) == "auto":
        return "auto"
    try:
        degree = units.parse_count(value)
    except ValueError:
        degree = 0
    if degree < 1:
        raise ValueError("auto, or a whole number of 1 or more")
    return degree


def _utilization_target(value: Any) -> float | None:
    """A target in per cent; `off`, `false` and null switch the policy off."""
    if value is None or value is False or _lowered(value) == "off":
        return None
    number = units.parse_percent(value)
    if not 10 <= number <= 95:
        raise ValueError("a percentage from 10 to 95, such as 70 or 70%, or off")
    return number


def _one_line(value: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("text on one line, without control characters")
    return value


def _cidr(value: str) -> str:
    import ipaddress

    forms = "an IPv4 network such as 10.0.0.0/8"
    try:
        return str(ipaddress.IPv4Network(value))
    except ValueError:
        try:
            meant = ipaddress.IPv4Network(value, strict=False)
        except ValueError:
            raise ValueError(forms) from None
        raise ValueError(f"{forms}; did you mean {meant}?") from None


Count = Annotated[int, BeforeValidator(units.parse_count)]
PositiveCount = Annotated[int, BeforeValidator(units.parse_count), _within(1, None, "a whole number")]
Parameters = Annotated[int, BeforeValidator(units.parse_parameters), _within(1e6, 1e14, "a parameter count")]
Bytes = Annotated[int, BeforeValidator(units.parse_bytes), _within(0, None, "a size")]
Seconds = Annotated[float, BeforeValidator(units.parse_seconds)]
Percent = Annotated[float, BeforeValidator(units.parse_percent)]
Share = Annotated[float, BeforeValidator(units.parse_share)]
Usd = Annotated[float, BeforeValidator(units.parse_usd)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
UtilizationTarget = Annotated[float | None, BeforeValidator(_utilization_target)]
Text = Annotated[str, BeforeValidator(_text), AfterValidator(_one_line)]

ModelId = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[A-Za-z0-9][\w.\-]{0,95}(/[A-Za-z0-9][\w.\-]{0,95})?",
            "a model id such as Qwen/Qwen3-8B: letters, digits, '.', '_', '-' and at most one '/'",
        )
    ),
]
Source = Annotated[
    str,
    AfterValidator(
        _matching(
            r"hf://[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*|s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/[\w.\-/=+]*)?|image(:/[\w.\-/]+)?",
            "hf://owner/name, s3://bucket/prefix, or image (baked in; image:/path where the server needs the path)",
        )
    ),
]
Image = Annotated[
    str,
    AfterValidator(
        _matching(
            r"[a-z0-9][a-z0-9.\-_/]*(:\d+/[a-z0-9.\-_/]+)?(:[\w][\w.\-]{0,127})?(@sha256:[0-9a-f]{64})?",
            "a container image such as vllm/vllm-openai:v0.19.0, with a tag or a digest",
        )
    ),
]
EnvironmentName = Annotated[str, AfterValidator(_matching(r"[A-Za-z_]\w*", "an environment variable's name"))]
SecretArn = Annotated[
    str,
    AfterValidator(
        _matching(
            r"arn:aws[\w-]*:ssm:[a-z0-9-]+:\d{12}:parameter/[\w.\-/]+"
            r"|arn:aws[\w-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@\-]+",
            "the ARN of an SSM SecureString parameter or of a Secrets Manager secret, never the secret itself",
        )
    ),
]
UrlPath = Annotated[str, AfterValidator(_matching(r"/[\w.\-~/%]*", "a URL path such as /health"))]
Ami = Annotated[
    str, AfterValidator(_matching(r"latest|ami-[0-9a-f]{8,17}", "latest, or an AMI id such as ami-0123456789abcdef0"))
]
ParameterName = Annotated[
    str, AfterValidator(_matching(r"/?[\w.\-/]+", "the name of an SSM parameter that holds an AMI id"))
]
VpcId = Annotated[str, AfterValidator(_matching(r"vpc-[0-9a-f]{8,17}", "a VPC id such as vpc-0123456789abcdef0"))]
SubnetId = Annotated[
    str, AfterValidator(_matching(r"subnet-[0-9a-f]{8,17}", "a subnet id such as subnet-0123456789abcdef0"))
]
CertificateArn = Annotated[
    str,
    AfterValidator(
        _matching(
            r"arn:aws[\w-]*:acm:[a-z0-9-]+:\d{12}:certificate/[\w-]+|arn:aws[\w-]*:iam::\d{12}:server-certificate/[\w+=,.@/\-]+",
            "the ARN of an ACM certificate or an IAM server certificate",
        )
    ),
]
Cidr = Annotated[str, AfterValidator(_cidr)]
RegionName = Annotated[str, AfterValidator(_matching(r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as us-east-1"))]
TypeName = Annotated[str, AfterValidator(_matching(r"[a-z0-9-]+\.[a-z0-9-]+", "an instance type such as g6.2xlarge"))]
FamilyName = Annotated[str, AfterValidator(_matching(r"[a-z0-9-]+", "an instance family such as g6"))]
TypeOrFamilyName = Annotated[
    str,
    AfterValidator(_matching(r"[a-z0-9-]+(\.[a-z0-9-]+)?", "an instance type or family, such as g6.xlarge or p3dn")),
]
TagKey = Annotated[
    str,
    AfterValidator(
        _matching(
            r"(?!(?i:aws:))[\w .:/=+\-@]{1,128}", "1 to 128 letters, digits, spaces or _.:/=+-@, not starting with aws:"
        )
    ),
]
TagValue = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(_matching(r"[\w .:/=+\-@]{0,256}", "up to 256 letters, digits, spaces or _.:/=+-@")),
]


class Section(BaseModel):
    """A part of the document: frozen, in the document's own camelCase, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, strict=True, validate_default=False, defer_build=True
    )


class Model(Section):
    """What is served."""

    id: ModelId = Field(description="Model id, as on Hugging Face.", examples=["Qwen/Qwen3-8B"])
    source: Source | None = Field(None, description="Where the weights come from. Defaults to hf://<id>.")
    parameters: Parameters | None = Field(None, description="Parameter count. Defaults to what the architecture gives.")
    architecture: dict[str, Any] | None = Field(
        None,
        description="Fields of the model's Hugging Face config.json, or a path to one. Defaults to the known model's.",
    )
    precision: Annotated[Precision | None, BeforeValidator(_precision)] = Field(
        None,
        description="How the weights lie in GPU memory. Defaults to the checkpoint's own quantised format; without one, "
        "to bf16 where the card has it, else fp16.",
    )
    tensor_parallelism: Annotated[Literal["auto"] | int, BeforeValidator(_degree)] = Field(
        "auto", description="GPUs per replica. Defaults to the smallest valid degree that fits."
    )

    @property
    def weights_source(self) -> str:
        """The source, with its default."""
        return self.source or f"hf://{self.id}"


class Serving(Section):
    """How the server runs."""

    engine: Literal["vllm"] = Field("vllm", description="The model server.")
    engine_version: (
        Annotated[str, AfterValidator(_matching(r"\d+\.\d+(\.\d+)?\w*", "a version such as 0.19.0"))] | None
    ) = Field(None, description="Version of the engine. Defaults to the image's tag.")
    image: Image | None = Field(
        None, description="Container image. Defaults to the engine's own image at engineVersion."
    )
    args: tuple[Text, ...] = Field((), strict=False, description="Further arguments of the server, after the plan's.")
    environment: dict[EnvironmentName, Text] = Field({}, description="Environment of the server. Never secrets.")
    secrets: dict[EnvironmentName, SecretArn] = Field(
        {}, description="Environment variables read at boot from SSM or Secrets Manager, by ARN."
    )
    port: Annotated[Count, _within(1, 65000, "a port")] = Field(8000, description="Port that the instance serves.")
    health_path: UrlPath = Field("/health", description="Path that answers 200 when the server is ready.")
    max_model_len: PositiveCount | None = Field(
        None, description="Context length, in tokens. Defaults to 8192, or to the model's own where that is shorter."
    )
    max_num_seqs: PositiveCount | None = Field(
        None,
        description="The server's own cap on sequences at once. Defaults to the engine's default on the chosen card.",
    )
    full_contexts: PositiveCount = Field(
        1, description="Sequences of maxModelLen that must have room in the cache at once."
    )
    kv_cache_dtype: Literal["auto", "fp16", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2"] = Field(
        "auto", description="Storage of the KV cache. Defaults to the compute type's."
    )
    gpu_memory_utilization: Annotated[Share, _within(0.1, 0.98, "a share")] = Field(
        0.9, description="Share of the usable GPU memory that the server may take."
    )
    min_vcpu: Annotated[float, BeforeValidator(units.parse_number), _within(0.1, 192, "vCPUs")] = Field(
        2.0, description="vCPUs that a replica needs, per GPU."
    )
    min_memory_bytes: Bytes = Field(
        4 * units.GIB,
        alias="minMemory",
        description="RAM that a replica needs per GPU, beside memory-mapped weights. Defaults to 4GiB.",
    )


class Instance(Section):
    """Which machines may be taken, and how they are bought."""

    families: tuple[FamilyName, ...] = Field((), strict=False, description="Order of preference, never a filter.")
    exclude: tuple[TypeOrFamilyName, ...] = Field((), strict=False, description="Types or families never to take.")
    type: TypeName | None = Field(None, description="An exact type; pins the choice.")
    architecture: Literal["x86_64", "arm64"] = Field(
        "x86_64", description="CPU architecture; the image must be built for it."
    )
    max_price_usd_per_hour: Usd | None = Field(
        None, alias="maxPricePerHour", description="Highest on-demand price of an instance, USD. Defaults to no cap."
    )
    max_gpus: PositiveCount = Field(8, description="Most GPUs on an instance.")
    min_zones: PositiveCount = Field(1, description="Availability zones that must offer the type.")
    optimize: Literal["cost", "costPerReplica"] = Field(
        "cost", description="What is cheapest: the price of one instance, or of one replica on it."
    )
    ami: Ami = Field("latest", description="An AMI id, to pin; or the newest at each `up`.")
    ami_parameter: ParameterName | None = Field(
        None,
        description="SSM parameter that `latest` reads. Defaults to AWS's Deep Learning Base AMI for the architecture.",
    )
    on_demand_base: Count = Field(1, description="Instances always bought on demand.")
    spot_percentage: Percent = Field(
        0.0, description="Share of the instances above the base bought as Spot, in per cent."
    )


class Latency(Section):
    """The latency that the fleet is scaled out to keep."""

    percentile: Annotated[
        str,
        BeforeValidator(_lowered),
        AfterValidator(_matching(r"p(?:[1-9]\d?)(?:\.\d{1,2})?", "a percentile such as p90 or p99.9")),
    ] = Field("p90", description="Percentile of the load balancer's TargetResponseTime.")
    target_seconds: Annotated[Seconds, _within(0.001, 3600, "a duration in seconds")] = Field(
        alias="target", description="Instances are added while the percentile lies above this.", examples=["2s"]
    )


class Scaling(Section):
    """Size of the fleet and what moves it."""

    min: Annotated[Count, _within(0, 10_000, "instances")] = Field(description="Fewest instances.")
    desired: Annotated[Count, _within(0, 10_000, "instances")] | None = Field(
        None, description="Instances at creation only. Defaults to min."
    )
    max: Annotated[Count, _within(1, 10_000, "instances")] = Field(description="Most instances.")
    gpu_utilization_percent: UtilizationTarget = Field(
        70.0,
        alias="gpuUtilization",
        description="Target of the group's mean GPU utilisation, per cent; off to leave it out.",
    )
    cpu_utilization_percent: UtilizationTarget = Field(
        None,
        alias="cpuUtilization",
        description="Target of the group's mean CPU utilisation, per cent. Defaults to off.",
    )
    latency: Latency | None = Field(None, description="Adds capacity while requests are slow. Defaults to off.")


class Network(Section):
    """Where the fleet lives and who may reach it. Empty: the program makes a small VPC."""

    vpc_id: VpcId | None = Field(None, description="An existing VPC. Defaults to one that the program makes.")
    subnet_ids: tuple[SubnetId, ...] = Field((), strict=False, description="Subnets of the instances, in vpcId.")
    load_balancer_subnet_ids: tuple[SubnetId, ...] = Field(
        (),
        strict=False,
        description="Subnets of the load balancer. Defaults to subnetIds; required when internal is false.",
    )
    internal: Boolean = Field(True, description="Whether the load balancer has private addresses only.")
    certificate_arn: CertificateArn | None = Field(
        None, description="Certificate for HTTPS. Defaults to HTTP, which only an internal load balancer may speak."
    )
    allowed_cidrs: tuple[Cidr, ...] = Field(
        (), strict=False, description="Networks that may reach the load balancer. Defaults to the VPC's own."
    )


class Requirements(Section):
    """A whole requirements document."""

    region: RegionName = Field(description="AWS region.", examples=["us-east-1"])
    model: Model
    serving: Serving = Field(default_factory=lambda: Serving())
    instance: Instance = Field(default_factory=lambda: Instance())
    scaling: Scaling
    network: Network = Field(default_factory=lambda: Network())
    tags: dict[TagKey, TagValue] = Field({}, description="Tags of every resource that can carry them.")


def parse_requirements(document: Mapping[str, Any]) -> Requirements:
    """The document as `Requirements`; a `RequirementError` with every problem in it otherwise."""
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
        requirements = Requirements.model_validate(_without_nulls(document))
    except ValidationError as error:
        raise RequirementError([_problem(e) for e in error.errors(include_url=False)]) from None
    problems = _contradictions(requirements)
    if problems:
        raise RequirementError(problems)
    return requirements


def _without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    """A section written without any key (`gpufleet:network:`) is an empty one."""
    return {key: {} if value is None and key in Requirements.model_fields else value for key, value in document.items()}


def _problem(error: Any) -> Problem:
    """A pydantic error in our shape."""
    location = [part for part in error["loc"] if part != "[key]" and not _is_branch(part)]
    path = ".".join(str(part) for part in location)
    kind, given = error["type"], _shown(path, error.get("input"))
    if kind == "extra_forbidden":
        valid = _valid_keys(location[:-1])
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


def _valid_keys(location: list[Any]) -> list[str]:
    section: type[BaseModel] = Requirements
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
            Problem(path="scaling.min", message="more than scaling.max", given=s.min, allowed=f"0 to {s.max}")
        )
    if s.desired is not None and not s.min <= s.desired <= s.max:
        problems.append(
            Problem(
                path="scaling.desired", message="outside of min and max", given=s.desired, allowed=f"{s.min} to {s.max}"
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


def _signals(r: Requirements) -> list[Problem]:
    if r.scaling.gpu_utilization_percent is None and r.scaling.cpu_utilization_percent is None:
        return [
            Problem(
                path="scaling.gpuUtilization",
                message="gpuUtilization or cpuUtilization must be on: latency only adds capacity, nothing would remove it",
                given="off",
                allowed="a percentage from 10 to 95",
                next_step="set scaling.gpuUtilization to 70",
            )
        ]
    return []


def _full_contexts(r: Requirements) -> list[Problem]:
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
    arn_region = n.certificate_arn.split(":")[3] if n.certificate_arn else ""
    if arn_region and arn_region != r.region:
        problems.append(
            Problem(
                path="network.certificateArn",
                message="lies in another region than the fleet",
                given=n.certificate_arn,
                allowed=f"a certificate in {r.region}",
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
    _capacity, _signals, _full_contexts, _secrets, _placement, _exposure, _pinned_type,
)  # fmt: skip
