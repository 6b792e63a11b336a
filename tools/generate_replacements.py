"""Writes `gpufleet/review/replacements.json`: which properties of a resource AWS's provider replaces it for.

Run `.venv/bin/python tools/generate_replacements.py`, with the AWS provider among Pulumi's plugins
(`pulumi plugin install resource aws 7.51.1`). The provider itself is asked, over its own protocol, about every resource
type that the program makes: what if this property changed? Nothing reaches AWS. `tests/engine/test_replacements.py`
fails while the file is behind.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import provider_pb2 as provider
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderStub

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from gpufleet.offline import run_program, stack_config  # noqa: E402
from gpufleet.review.operations import TABLE  # noqa: E402
from stacks.config import stack_names  # noqa: E402

NO_ACCOUNT = {
    "region": "us-east-1",
    "skipCredentialsValidation": "true",
    "skipRequestingAccountId": "true",
    "skipMetadataApiCheck": "true",
    "skipRegionValidation": "true",
}
PUBLIC = {
    "internal": False,
    "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d",
    "allowedCidrs": ["203.0.113.0/24"],
    "endpoints": ["ssm"],
}
EXAMPLES: Mapping[str, tuple[tuple[Any, Any], ...]] = {
    "str": (("one", "two"), ("ONE", "TWO")),
    "bool": ((False, True),),
    "int": ((1, 2),),
    "float": ((1, 2),),
}
"""Pairs of different values of each plain type of the SDK; some texts the provider keeps in capitals."""

Provider = ResourceProviderStub


def table() -> dict[str, list[str]]:
    """The properties that force a replacement, by resource type; with an empty list where none does."""
    with running_provider() as aws:
        return {
            kind: sorted({p for inputs in samples for p in _forcing(aws, kind, inputs)})
            for kind, samples in sorted(_samples().items())
        }


@contextlib.contextmanager
def running_provider() -> Iterator[Provider]:
    """The AWS provider that belongs to the SDK, configured without an account."""
    home = Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi"))
    binary = home / "plugins" / f"resource-aws-v{version('pulumi-aws')}" / "pulumi-resource-aws"
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    # The address is that of an engine, to which it would write its log; nothing listens there.
    process = subprocess.Popen(
        [str(binary), "127.0.0.1:1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    )
    try:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            stub = ResourceProviderStub(channel)
            stub.Configure(provider.ConfigureRequest(args=_struct(NO_ACCOUNT), acceptSecrets=True))
            yield stub
    finally:
        process.terminate()
        process.wait(30)


def _samples() -> dict[str, list[dict[str, Any]]]:
    """Inputs of every type that the program makes: from the shipped stacks, and one with what these leave out."""
    full = {
        **stack_config("dev-us-east-1"),
        "gpufleet:network": PUBLIC,
        "gpufleet:scaling": {"min": 1, "max": 2, "schedules": [{"name": "day", "time": "07:30", "min": 2}]},
        "gpufleet:alarms": {"emails": ["oncall@example.com"]},
    }
    runs = [*(run_program(name, stack_config(name)) for name in stack_names()), run_program("full-us-east-1", full)]
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in (resource for run in runs for resource in run.resources if resource.custom):
        known = found.setdefault(resource.type, [])
        if not any(set(resource.inputs) == set(sample) for sample in known):
            known.append(dict(resource.inputs))
    return found


def _forcing(aws: Provider, kind: str, inputs: dict[str, Any]) -> Iterator[str]:
    """The properties of which the provider says that their change replaces the resource."""
    for name, (old, new) in _variations(kind, inputs):
        # The provider refuses some values outright; nobody can deploy those either.
        with contextlib.suppress(grpc.RpcError):
            same = _replaced_for(aws, kind, {**inputs, name: old}, {**inputs, name: old})
            if name not in same and name in _replaced_for(aws, kind, {**inputs, name: old}, {**inputs, name: new}):
                yield name


def _variations(kind: str, inputs: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Every property with two values of it: those of plain types, and the members of what the program sets."""
    for name, value in inputs.items():
        yield from ((name, (value, other)) for other in _others(value))
    for name, annotation in _sdk_properties(kind).items():
        if name not in inputs:
            plain = re.search(r"\b(str|bool|int|float)\b", annotation)
            nested = re.search(r"Args|Mapping|Sequence", annotation)
            if plain and not nested:
                yield from ((name, pair) for pair in EXAMPLES[plain[1]])


def _sdk_properties(kind: str) -> dict[str, str]:
    """The inputs that pulumi-aws takes for a type, in Pulumi's spelling, with their annotations."""
    package = re.fullmatch(r"aws:(\w+)/\w+:(\w+)", kind)
    assert package, kind
    resource = getattr(importlib.import_module(f"pulumi_aws.{package[1]}"), package[2])
    parameters = inspect.signature(resource._internal_init).parameters
    return {
        re.sub(r"_(\w)", lambda m: m[1].upper(), name): str(parameter.annotation)
        for name, parameter in parameters.items()
        if name not in ("self", "__self__", "resource_name", "opts", "__props__")
    }


def _others(value: Any) -> Iterator[Any]:
    """The value with one of its leaves changed, for each of its leaves."""
    if isinstance(value, Mapping):
        yield from ({**value, key: other} for key, member in value.items() for other in _others(member))
    elif isinstance(value, list):
        yield from ([*value[:i], other, *value[i + 1 :]] for i, member in enumerate(value) for other in _others(member))
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
    elif isinstance(value, str):
        yield {"true": "false", "false": "true"}.get(value, value + "x")


@functools.cache
def _state_version(aws: Provider, kind: str) -> int:
    """The newest form of this type's state: of an older one the provider looks for what inputs alone do not have."""
    for newest in range(9, 0, -1):
        with contextlib.suppress(grpc.RpcError):
            aws.Diff(_request(kind, {}, {}, newest))
            return newest
    return 0


def _replaced_for(aws: Provider, kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    return set(aws.Diff(_request(kind, old, new, _state_version(aws, kind))).replaces)


def _request(kind: str, old: Mapping[str, Any], new: Mapping[str, Any], state_version: int) -> provider.DiffRequest:
    """What if a resource with these inputs were to have those?"""
    return provider.DiffRequest(
        id="i-0",
        urn=f"urn:pulumi:stack::project::{kind}::name",
        olds=_struct({**old, "id": "i-0", "__meta": json.dumps({"schema_version": str(state_version)})}),
        news=_struct(new),
        old_inputs=_struct(old),
    )


def _struct(values: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


def main() -> None:
    """Write the table."""
    document = {
        "source": f"the AWS provider of pulumi-aws {version('pulumi-aws')}, asked by tools/generate_replacements.py",
        "replacedOnChange": table(),
    }
    TABLE.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
