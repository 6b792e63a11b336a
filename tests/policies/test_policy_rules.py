"""The rules of the policy pack: each finds what breaks it, says how to mend it, and is silent otherwise."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws_rules import RULES, WITHOUT_RULES, autoscaling, iam, load_balancing, security_groups
from aws_rules.launch_templates import TEMPLATE
from aws_rules.rule import UNKNOWN, Resource, Rule, Stack, StackRule, framework
from gpufleet.offline import RecordedResource, run_program, stack_config
from stacks.config import stack_names
from tests.policies.cases import CASES, SSH, Case, encoded, listener, policy, resource

BY_NAME = {rule.name: rule for rule in RULES}
ON = [rule for rule in RULES if rule.level != "disabled"]


def findings(name: str, it: Resource, beside: Sequence[Resource] = (), **config: Any) -> list[str]:
    """What a rule says of a resource, without the sentence that all its messages end with."""
    rule = BY_NAME[name]
    assert rule.applies(it), it.type
    said = rule.findings(it, config) if isinstance(rule, Rule) else rule.findings(it, Stack([it, *beside]), config)
    for message in said:
        assert message.startswith(f"{it.name} ({it.type}): ")
        assert message.endswith(f". {rule.mend}")
    return [m.removeprefix(f"{it.name} ({it.type}): ").removesuffix(f". {rule.mend}") for m in said]


def broken(name: str, case: Case) -> Resource:
    it = resource(case.type, uses=case.uses, **case.breaks)
    return dataclasses.replace(it, delete_before_replace=name == "replaced-before-deleted")


def test_every_rule_has_a_case() -> None:
    assert [rule.name for rule in RULES if rule.name not in CASES] == []
    assert len(BY_NAME) == len(RULES), "two rules have one name"


@pytest.mark.parametrize("name", CASES)
def test_a_rule_says_what_is_wrong_where_and_how_to_mend_it(name: str) -> None:
    case = CASES[name]
    said = [case.says] if isinstance(case.says, str) else list(case.says)
    assert findings(name, broken(name, case), case.broken_beside, **case.config) == said


@pytest.mark.parametrize("name", CASES)
def test_a_rule_is_silent_where_it_is_kept(name: str) -> None:
    case = CASES[name]
    assert findings(name, resource(case.type, uses=case.uses, **case.keeps), case.kept_beside, **case.config) == []


@pytest.mark.parametrize("name", CASES)
def test_what_a_preview_cannot_know_breaks_no_rule(name: str) -> None:
    """Each value of a resource that keeps the rule in turn, with all that it holds; and those of what stands beside it."""
    case = CASES[name]
    for hidden in without_values(case.keeps):
        it = resource(case.type, uses={**case.uses, "internal": "another"}, **hidden)
        assert findings(name, it, case.kept_beside, **case.config) == []
    for other in case.kept_beside:
        for hidden in without_values(dict(other.properties)):
            it = resource(case.type, uses=case.uses, **case.keeps)
            beside = [r if r is not other else dataclasses.replace(r, properties=hidden) for r in case.kept_beside]
            if name not in ("load-balancer-internal-or-encrypted", "listener-encrypted"):
                assert findings(name, it, beside, **case.config) == []


def without_values(properties: dict[str, Any], missing: Any = UNKNOWN) -> list[dict[str, Any]]:
    """The properties, once for each value at any depth, with that value missing."""
    found = []
    for key, value in properties.items():
        found.append({**properties, key: missing})
        if isinstance(value, dict):
            found.extend({**properties, key: inner} for inner in without_values(value, missing))
        elif isinstance(value, list):
            for index, element in enumerate(value):
                found.append({**properties, key: [*value[:index], missing, *value[index + 1 :]]})
                if isinstance(element, dict):
                    found.extend(
                        {**properties, key: [*value[:index], inner, *value[index + 1 :]]}
                        for inner in without_values(element, missing)
                    )
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_described_for_people_and_other_programs(rule: Rule | StackRule) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", rule.name)
    assert rule.says.endswith(".")
    assert rule.mend.endswith(".")
    assert all(framework(id_) for id_ in rule.ids)
    assert len(set(rule.ids)) == len(rule.ids)
    assert (rule.level == "disabled") == bool(rule.reason), "off means a reason, and the other way round"
    for option in rule.options.values():
        jsonschema.Draft7Validator.check_schema(dict(option.schema))
        jsonschema.validate(option.default, dict(option.schema))
        assert option.schema["description"]


@pytest.mark.parametrize("name", CASES)
def test_no_rule_ends_in_an_error_over_a_value_that_is_missing_or_unknown(name: str) -> None:
    case = CASES[name]
    for missing in (UNKNOWN, None):
        for properties in (*without_values(case.breaks, missing), *without_values(case.keeps, missing)):
            it = resource(case.type, uses=case.uses, **properties)
            assert all(text for text in findings(name, it, case.broken_beside, **case.config))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just(UNKNOWN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_policy_of_any_shape_is_read_without_an_error(value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    for given_policy in (text, policy({"Action": "s3:Get", "Resource": "*"}), json.dumps({"Statement": text})):
        it = resource(iam.ROLE_POLICY, policy=given_policy)
        for rule in iam.RULES:
            if rule.applies(it):
                assert all(rule.mend in message for message in rule.findings(it, {}))


# What one case for each rule does not show


def test_a_secret_is_not_repeated_in_the_message() -> None:
    token = "ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"
    assert findings("launch-template-no-secrets", resource(TEMPLATE, userData=encoded(f"echo {token}"))) == [
        "line 1 of userData holds a GitHub token"
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "an AWS access key"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "an AWS secret key"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("PASSWORD='correct-horse'", "a password"),
        ("PASSWORD=$(cat /run/secret)", None),
        ('curl -H "Authorization: Bearer $HF_TOKEN"', None),
    ],
)
def test_secrets_are_told_from_references(line: str, what: str | None) -> None:
    found = findings("launch-template-no-secrets", resource(TEMPLATE, userData=encoded(line)))
    assert found == ([f"line 1 of userData holds {what}"] if what else [])


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({**SSH, "cidrIpv4": "10.0.0.0/8"}, None),
        ({"ipProtocol": "tcp", "fromPort": 0.0, "toPort": 65535.0, "cidrIpv6": "::/0"}, "::/0 on every port"),
        ({"ipProtocol": "tcp", "fromPort": 440.0, "toPort": 450.0, "cidrIpv4": "0.0.0.0/0"}, "0.0.0.0/0 on ports 440 to 450"),
        ({"ipProtocol": "-1", "referencedSecurityGroupId": "sg-1"}, None),
        ({**SSH, "fromPort": UNKNOWN}, None),
        ({**SSH, "cidrIpv4": UNKNOWN}, None),
    ],
)  # fmt: skip
def test_what_is_open_to_everybody(rule: dict[str, Any], says: str | None) -> None:
    found = findings("security-group-no-open-ports", resource(security_groups.INGRESS, **rule))
    assert found == ([f"it lets in {says}"] if says else [])


def test_rules_within_a_group_and_of_the_old_kind_are_seen_too() -> None:
    within = {"protocol": "-1", "fromPort": 0.0, "toPort": 0.0, "cidrBlocks": ["10.0.0.0/8", "0.0.0.0/0"]}
    assert findings("security-group-no-open-egress", resource(security_groups.GROUP, egress=[within])) == [
        "egress[0]: it lets out to 0.0.0.0/0 on every port"
    ]
    old = {"type": "ingress", "protocol": "tcp", "fromPort": 80.0, "toPort": 80.0, "cidrBlocks": ["0.0.0.0/0"]}
    it = resource(security_groups.OLD_RULE, **old)
    assert findings("security-group-no-open-ports", it) == ["it lets in 0.0.0.0/0 on port 80"]
    assert findings("security-group-no-open-ports", it, openPorts=[80]) == []
    assert findings("security-group-no-open-egress", it) == []


def test_a_load_balancer_may_face_the_internet_by_certificate_or_never() -> None:
    name, it = "load-balancer-internal-or-encrypted", resource(load_balancing.BALANCER, internal=False)
    beside = [listener(protocol="HTTPS")]
    assert findings(name, it, beside) == []
    assert findings(name, it, beside, internetFacing="never") == ["internal is false, must be true"]
    assert findings(name, it, [listener("another", protocol="HTTPS")]) != []
    unset_in_a_preview = resource(load_balancing.BALANCER, internal=UNKNOWN)
    assert findings(name, unset_in_a_preview) == ["it faces the internet and has no HTTPS listener"]


def test_http_inside_is_allowed_until_the_option_says_otherwise() -> None:
    inside = resource(load_balancing.BALANCER, "inside", internal=True)
    it = resource(
        load_balancing.LISTENER,
        uses={"loadBalancerArn": "inside"},
        protocol="HTTP",
        defaultActions=[{"type": "forward"}],
    )
    assert findings("listener-encrypted", it, [inside]) == []
    assert len(findings("listener-encrypted", it, [inside], internal=True)) == 1


def test_production_is_what_the_option_names() -> None:
    it = resource(load_balancing.BALANCER)
    assert len(findings("load-balancer-protected", it)) == 1
    assert findings("load-balancer-protected", it, stacks=["live-*"]) == []
    assert findings("load-balancer-protected", dataclasses.replace(it, protect=True)) == []


def test_a_size_that_pulumi_ignores_is_left_to_scaling() -> None:
    it = resource(autoscaling.GROUP, minSize=1.0, maxSize=3.0, desiredCapacity=2.0)
    ignored = dataclasses.replace(it, ignore_changes=("desiredCapacity",))
    assert findings("group-size-left-to-scaling", ignored) == []


def test_everything_but_something_is_everything() -> None:
    it = resource(iam.ROLE_POLICY, policy=policy({"NotAction": "iam:*", "NotResource": "arn:aws:s3:::b"}))
    assert findings("iam-no-whole-services", it) == ["it allows everything"]
    assert findings("iam-resources-named", it) == ["it allows * on every resource"]
    assert len(findings("iam-no-privilege-escalation", it)) == 1


def test_a_refusal_grants_nothing() -> None:
    it = resource(iam.ROLE_POLICY, policy=policy({"Effect": "Deny", "Action": "*", "Resource": "*"}))
    assert [rule.name for rule in iam.RULES if rule.applies(it) and rule.findings(it, {})] == []


# The shipped stacks


def seen(recorded: RecordedResource) -> Resource:
    """As the pack sees it on the engine."""
    return Resource(
        type=recorded.type,
        name=recorded.name,
        urn=recorded.urn,
        properties=recorded.inputs,
        uses=recorded.property_dependencies,
        ignore_changes=recorded.ignore_changes,
        protect=recorded.protect,
    )


def resources(stack: str, config: Mapping[str, Any]) -> list[Resource]:
    return [seen(r) for r in run_program(stack, config).resources if r.custom]


@pytest.mark.parametrize("name", stack_names())
def test_shipped_stacks_keep_every_rule_that_is_on(name: str) -> None:
    stack = Stack(resources(name, stack_config(name)))
    found = [
        message
        for rule in ON
        for it in filter(rule.applies, stack.resources)
        for message in (rule.findings(it, {}) if isinstance(rule, Rule) else rule.findings(it, stack, {}))
    ]
    assert found == []


def test_every_type_that_the_program_makes_has_rules_or_a_reason() -> None:
    types = {it.type for name in stack_names() for it in resources(name, stack_config(name))}
    types |= {it.type for it in resources("prod-us-east-1", EVERYTHING)}
    ruled = {type_ for rule in RULES for type_ in rule.types}
    assert types - ruled - set(WITHOUT_RULES) == set()
    assert not ruled & set(WITHOUT_RULES)


EVERYTHING = {
    **stack_config("prod-us-east-1"),
    "gpufleet:scaling": {
        "min": 1,
        "max": 4,
        "requestsInFlight": 12,
        "waitingRequests": 2,
        "latency": {"target": "5s"},
        "schedules": [{"name": "day", "cron": "0 8 * * *", "timeZone": "UTC", "min": 2}],
    },
    "gpufleet:alarms": {"emails": ["oncall@example.com"]},
    "gpufleet:network": {
        "endpoints": ["ecr", "logs", "ssm"],
        "internal": False,
        "certificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012",
        "allowedCidrs": ["203.0.113.0/24"],
    },
}
"""A stack with all that one may ask for."""
