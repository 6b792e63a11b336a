"""The frozen result of planning, and its JSON.

Owns the names and shapes that other programs read, `templates` renders and `components` provisions. Decides nothing:
every number in it was decided by another module of the planner. Reading a plan back gives an equal plan, and the same
plan gives the same bytes.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

SCHEMA_VERSION = 1

_UNIT_ENDINGS = {"Gib": "GiB", "Mib": "MiB", "Mibs": "MiBs"}

Verdict = Literal["choice", "fallback", "possible", "rejected"]


def _json_name(field: str) -> str:
    """camelCase, with the units as they are written: `weights_gib` is `weightsGiB`."""
    name = to_camel(field)
    for ending, written in _UNIT_ENDINGS.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + written
    return name


class Part(BaseModel):
    """A frozen part of a plan."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_json_name,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,
        # JSON knows neither.
        allow_inf_nan=False,
    )

    def to_json_object(self) -> dict[str, Any]:
        """The part under the names that other programs read."""
        return self.model_dump(by_alias=True, mode="json")

    def to_json(self, *, indent: int | None = None) -> str:
        """The part as JSON text: an equal one gives the same bytes."""
        return self.model_dump_json(by_alias=True, indent=indent)


class PlannedModel(Part):
    """What is served, and how its weights lie."""

    id: str
    source: str
    parameters: int
    precision: str
    checkpoint_format: str | None
    """How the published checkpoint stores its weights; None where unknown."""
    weights_gib: float
    """Weights of a whole replica in GPU memory."""
    downloads: tuple[str, ...] = ()
    """hf:// and s3:// addresses of what an instance has on disk before its servers start; the model's own is the first.
    Empty where the image holds the weights, or where a server of the user's own downloads them itself."""
    assumptions: tuple[str, ...]


class PerGpuMemory(Part):
    """Memory of one GPU, in GiB.

    `total` is everything but the cache; `kv_cache` is the rest of the budget, of which the full contexts asked for
    need `kv_needed`; `headroom` is what is left beside them.
    """

    weights_gib: float
    activations_gib: float
    non_torch_gib: float
    cuda_graphs_gib: float
    kv_cache_gib: float
    kv_needed_gib: float
    headroom_gib: float
    total_gib: float
    budget_gib: float
    usable_gib: float


class PipelineComponent(Part):
    """A component of a diffusion pipeline, and its weights wherever they wait."""

    pipeline: str
    name: str
    parameters: int
    precision: str
    weights_gib: float


class PipelinePhase(Part):
    """A phase of making an image: what is on the GPU in it. `total` has the CUDA context too."""

    pipeline: str
    name: str
    weights_gib: float
    activations_gib: float
    allocator_gib: float
    """Free memory that PyTorch's allocator cannot hand out."""
    total_gib: float


class PipelineMemory(Part):
    """A diffusion pipeline's memory: the largest phase is what `per_gpu` has."""

    width: int
    height: int
    images_per_prompt: int
    guidance: bool
    offload: str
    components: tuple[PipelineComponent, ...]
    phases: tuple[PipelinePhase, ...]
    peak_allocated_gib: float
    """torch.cuda.max_memory_allocated."""
    peak_reserved_gib: float
    """torch.cuda.max_memory_reserved on a card with room to spare."""


class Memory(Part):
    """The memory of a replica, and what its cache holds."""

    per_gpu: PerGpuMemory
    kv_bytes_per_token: int
    """Of a whole replica."""
    kv_cache_tokens: int
    full_contexts: int
    """Sequences of max_model_len that have room in a replica's cache at once."""
    longest_context: int | None
    """Tokens of the longest single sequence that the cache holds; None where the model keeps none."""
    pipeline: PipelineMemory | None = Field(None, exclude_if=lambda value: value is None)
    """Of a diffusion pipeline, which has no cache; not in the JSON of another model."""


class Gpu(Part):
    """The GPUs of an instance; `memory_mib` is what the driver reports for one."""

    name: str
    count: int
    memory_mib: int


class PlannedInstance(Part):
    """The chosen type."""

    type: str
    family: str
    vcpu: int
    memory_mib: int
    architecture: str
    gpu: Gpu


class Limits(Part):
    """What one container may use."""

    vcpu: float
    memory_mib: int


