"""Rules for resources of every kind: tags, and the order of a replacement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aws_rules.rule import UNKNOWN, Config, Resource, Rule, Stack, StackRule, is_list, strings

KEEP_SERVING = (
    "aws:autoscaling/group:Group",
    "aws:cloudwatch/logGroup:LogGroup",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/natGateway:NatGateway",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:iam/instanceProfile:InstanceProfile",
    "aws:iam/role:Role",
    "aws:lb/loadBalancer:LoadBalancer",
    "aws:lb/targetGroup:TargetGroup",
    "aws:s3/bucket:Bucket",
)


def deleted_first(resource: Resource, _: Config) -> Iterator[str]:
    if resource.delete_before_replace:
        yield "it is deleted before its replacement exists"


def missing_tags(resource: Resource, _: Stack, config: Config) -> Iterator[str]:
    """`tagsAll` is what a taggable resource has with the provider's default tags."""
    tags = resource.get("tagsAll")
    if tags is None and is_list(resource.get("tags")):  # an Auto Scaling group's
        tags = {tag.get("key"): True for tag in resource.items("tags") if tag is not UNKNOWN}
    if isinstance(tags, Mapping):
        missing = [tag for tag in config["tags"] if tag not in tags]
        if missing:
            yield f"it lacks the tags {', '.join(missing)}"


RULES: tuple[Rule | StackRule, ...] = (
    Rule(
        name="replaced-before-deleted",
        types=KEEP_SERVING,
        says="What holds data or traffic exists until its replacement does.",
        mend="Remove delete_before_replace; where a fixed name is the reason, leave the name to Pulumi.",
        find=deleted_first,
    ),
    StackRule(
        name="required-tags",
        types=(),
        says="Resources carry the tags by which costs and owners are told.",
        mend="Add them to tags, or to the provider's default_tags.",
        severity="low",
        options={"tags": strings([], "Keys that every resource with tags must have")},
        find=missing_tags,
    ),
)
