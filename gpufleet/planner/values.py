"""The kinds of value that a requirements document has: how each is checked, and how it is written.

Owns the forms of names, ids, ARNs and quantities. Leaves to `requirements` which key takes which kind, and the arithmetic
of units to `units`. `Written` and the patterns are read by the schema and the reference of a stack file; validation ignores
the former.
"""

import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator

from gpufleet.planner import units


class Written(NamedTuple):
    """How a kind of value is written."""

    name: str
    plural: str = ""
    """Where it is not the name with an s."""
    units: tuple[str, ...] = ()
    """What may follow a number, in any case; "" for nothing. Empty: the value is no number."""
    whole: bool = False
    minimum: float | None = None
    maximum: float | None = None
    """Bounds of a number without a unit, where no `Within` has them."""
    words: tuple[str, ...] = ()
    """What may stand in the value's place, in any case."""
    others: tuple[bool | int, ...] = ()
    """The same, for what is no text; null is told by the annotation."""
    pattern: str = ""
    """The text form, where neither units nor a `Matching` tell it."""


class Later(NamedTuple):
    """A section that is parsed only when something asks for it: its keys cost nothing where nobody does."""

    module: str
    name: str

    def section(self) -> Any:
        """The section's model."""
        from importlib import import_module

        return getattr(import_module(self.module), self.name)


class Matching:
    """A check that the whole text matches; the pattern is compiled when a value first needs it.

    Patterns are such that JavaScript reads them alike: letters and digits are ASCII unless `flags` say otherwise.
    """

    __slots__ = ("flags", "forms", "pattern")

    def __init__(self, pattern: str, forms: str, flags: int = re.ASCII) -> None:
        self.pattern, self.forms, self.flags = pattern, forms, flags

    def __call__(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value, self.flags):
            raise ValueError(self.forms)
        return value


class Within:
    """A check that a number lies between two bounds, both included; None where there is no upper one."""

    __slots__ = ("high", "low", "what")

    def __init__(self, low: float, high: float | None, what: str) -> None:
        self.low, self.high, self.what = low, high, what

    def __call__(self, value: float) -> float:
        if value < self.low or (self.high is not None and value > self.high):
            bounds = f"from {self.low:,g} to {self.high:,g}" if self.high is not None else f"of {self.low:,g} or more"
            raise ValueError(f"{self.what} {bounds}")
        return value


def matching(pattern: str, forms: str) -> AfterValidator:
    """The value is text of this form; `forms` says which, for people."""
    return AfterValidator(Matching(pattern, forms))


def within(low: float, high: float | None, what: str) -> AfterValidator:
    """The value is a number between the bounds."""
    return AfterValidator(Within(low, high, what))


# Readings of what YAML makes of a value ------------------------------------------------------------------------------


def lowered(value: Any) -> Any:
    """Text without spaces around it, in lower case."""
    return value.strip().lower() if isinstance(value, str) else value


def _precision(value: Any) -> Any:
    folded = lowered(value)
    return PRECISION_SPELLINGS.get(folded, folded) if isinstance(folded, str) else folded


