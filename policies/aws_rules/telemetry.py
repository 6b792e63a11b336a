"""Rules for log groups, alarms, dashboards and topics."""

from __future__ import annotations

from collections.abc import Iterator

from aws_rules.iam import open_to_everybody, refuses_clear_text
from aws_rules.rule import (
    UNKNOWN,
    Config,
    Resource,
    Rule,
    Stack,
    StackRule,
    at_least,
    document,
    expect,
    integer,
    is_not,
    is_one_of,
    is_set,
    shown,
    unset_or,
)

LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
COMPOSITE = "aws:cloudwatch/compositeAlarm:CompositeAlarm"
DASHBOARD = "aws:cloudwatch/dashboard:Dashboard"
TOPIC = "aws:sns/topic:Topic"
TOPIC_POLICY = "aws:sns/topicPolicy:TopicPolicy"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
EVENT_RULE = "aws:cloudwatch/eventRule:EventRule"


def unreadable(dashboard: Resource, _: Config) -> Iterator[str]:
    body = dashboard.get("dashboardBody")
    if body is not UNKNOWN and not document(body).get("widgets"):
        yield "dashboardBody is no JSON with widgets"


def clear_text_publishers(topic: Resource, stack: Stack, _: Config) -> Iterator[str]:
    policies = [topic.get("policy"), *(p.get("policy") for p in stack.users(topic, TOPIC_POLICY, "arn"))]
    if not any(policy is UNKNOWN or refuses_clear_text(document(policy)) for policy in policies):
        yield "its policy does not refuse messages without TLS"


def key_that_alarms_cannot_use(topic: Resource, _: Config) -> Iterator[str]:
    if topic.get("kmsMasterKeyId") in ("alias/aws/sns", "aws/sns"):
        yield f"kmsMasterKeyId is {shown(topic.get('kmsMasterKeyId'))}, with which CloudWatch cannot publish"


RULES: tuple[Rule | StackRule, ...] = (
    Rule(
        name="log-group-retention",
        types=(LOG_GROUP,),
        says="Logs are kept for a set time: long enough to look into an incident, and not forever.",
        mend="Set retention_in_days, or lower the option `days`.",
        ids=("CloudWatch.16", "CKV_AWS_66", "CKV_AWS_338"),
        options={"days": integer(365, "Least number of days", minimum=1)},
        find=expect(("retentionInDays", at_least("days"))),
    ),
    Rule(
        name="log-group-key",
        types=(LOG_GROUP,),
        says="Logs are encrypted with a key of the customer.",
        mend="Set kms_key_id to the key's ARN, and let the key's policy admit CloudWatch Logs.",
        ids=("CKV_AWS_158", "AWS-0017"),
        severity="low",
        level="disabled",
        reason="CloudWatch encrypts all logs; a key of one's own costs, and needs a policy that admits the service.",
        find=expect(("kmsKeyId", is_set)),
    ),
    Rule(
        name="alarm-acts",
        types=(ALARM, COMPOSITE),
        says="An alarm tells somebody, or moves something.",
        mend="Set alarm_actions to a topic or a scaling policy.",
        ids=("CloudWatch.15", "CKV_AWS_319"),
        level="disabled",
        reason="Alarms without an action still end a rollout that goes wrong; whom to call is the user's choice.",
        find=expect(("alarmActions", is_set)),
    ),
    Rule(
        name="alarm-actions-enabled",
        types=(ALARM, COMPOSITE),
        says="An alarm does what it lists.",
        mend="Set actions_enabled to True, or leave it out.",
        ids=("CloudWatch.17",),
        find=expect(("actionsEnabled", unset_or(True))),
    ),
    Rule(
        name="alarm-missing-data",
        types=(ALARM,),
        says="An alarm says what silence means: a metric that nobody publishes is no proof that all is well.",
        mend='Set treat_missing_data to "breaching", "notBreaching" or "ignore".',
        severity="low",
        level="advisory",
        find=expect(("treatMissingData", is_one_of("breaching", "notBreaching", "ignore"))),
    ),
    Rule(
        name="alarm-described",
        types=(ALARM, COMPOSITE),
        says="An alarm says what is wrong to whom it wakes.",
        mend="Set alarm_description.",
        severity="low",
        level="advisory",
        find=expect(("alarmDescription", is_set)),
    ),
    Rule(
        name="dashboard-readable",
        types=(DASHBOARD,),
        says="A dashboard shows something.",
        mend="Set dashboard_body to the JSON text of a document with widgets.",
        severity="low",
        find=unreadable,
    ),
    Rule(
        name="topic-encrypted",
        types=(TOPIC,),
        says="Messages are encrypted where they are stored.",
        mend="Set kms_master_key_id to a key whose policy admits cloudwatch.amazonaws.com.",
        ids=("SNS.1", "CKV_AWS_26", "AWS-0095", "AWS-0136"),
        severity="low",
        level="advisory",
        find=expect(("kmsMasterKeyId", is_set)),
    ),
    Rule(
        name="topic-key-for-alarms",
        types=(TOPIC,),
        says="Alarms can publish to an encrypted topic.",
        mend="Set kms_master_key_id to a key of the customer whose policy admits cloudwatch.amazonaws.com: AWS's own key"
        " admits no other service, and every alarm would be lost.",
        find=key_that_alarms_cannot_use,
    ),
    StackRule(
        name="topic-tls-only",
        types=(TOPIC,),
        says="A topic refuses messages without TLS.",
        mend="Add an aws.sns.TopicPolicy that denies sns:Publish where aws:SecureTransport is false.",
        ids=("AwsSolutions-SNS3",),
        severity="low",
        level="advisory",
        find=clear_text_publishers,
    ),
    Rule(
        name="topic-policy-not-public",
        types=(TOPIC, TOPIC_POLICY),
        says="A topic's policy names who may publish and subscribe.",
        mend="Name the principals, or add a Condition such as aws:SourceAccount.",
        ids=("SNS.4", "CKV_AWS_169"),
        severity="high",
        find=open_to_everybody,
    ),
    Rule(
        name="subscription-encrypted",
        types=(SUBSCRIPTION,),
        says="Messages leave AWS by an encrypted way.",
        mend='Set protocol to "https", with an endpoint that has a certificate.',
        find=expect(("protocol", is_not("http"))),
    ),
    Rule(
        name="event-rule-enabled",
        types=(EVENT_RULE,),
        says="A rule for events is on.",
        mend="Leave state out, or remove the rule.",
        severity="low",
        level="advisory",
        find=expect(("state", is_not("DISABLED"))),
    ),
)
