"""The Pulumi program, run in process without the engine, an account or a network.

Owns the answers that stand in for AWS's and the record of what the program asked for. Leaves printing it to `preview`.
What cannot be known offline is a marked placeholder: `<resource.property>`, the AMI `ami-00000000000000000`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import runpy
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import get_root_resource, rpc, set_mocks
from pulumi.runtime import test as awaiting_outputs
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.machine_image import PLACEHOLDER_AMI
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import Requirements, parse_requirements
from stacks.config import STACKS_DIRECTORY, decoded, load_yaml, stack_file, to_document

PROGRAM = Path(__file__).resolve().parents[1] / "__main__.py"
PROJECT = "gpufleet"
PLACEHOLDER_VPC_CIDR = "10.0.0.0/16"
"""Of a VPC that the stack names; one that the program makes has the plan's."""

PLACEHOLDER_ACCOUNT = "000000000000"

COMPUTED = ("arn", "name", "arnSuffix", "dnsName", "latestVersion", "owner")
"""What components read of a resource and AWS decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResource:
    """A resource as the program asked for it: its inputs under Pulumi's names, and options of it."""

    urn: str
    type: str
    name: str
    parent: str
    """URN; the stack's for what has no other."""
    custom: bool
    inputs: Mapping[str, Any]
    dependencies: tuple[str, ...]
    property_dependencies: Mapping[str, tuple[str, ...]]
    """URNs of what a property's value was made from."""
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    protect: bool
    """Whether Pulumi refuses to replace or delete it."""

    def to_json(self) -> dict[str, Any]:
        """The resource for other programs, under Pulumi's names."""
        return {
            "urn": self.urn,
            "type": self.type,
            "name": self.name,
            "parent": self.parent,
            "custom": self.custom,
            "inputs": dict(sorted(self.inputs.items())),
            "propertyDependencies": {key: list(urns) for key, urns in sorted(self.property_dependencies.items())},
            "ignoreChanges": list(self.ignore_changes),
            "replaceOnChanges": list(self.replace_on_changes),
            "protect": self.protect,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRun:
    """What one run of the program did."""

    stack: str
    plan: DeploymentPlan
    resources: tuple[RecordedResource, ...]
    """Sorted by URN."""
    outputs: Mapping[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineAccount:
    """An account that has every zone of the region, and the VPC and subnets that the stack names."""

    zones: tuple[tuple[str, str], ...] = ()
    """(id, name), as in the catalogue."""
    vpc_id: str | None = None
    subnet_zones: Mapping[str, str] = field(default_factory=dict)
    """Zone id by subnet id."""


def stack_config(stack: str) -> dict[str, Any]:
    """The configuration in a stack's file, raw; a RequirementError where the file is missing or unreadable."""
    document = load_yaml(stack_file(stack))
    config = document.get("config") if isinstance(document, Mapping) else None
    return dict(config) if isinstance(config, Mapping) else {}


def run_program(stack: str, config: Mapping[str, Any]) -> ProgramRun:
    """Run the program for a stack of this name with this configuration.

    A thread of its own has its own event loop and its own Pulumi runtime, so that runs leave nothing to each other.

    Raises:
        pulumi.RunError: what the program says to its user.
    """
    with _config_in_environment(config), ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_run, stack, offline_account(stack, config)).result()


def offline_account(stack: str, config: Mapping[str, Any]) -> OfflineAccount:
    """The account that this configuration expects; an empty one where the program is going to refuse it anyway."""
    try:
        read = {key: decoded(value) for key, value in config.items()}  # as the program does
        requirements = parse_requirements(to_document(read, stack=stack, directory=STACKS_DIRECTORY))
        zones = load_catalog().availability_zones(requirements.region)
        network = requirements.network
        subnets = (network.subnet_ids, network.load_balancer_subnet_ids)
        preferred = _zone_ids(requirements, zones) if any(subnets) else []
    except PlanningError:
        return OfflineAccount()
    return OfflineAccount(
        zones=zones,
        vpc_id=network.vpc_id,
        subnet_zones={s: preferred[i % len(preferred)] for ids in subnets for i, s in enumerate(ids)},
    )


def _zone_ids(requirements: Requirements, zones: tuple[tuple[str, str], ...]) -> list[str]:
    """Zones to put the given subnets in: first those that offer the type, for nobody picks subnets without it."""
    try:
        offering = plan_deployment(requirements, load_catalog()).availability_zone_ids
    except PlanningError:  # the program asks for the subnets before it comes to say so
        offering = ()
    return [*offering, *(id_ for id_, _ in zones if id_ not in offering)]


def _run(stack: str, account: OfflineAccount) -> ProgramRun:
    recorder, journal = _Recorder(_Aws(account)), _Journal()
    logger = logging.Logger(PROJECT)
    logger.addHandler(journal)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    set_mocks(recorder.mocks, project=PROJECT, stack=stack, preview=False, monitor=recorder, logger=logger)
    namespace: dict[str, Any] = {}
    outputs: dict[str, Any] = {}

    @awaiting_outputs  # type: ignore[untyped-decorator]
    def program() -> pulumi.Output[None]:
        namespace.update(runpy.run_path(str(PROGRAM), run_name="__main__"))
        exports: Mapping[str, Any] = getattr(get_root_resource(), "outputs", {})
        return pulumi.Output.from_input(dict(exports)).apply(outputs.update)

    try:
        program()
    finally:
        loop.close()
    return ProgramRun(
        stack=stack,
        plan=namespace["plan"],
        resources=tuple(sorted(recorder.recorded, key=lambda r: r.urn)),
        outputs=outputs,
        warnings=tuple(journal.warnings),
    )


class _Aws(Mocks):
    """Answers in AWS's place."""

    def __init__(self, account: OfflineAccount) -> None:
        self._account = account

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        """The answer to an invoke, by its function's name; a question without an answer is an error."""
        answers = {
            "getAvailabilityZones": self._zones,
            "getCallerIdentity": self._caller,
            "getSubnet": self._subnet,
            "getVpc": self._vpc,
            "getParameter": self._parameter,
            "getServiceQuota": self._quota,
        }
        return answers[args.token.rpartition(":")[2]](args.args), []

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """The id and the state of a resource: its inputs, and placeholders for what AWS decides."""
        computed = {key: f"<{args.name}.{key}>" for key in COMPUTED} if args.custom else {}
        return f"<{args.name}.id>", {**computed, **args.inputs}

    def _zones(self, _: Mapping[str, Any]) -> dict[str, Any]:
        zones = self._account.zones
        return {"zoneIds": [id_ for id_, _ in zones], "names": [name for _, name in zones]}

    def _caller(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"accountId": PLACEHOLDER_ACCOUNT}

    def _subnet(self, args: Mapping[str, Any]) -> dict[str, Any]:
        zone_id = self._account.subnet_zones[args["id"]]
        return {"id": args["id"], "vpcId": self._account.vpc_id, "availabilityZoneId": zone_id}

    def _vpc(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": args["id"], "cidrBlock": PLACEHOLDER_VPC_CIDR}

    def _parameter(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": args["name"], "insecureValue": PLACEHOLDER_AMI}

    def _quota(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Nobody knows it offline, and the program goes on without."""
        return {"quotaCode": args["quotaCode"], "value": None}


class _Recorder(MockMonitor):
    """The mock monitor, which forgets parents and options, with a memory for them."""

    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self.recorded: list[RecordedResource] = []

    def RegisterResource(self, request: Any) -> Any:
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != "pulumi:pulumi:Stack":
            self.recorded.append(
                RecordedResource(
                    urn=response.urn,
                    type=request.type,
                    name=request.name,
                    parent=request.parent,
                    custom=request.custom,
                    inputs=rpc.deserialize_properties(request.object),
                    dependencies=tuple(sorted(request.dependencies)),
                    property_dependencies={
                        key: tuple(sorted(found.urns)) for key, found in request.propertyDependencies.items()
                    },
                    ignore_changes=tuple(request.ignoreChanges),
                    replace_on_changes=tuple(request.replaceOnChanges),
                    protect=request.protect,
                )
            )
        return response


class _Journal(logging.Handler):
    """Keeps the program's warnings, instead of printing them amid the preview."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(record.getMessage())


@contextlib.contextmanager
def _config_in_environment(config: Mapping[str, Any]) -> Iterator[None]:
    """The configuration as the engine hands it to a program: structured values as JSON text, secret keys apart."""
    given = {
        "PULUMI_CONFIG": json.dumps({k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps([k for k, v in config.items() if '"secure":' in json.dumps(v)]),
    }
    before = {key: os.environ.get(key) for key in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