def _text(value: Any) -> Any:
    """YAML reads `team: 5` as a number; a tag or a variable is text all the same. Booleans stay refused."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _boolean(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


def _degree(value: Any) -> Any:
    if lowered(value) == "auto":
        return "auto"
    try:
        degree = units.parse_count(value)
    except ValueError:
        degree = 0
    if degree < 1:
        raise ValueError("auto, or a whole number of 1 or more")
    return degree


LEAST_REQUESTS = 0.1


def _utilization_target(value: Any) -> float | None:
    """A target in per cent; `off`, `false` and null switch the policy off."""
    if value is None or value is False or lowered(value) == "off":
        return None
    number = units.parse_percent(value)
    if not 10 <= number <= 95:
        raise ValueError("a percentage from 10 to 95, such as 70 or 70%, or off")
    return number


def _requests_target(value: Any) -> float | None:
    """A number of requests; `off`, `false` and null switch the policy off."""
    if value is None or value is False or lowered(value) == "off":
        return None
    forms = "a number of requests of 0.1 or more, or off"
    try:
        number = units.parse_number(value)
    except ValueError:
        raise ValueError(forms) from None
    if number < LEAST_REQUESTS:
        raise ValueError(forms)
    return number


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


# Quantities ----------------------------------------------------------------------------------------------------------

Count = Annotated[int, BeforeValidator(units.parse_count), Written("whole number", units=("",), whole=True)]
PositiveCount = Annotated[Count, within(1, None, "a whole number")]
Number = Annotated[float, BeforeValidator(units.parse_number), Written("number", units=("",))]
Parameters = Annotated[
    int,
    BeforeValidator(units.parse_parameters),
    within(1e6, 1e14, "a parameter count"),
    Written("parameter count", units=tuple(units.COUNT_UNITS)),
]
Bytes = Annotated[
    int,
    BeforeValidator(units.parse_bytes),
    within(0, None, "a size"),
    Written("size", units=("", *units.BYTE_UNITS), minimum=units.MIB, others=(0,)),
]
Seconds = Annotated[float, BeforeValidator(units.parse_seconds), Written("duration", units=tuple(units.SECOND_UNITS))]
Percent = Annotated[
    float,
    BeforeValidator(units.parse_percent),
    Written("percentage", units=("", "%"), minimum=1, maximum=100, others=(0,)),
]
Share = Annotated[float, BeforeValidator(units.parse_share), Written("share", units=("", "%"), minimum=0, maximum=1)]
Usd = Annotated[
    float,
    BeforeValidator(units.parse_usd),
    Written("US dollars", units=("",), minimum=0, pattern=rf"\s*\$?\s*{units.NUMBER}\s*([uU][sS][dD])?\s*"),
]
Boolean = Annotated[
    bool, BeforeValidator(_boolean), Written("true or false", words=("true", "false"), others=(True, False))
]
UtilizationTarget = Annotated[
    float | None,
    BeforeValidator(_utilization_target),
    Written("percentage, or off", units=("", "%"), minimum=10, maximum=95, words=("off",), others=(False,)),
]
RequestsTarget = Annotated[
    float | None,
    BeforeValidator(_requests_target),
    Written("number, or off", units=("",), minimum=0.1, words=("off",), others=(False,)),
]
Degree = Annotated[
    Literal["auto"] | int,
    BeforeValidator(_degree),
    Written("whole number, or auto", units=("",), whole=True, minimum=1, words=("auto",)),
]

Precision = Literal["fp32", "fp16", "bf16", "fp8", "int8", "int4", "mxfp4", "nvfp4"]
PRECISION_SPELLINGS = {"float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}
"""What Hugging Face and PyTorch call some of the formats."""

# Text and names ------------------------------------------------------------------------------------------------------

Text = Annotated[
    str,
    BeforeValidator(_text),
    matching(r"[^\x00-\x1f\x7f]*", "text on one line, without control characters"),
    Written("text", plural="text", units=("",)),
]
ModelId = Annotated[
    str,
    matching(
        r"[A-Za-z0-9][\w.\-]{0,95}(/[A-Za-z0-9][\w.\-]{0,95})?",
        "a model id such as Qwen/Qwen3-8B: letters, digits, '.', '_', '-' and at most one '/'",
    ),
    Written("model id"),
]
Source = Annotated[
    str,
    matching(
        r"hf://[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*(@(?!.*\.\.)[A-Za-z0-9][\w.\-/]*)?|s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/[\w.\-/=+]*)?|image(:/[\w.\-/]+)?",
        "hf://owner/name or hf://owner/name@revision, s3://bucket/prefix, or image (baked in; image:/path where the server "
        "needs the path)",
    ),
    Written("hf:// or s3:// address, or image"),
]
ModelConfig = Annotated[dict[str, Any], Written("mapping, or path of a file", pattern=r".+")]
LoraKeys = Annotated[dict[str, Any], Later("gpufleet.planner.addition_keys", "Lora")]
DraftKeys = Annotated[dict[str, Any], Later("gpufleet.planner.addition_keys", "Draft")]
PipelineKeys = Annotated[dict[str, Any], Later("gpufleet.planner.diffusion.options", "Pipeline")]
ScheduleKeys = Annotated[dict[str, Any], Later("gpufleet.planner.scaling_keys", "Schedule")]
AlarmsSection = Annotated[dict[str, Any], Later("gpufleet.planner.alarm_keys", "Alarms")]
TimingSection = Annotated[dict[str, Any], Later("gpufleet.planner.timing_keys", "TimingKeys")]
DiffusionKeys = Annotated[dict[str, Any], Later("gpufleet.planner.diffusion.options", "Diffusion")]
WeightFormat = Annotated[
    Precision | None, BeforeValidator(_precision), Written("precision", words=tuple(PRECISION_SPELLINGS))
]
Version = Annotated[str, matching(r"\d+\.\d+(\.\d+)?\w*", "a version such as 0.19.0"), Written("version")]
Image = Annotated[
    str,
    matching(
        r"[a-z0-9][a-z0-9.\-_/]*(:\d+/[a-z0-9.\-_/]+)?(:[\w][\w.\-]{0,127})?(@sha256:[0-9a-f]{64})?",
        "a container image such as vllm/vllm-openai:v0.19.0, with a tag or a digest",
    ),
    Written("container image"),
]
EnvironmentName = Annotated[str, matching(r"[A-Za-z_]\w*", "an environment variable's name"), Written("variable name")]
SecretArn = Annotated[
    str,
    matching(
        r"arn:aws[\w-]*:ssm:[a-z0-9-]+:\d{12}:parameter/[\w.\-/]+"
        r"|arn:aws[\w-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@\-]+",
        "the ARN of an SSM SecureString parameter or of a Secrets Manager secret, never the secret itself",
    ),
    Written("secret's ARN", plural="secrets' ARNs"),
]
UrlPath = Annotated[str, matching(r"/[\w.\-~/%]*", "a URL path such as /health"), Written("URL path")]
Percentile = Annotated[
    str,
    BeforeValidator(lowered),
    matching(r"p(?:[1-9]\d?)(?:\.\d{1,2})?", "a percentile such as p90 or p99.9"),
    Written("percentile", pattern=r"\s*[pP][1-9]\d?(\.\d{1,2})?\s*"),
]
Ami = Annotated[
    str,
    matching(r"latest|launch|ami-[0-9a-f]{8,17}", "latest, launch, or an AMI id such as ami-0123456789abcdef0"),
    Written("AMI id, latest, or launch"),
]
CapacityReservation = Annotated[
    str,
    matching(
        r"cr-[0-9a-f]{8,17}|arn:aws[\w-]*:resource-groups:[a-z0-9-]+:\d{12}:group/[\w.\-]+",
        "the id of a capacity reservation such as cr-0123456789abcdef0, or the ARN of a resource group of them",
    ),
    Written("capacity reservation"),
]
ParameterName = Annotated[
    str, matching(r"/?[\w.\-/]+", "the name of an SSM parameter that holds an AMI id"), Written("SSM parameter's name")
]
TlsPolicy = Literal[
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04",
    "ELBSecurityPolicy-TLS13-1-3-2021-06",
    "ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04",
    "ELBSecurityPolicy-TLS13-1-2-PQ-2025-09",
    "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
    "ELBSecurityPolicy-TLS13-1-3-PQ-2025-09",
]
"""Elastic Load Balancing's policies without TLS 1.0 and 1.1 and without ciphers that lack forward secrecy."""
Endpoint = Literal["autoscaling", "ec2", "ecr", "logs", "monitoring", "secretsmanager", "ssm"]
"""What instances call beside S3; `planner.network` has AWS's services behind each name."""
VpcId = Annotated[str, matching(r"vpc-[0-9a-f]{8,17}", "a VPC id such as vpc-0123456789abcdef0"), Written("VPC id")]
SubnetId = Annotated[
    str, matching(r"subnet-[0-9a-f]{8,17}", "a subnet id such as subnet-0123456789abcdef0"), Written("subnet id")
]
CertificateArn = Annotated[
    str,
    matching(
        r"arn:aws[\w-]*:acm:[a-z0-9-]+:\d{12}:certificate/[\w-]+|arn:aws[\w-]*:iam::\d{12}:server-certificate/[\w+=,.@/\-]+",
        "the ARN of an ACM certificate or an IAM server certificate",
    ),
    Written("certificate's ARN"),
]
Cidr = Annotated[str, AfterValidator(_cidr), Written("IPv4 network", pattern=r"[\d.]+(/[\d.]+)?")]
RegionName = Annotated[
    str, matching(r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as us-east-1"), Written("AWS region")
]
TypeName = Annotated[
    str, matching(r"[a-z0-9-]+\.[a-z0-9-]+", "an instance type such as g6.2xlarge"), Written("instance type")
]
FamilyName = Annotated[
    str,
    matching(r"[a-z0-9-]+", "an instance family such as g6"),
    Written("instance family", plural="instance families"),
]
TypeOrFamilyName = Annotated[
    str,
    matching(r"[a-z0-9-]+(\.[a-z0-9-]+)?", "an instance type or family, such as g6.xlarge or p3dn"),
    Written("instance type or family", plural="instance types or families"),
]
TagKey = Annotated[
    str,
    AfterValidator(
        Matching(
            r"(?![Aa][Ww][Ss]:)[\w .:/=+\-@]{1,128}",
            "1 to 128 letters, digits, spaces or _.:/=+-@, not starting with aws:",
            re.UNICODE,
        )
    ),
    Written("tag key", pattern=r"(?![Aa][Ww][Ss]:).{1,128}"),
]
TagValue = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(Matching(r"[\w .:/=+\-@]{0,256}", "up to 256 letters, digits, spaces or _.:/=+-@", re.UNICODE)),
    Written("text", plural="text", units=("",), pattern=r".{0,256}"),
]
