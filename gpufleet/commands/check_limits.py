"""AWS's limits on names and tags, held against what the program asks for.

Owns the limits. Leaves to the provider what it checks itself, such as the values of enumerations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gpufleet.offline import ProgramRun, RecordedResource
from gpufleet.planner.errors import Problem

SUFFIX_CHARACTERS = 8
"""What Pulumi adds to a logical name, so that a replacement can stand beside what it replaces."""

LOGICAL_NAMES = {
    "aws:autoscaling:Group": 255,
    "aws:cloudwatch:MetricAlarm": 255,
    "aws:ec2:LaunchTemplate": 128,
    "aws:ec2:SecurityGroup": 255,
    "aws:iam:InstanceProfile": 128,
    "aws:iam:Role": 64,
    "aws:iam:RolePolicy": 128,
    "aws:lb:LoadBalancer": 32,
    "aws:lb:TargetGroup": 32,
}
"""Characters that a name may have, for what Pulumi names."""


class NameLimit(NamedTuple):
    """A name that the program gives."""

    key: str
    characters: int
    pattern: str


GIVEN_NAMES = {
    "aws:cloudwatch:Dashboard": NameLimit("dashboardName", 255, r"[A-Za-z0-9_-]+"),
    "aws:cloudwatch:LogGroup": NameLimit("name", 512, r"[A-Za-z0-9_/.#-]+"),
}

MOST_TAGS = 50
TAG_KEY_CHARACTERS, TAG_VALUE_CHARACTERS = 128, 256


def limit_problems(run: ProgramRun) -> list[Problem]:
    """Every name or tag that AWS would not take, each once."""
    found = [problem for resource in run.resources if resource.custom for problem in _of_resource(resource)]
    return list({(problem.path, problem.message): problem for problem in found}.values())


def _of_resource(resource: RecordedResource) -> Iterator[Problem]:
    package, module, kind = resource.type.split(":")
    name = f"{package}:{module.partition('/')[0]}:{kind}"
    most = LOGICAL_NAMES.get(name)
    if most and len(resource.name) + SUFFIX_CHARACTERS > most:
        yield Problem(
            path="",
            message=f"the name of {name} is longer than AWS takes",
            given=resource.name,
            allowed=f"{most - SUFFIX_CHARACTERS} characters, before Pulumi's suffix",
        )
    limit = GIVEN_NAMES.get(name)
    given = resource.inputs.get(limit.key) if limit else None
    if limit and given and (len(given) > limit.characters or not re.fullmatch(limit.pattern, given)):
        yield Problem(
            path="",
            message=f"{limit.key} of {name}, made from the stack's name, is none that AWS takes",
            given=given,
            allowed=f"up to {limit.characters} characters of {limit.pattern}",
            next_step="give the stack's file a shorter name, of letters, digits and hyphens",
        )
    yield from _of_tags(_tags(resource.inputs.get("tags")))


def _tags(tags: Any) -> Mapping[str, str]:
    """Tags by key; an Auto Scaling group has them as a list."""
    return {tag["key"]: tag["value"] for tag in tags} if isinstance(tags, list) else tags or {}


def _of_tags(tags: Mapping[str, str]) -> Iterator[Problem]:
    if len(tags) > MOST_TAGS:
        yield Problem(
            path="tags",
            message="more tags than AWS takes on a resource, with the program's own",
            given=f"{len(tags)} tags",
            allowed=f"up to {MOST_TAGS}",
            next_step="remove some; `aws:defaultTags` count too",
        )
    for key, value in tags.items():
        if len(key) > TAG_KEY_CHARACTERS or len(value) > TAG_VALUE_CHARACTERS:
            yield Problem(
                path=f"tags.{key}",
                message="longer than AWS takes",
                given=value,
                allowed=f"keys up to {TAG_KEY_CHARACTERS} characters, values up to {TAG_VALUE_CHARACTERS}",
                next_step="shorten it; Name and gpufleet:stack are made from the stack's name",
            )
