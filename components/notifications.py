"""Whom the alarms call: a topic of the user's, or one of the stack's own with people behind it.

Owns the topic and who may publish to it. Leaves what is published to `alarms`. SNS encrypts what it stores; a key of the
user's comes on top where one is given. Making keys is no right that a deployment needs for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.tags import Tags
from gpufleet.planner.plan import Notifications as Plan

PUBLISHERS = ("cloudwatch.amazonaws.com", "events.amazonaws.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationsArgs:
    """Whom to call."""

    plan: Plan
    tags: Tags


class Notifications(pulumi.ComponentResource):
    """The topic that alarms publish to, where there is one."""

    topics: list[pulumi.Input[str]]
    """ARNs; one or none."""

    def __init__(self, name: str, args: NotificationsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gpufleet:notifications:Notifications", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.topics = [args.plan.topic_arn] if args.plan.topic_arn else []
        if args.plan.emails:
            self.topics = [self._create_topic()]
        self.register_outputs({"topics": self.topics})

    def _create_topic(self) -> pulumi.Output[str]:
        name, args = self._name, self._args
        topic = aws.sns.Topic(
            f"{name}-alarms",
            kms_master_key_id=args.plan.kms_key_arn,
            tags=args.tags.named("alarms"),
            opts=self._child,
        )
        aws.sns.TopicPolicy(
            f"{name}-alarms",
            arn=topic.arn,
            policy=topic.arn.apply(lambda arn: json.dumps(topic_policy(arn))),
            opts=self._child,
        )
        for email in args.plan.emails:
            aws.sns.TopicSubscription(
                f"{name}-alarms-{email}", topic=topic.arn, protocol="email", endpoint=email, opts=self._child
            )
        return topic.arn


def topic_policy(topic_arn: str) -> Mapping[str, Any]:
    """Alarms and events of the account may publish, and nothing over an open connection."""
    account = topic_arn.split(":")[4]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AlarmsAndEventsOfThisAccount",
                "Effect": "Allow",
                "Principal": {"Service": list(PUBLISHERS)},
                "Action": "sns:Publish",
                "Resource": topic_arn,
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            },
            {
                "Sid": "OverTlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sns:Publish",
                "Resource": topic_arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