class PlannedType(Part):
    """A type that the fleet may boot, in order of preference, with the limits of each of its containers."""

    type: str
    replica: Limits
    proxy: Limits | None
    shared_memory_mib: int
    """/dev/shm of a replica; counts against its memory."""


class HostPart(Part):
    """A part of a replica's RAM."""

    name: str
    memory_mib: int
    reason: str


class Host(Part):
    """What a replica needs of the host: its container must get at least this. Memory-mapped weights are not in it."""

    vcpu: float
    memory_mib: int
    parts: tuple[HostPart, ...]


class Capacity(Part):
    """Instances, and how they are bought."""

    min: int
    desired: int
    max: int
    on_demand_base: int
    spot_percentage: float
    reservation_ids: tuple[str, ...] = ()
    """Capacity reservations that on-demand instances launch into while they have room."""
    reservation_group_arns: tuple[str, ...] = ()


class Amounts(Part):
    """Figures of the smallest, the first and the largest fleet, US dollars unless it says so; None is unknown."""

    min: float | None
    desired: float | None
    max: float | None


class Spend(Part):
    """What the instances cost in one way; a month has 730 hours."""

    hourly: Amounts
    monthly: Amounts
    price_as_of: str | None
    """The day of the price, or the days from and to; None where it is unknown."""


class CostItem(Part):
    """Something that the stack makes beside its instances."""

    name: str
    description: str
    unit: str
    quantity: Amounts
    """Units in a month; None where traffic decides."""
    price_usd: float | None
    """Of a unit, in the first tier; None where the catalogue has none."""
    price_as_of: str | None
    monthly: Amounts


class Cost(Part):
    """The instances by the purchase options, at the prices of `price_date` on demand; what else is paid is in `items`."""

    currency: str
    price_date: str | None
    hourly: Amounts
    monthly: Amounts
    on_demand: Spend
    """Were all of them on demand."""
    spot: Spend
    """Were all of them Spot."""
    waste: Spend | None
    """The part of `hourly` and `monthly` that goes for GPUs which no replica uses; None where there are none."""
    items: tuple[CostItem, ...]


class QuotaNeed(Part):
    """What a quota of the account must allow in the region: the most that the fleet can take, and one rollout."""

    purchase_option: str
    """`on-demand` or `spot`."""
    name: str
    code: str | None
    """None where public sources disagree: look it up by its name."""
    vcpu: int
    """To request, beside what else runs in the region."""
    instances: int
    rollout_instances: int
    """What a rollout launches before it terminates."""
    largest_type: str
    """Of those that this quota counts and the fleet may launch."""
    largest_type_vcpu: int
    choice_vcpu: int | None
    """What would do without fallbacks; None where another quota counts the choice."""

    @property
    def quota(self) -> str:
        """The quota for people."""
        return f"{self.name} ({self.code or 'look its code up by this name'})"

    @property
    def arithmetic(self) -> str:
        """The vCPUs and how they come about."""
        each = self.largest_type_vcpu
        text = (
            f"{self.vcpu} vCPU (max {self.instances} x {each} of {self.largest_type} + {self.rollout_instances * each} "
        )
        alone = self.choice_vcpu if self.choice_vcpu != self.vcpu else None
        return f"{text}for a rollout{'' if alone is None else f'; {alone} without fallbacks'})"


class Candidate(Part):
    """An offered type, and why it was taken or not."""

    type: str
    verdict: Verdict
    reason: str
    gpu: str
    gpu_count: int
    tensor_parallelism: int | None
    pipeline_parallelism: int | None
    replicas_per_instance: int | None
    usable_gib: float
    """Of one GPU, as the driver reports it. This and the next three are per GPU, None where the type was not sized."""
    budget_gib: float | None
    needed_gib: float | None
    """What the budget must hold: weights, runtime and the cache of the full contexts."""
    shortfall_gib: float | None
    idle_gpus: int | None
    """Of an instance; None where it cannot serve."""
    idle_gpu_memory_gib: float | None
    """Of an instance: idle GPUs whole, and what the budget of the others has left."""
    hourly_usd: float | None
    hourly_usd_per_replica: float | None
    spot_hourly_usd: float | None
    availability_zone_ids: tuple[str, ...]


