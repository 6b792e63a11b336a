"""The keys of `gpufleet:alarms`: whom the fleet's alarms call.

Owns their names. Parsed only for documents that have the section, so that no other plan pays for it. Leaves which alarms
there are to the component that makes them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gpufleet.planner import values
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.plan import Notifications
from gpufleet.planner.requirements import Requirements, Section, parse_section

PATH = "alarms"

TopicArn = Annotated[
    str,
    values.matching(
        r"arn:aws[\w-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_\-]{1,256}", "the ARN of an SNS topic, which is no FIFO topic"
    ),
    values.Written("topic's ARN"),
]
Email = Annotated[
    str,
    values.matching(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\-]+@[A-Za-z0-9\-]+(\.[A-Za-z0-9\-]+)+", "an e-mail address"),
    values.Written("e-mail address", plural="e-mail addresses"),
]


KmsKeyArn = Annotated[
    str,
    values.matching(r"arn:aws[\w-]*:kms:[a-z0-9-]+:\d{12}:key/[\w\-]+", "the ARN of a KMS key"),
    values.Written("key's ARN"),
]


class Alarms(Section):
    """Whom the fleet's alarms call: a topic of yours, or people by e-mail through a topic that the program makes."""

    topic_arn: TopicArn | None = Field(
        None,
        description="An SNS topic that CloudWatch and EventBridge may publish to. Defaults to one that the program makes where "
        "emails are given, else to none.",
        examples=["arn:aws:sns:us-east-1:123456789012:oncall"],
    )
    emails: tuple[Email, ...] = Field(
        (),
        strict=False,
        description="Who is called by e-mail; each must confirm AWS's first message. Not with topicArn.",
        examples=[["oncall@example.com"]],
    )
    kms_key_arn: KmsKeyArn | None = Field(
        None,
        description="A KMS key for the topic that the program makes; its policy must let cloudwatch.amazonaws.com and "
        "events.amazonaws.com use it (kms:Decrypt, kms:GenerateDataKey*). Defaults to the encryption that SNS has anyway.",
        examples=["arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"],
    )


def notifications(requirements: Requirements) -> Notifications:
    """Whom to call; a RequirementError with every problem in the section."""
    if requirements.alarms is None:
        return Notifications()
    try:
        alarms = parse_section(Alarms, requirements.alarms)
    except RequirementError as error:
        raise error.under(PATH) from None
    problems = list(_problems(alarms, requirements.region))
    if problems:
        raise RequirementError(problems)
    return Notifications(topic_arn=alarms.topic_arn, emails=alarms.emails, kms_key_arn=alarms.kms_key_arn)


def _problems(alarms: Alarms, region: str) -> list[Problem]:
    problems = []
    if alarms.topic_arn and alarms.emails:
        problems.append(
            Problem(
                path=f"{PATH}.emails",
                message="given with alarms.topicArn: who gets what a topic of yours is sent is not this stack's to say",
                next_step="subscribe them to the topic, or remove alarms.topicArn",
            )
        )
    if alarms.kms_key_arn and not alarms.emails:
        problems.append(
            Problem(
                path=f"{PATH}.kmsKeyArn",
                message="encrypts the topic that the program makes, and there is none without alarms.emails",
                next_step="name alarms.emails, or remove it",
            )
        )
    for key, arn in (("topicArn", alarms.topic_arn), ("kmsKeyArn", alarms.kms_key_arn)):
        if arn and arn.split(":")[3] != region:
            problems.append(
                Problem(
                    path=f"{PATH}.{key}",
                    message="lies in another region than the fleet",
                    given=arn,
                    allowed=f"one in {region}",
                    next_step=f"name one of {region}",
                )
            )
    problems += [
        Problem(path=f"{PATH}.emails", message="named twice", given=email, next_step="remove one")
        for email in sorted({e for e in alarms.emails if alarms.emails.count(e) > 1})
    ]
    return problems