class Server(Part):
    """The server of one replica: image, arguments and ports, the same on every type. The numbers of a language model's
    server are None where the server is the user's own."""

    engine: str
    engine_version: str
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    secrets: dict[str, str]
    port: int
    """Port of the instance: the replica's own, or the proxy's where there are several."""
    replica_ports: tuple[int, ...]
    health_path: str
    max_model_len: int | None
    max_num_seqs: int | None
    max_num_batched_tokens: int | None
    gpu_memory_utilization: float
    kv_cache_dtype: str | None


class Proxy(Part):
    """The reverse proxy in front of several replicas of one instance."""

    image: str
    port: int


class Storage(Part):
    """Disk of an instance."""

    root_volume_gib: int
    root_throughput_mibs: int
    """MiB/s of the root volume (gp3)."""
    root_iops: int
    weights_gib: float
    """The checkpoint on disk."""
    image_gib: float
    """The container image, unpacked."""


class Timing(Part):
    """How long an instance takes from launch to its first answer, and what follows from it. Seconds."""

    boot_seconds: int
    image_pull_seconds: int
    weights_seconds: int
    engine_start_seconds: int
    load_seconds: int
    """This and those before of the chosen type."""
    slowest_type: str
    """Of those that the fleet may boot; the time-outs are made for it."""
    slowest_load_seconds: int
    path: tuple[str, ...]
    """How each part was derived, of the chosen type and of the slowest."""
    health_check_grace_period_seconds: int
    instance_warmup_seconds: int
    lifecycle_timeout_seconds: int
    """In which an instance must have come up, or is given up."""
    longest_request_seconds: int
    """Idle time-out of the load balancer and deregistration delay."""


class Rollout(Part):
    """How instance refresh brings a new launch template to the instances."""

    min_healthy_percent: int
    """Of the fleet, in service all the while; 100: new instances launch before old ones go."""
    max_healthy_percent: int
    checkpoint_percents: tuple[int, ...]
    """Shares of the fleet after which it waits; empty for a small fleet."""
    checkpoint_delay_seconds: int | None
    watches_alarms: bool
    """Whether an alarm of the fleet ends it."""
    skips_matching: bool
    """Whether instances that have the new template already are kept."""


class LatencyStep(Part):
    """Capacity added while the percentile lies between the bounds, in seconds above the target."""

    lower_bound_seconds: float
    upper_bound_seconds: float | None
    adjustment_percent: int


class LatencyPolicy(Part):
    """Step scaling on the load balancer's response time: it only adds."""

    percentile: str
    target_seconds: float
    period_seconds: int
    evaluation_periods: int
    datapoints_to_alarm: int
    steps: tuple[LatencyStep, ...]
    min_requests: int = 1
    """Of a period: a period with fewer has no percentile to speak of, and counts as fast enough."""

    @property
    def expression(self) -> str:
        """Metric math of `latency` and `requests`: no value where too few were answered.

        CloudWatch's own guard against few samples keeps an alarm as it is, and in a quiet night after a slow evening that is on.
        """
        return f"IF(requests >= {self.min_requests}, latency)"


class WaitingStep(Part):
    """Capacity added while a replica's mean queue lies between the bounds, in requests above the threshold."""

    lower_bound_requests: float
    upper_bound_requests: float | None
    adjustment_percent: int


class WaitingPolicy(Part):
    """Step scaling on the requests that wait in a replica, on average over the replicas: it only adds."""

    threshold_requests: float
    period_seconds: int
    evaluation_periods: int
    datapoints_to_alarm: int
    steps: tuple[WaitingStep, ...]


class ScheduledCapacity(Part):
    """The bounds of the fleet from a time on, until the next of them."""

    name: str
    recurrence: str
    """Five fields of cron, in the time zone."""
    time_zone: str
    """IANA name."""
    min: int
    max: int
    desired: int | None
    """None: the fleet stays as large as it is, within the bounds."""


class ScalingPolicies(Part):
    """What moves the fleet between its bounds. None: no policy on that signal.

    The numbers are targets that AWS tracks, adding and removing; `waiting_requests` and `latency` only add.
    """

    metric_namespace: str
    gpu_utilization_percent: float | None = None
    cpu_utilization_percent: float | None = None
    requests_per_target: float | None = None
    """Requests that an instance gets in a minute."""
    requests_in_flight: float | None = None
    """Requests that a replica works on or has waiting."""
    kv_cache_utilization_percent: float | None = None
    waiting_requests: WaitingPolicy | None = None
    latency: LatencyPolicy | None = None
    schedules: tuple[ScheduledCapacity, ...] = ()


class Notifications(Part):
    """Whom the fleet's alarms call. Neither: nobody is called."""

    topic_arn: str | None = None
    """An SNS topic of the user's."""
    emails: tuple[str, ...] = ()
    """Subscribers of a topic that the program makes."""
    kms_key_arn: str | None = None
    """That encrypts the program's topic; None: SNS's own encryption."""


class Subnet(Part):
    """A pair of subnets that the program makes in one zone: private for instances, public for what must be."""

    zone_id: str
    zone_name: str | None
    private_cidr: str
    public_cidr: str


class NetworkPlan(Part):
    """Where the fleet lives. Either `vpc_id` and subnet ids of the user's, or the subnets to make."""

    vpc_id: str | None
    vpc_cidr: str | None
    subnets: tuple[Subnet, ...]
    """Those to make; empty in the user's VPC."""
    instance_subnet_ids: tuple[str, ...]
    load_balancer_subnet_ids: tuple[str, ...]
    internal: bool
    certificate_arn: str | None
    allowed_cidrs: tuple[str, ...]
    """Empty: the VPC's own network."""
    tls_policy: str | None = None
    """Of the HTTPS listener; None without a certificate."""
    access_logs: bool = False
    """Whether the load balancer logs requests into a bucket."""
    delete_access_logs: bool = False
    """Whether that bucket may be deleted with what is in it."""
    nat_zone_ids: tuple[str, ...] = ()
    """Zones with a NAT gateway; the first's also serves the zones that have none. Empty in the user's VPC."""
    endpoint_services: tuple[str, ...] = ()
    """AWS's names of the services with an interface endpoint."""
    endpoint_zone_ids: tuple[str, ...] = ()
    """Zones in which these have an address."""
    flow_logs: bool = False


class MachineImage(Part):
    """The AMI: an id where it is known, and where it comes from."""

    id: str | None
    parameter: str | None
    """SSM parameter that `latest` and `launch` read; None when the id is pinned."""
    at_launch: bool
    """Whether EC2 reads the parameter itself whenever it launches an instance."""


class Notice(Part):
    """Something to know of a plan, and what to do about it."""

    path: str
    """Dotted key that it hangs on."""
    message: str
    next_step: str
    is_refusal: bool = False
    """Whether `up` refuses the plan for it."""

    @property
    def text(self) -> str:
        """In one sentence."""
        return f"{self.message}; {self.next_step}"


class DeploymentPlan(Part):
    """Everything that was decided. Frozen; the only thing that templates and components read."""

    schema_version: int
    region: str
    model: PlannedModel
    memory: Memory
    kv_bytes_per_token: int
    """This and the next two as in `memory`, for readers of the first plans."""
    kv_cache_tokens: int
    full_contexts: int
    instance: PlannedInstance
    tensor_parallelism: int
    pipeline_parallelism: int
    data_parallelism: int
    replicas_per_instance: int
    host: Host
    limits: Limits
    limits_by_type: dict[str, Limits]
    types: tuple[PlannedType, ...]
    fallbacks: tuple[str, ...]
    availability_zone_ids: tuple[str, ...]
    capacity: Capacity
    quotas: tuple[QuotaNeed, ...]
    cost: Cost
    server: Server
    proxy: Proxy | None
    storage: Storage
    timing: Timing
    rollout: Rollout
    protects: bool
    """Whether Pulumi refuses to replace or delete the load balancer, and to delete logs."""
    scaling: ScalingPolicies
    notifications: Notifications
    network: NetworkPlan
    machine_image: MachineImage
    tags: dict[str, str]
    candidates: tuple[Candidate, ...]
    notices: tuple[Notice, ...]
    warnings: tuple[str, ...]
    """The notices, as text."""
    refusals: tuple[str, ...]
    """Those of them for which `up` would refuse this plan although it can be computed."""

    @property
    def gpus_per_replica(self) -> int:
        """The GPUs that one replica runs on."""
        return self.tensor_parallelism * self.pipeline_parallelism * self.data_parallelism

    @classmethod
    def from_json(cls, text: str) -> Self:
        """A plan read back; pydantic's ValidationError where the text is not one."""
        return cls.model_validate_json(text)
