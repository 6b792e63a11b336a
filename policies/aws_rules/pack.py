"""The rules as a policy pack of Pulumi's.

Owns the way between both: what Pulumi hands over becomes a `Resource`, what a rule finds is reported, and a rule's
severity, level, ids and options become the policy's. Alone here is the policy library imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from aws_rules.rule import UNKNOWN, Resource, Rule, Stack, StackRule, framework, is_list

NAME = "aws-inference-fleet"


def make_pack(rules: Sequence[Rule | StackRule]) -> None:
    """Serve the rules to the engine that started this process."""
    PolicyPack(NAME, policies=[_policy(rule) for rule in rules])


def _policy(rule: Rule | StackRule) -> Policy:
    if isinstance(rule, Rule):
        return ResourceValidationPolicy(validate=_resource_validation(rule), **_description(rule))
    return StackValidationPolicy(validate=_stack_validation(rule), **_description(rule))


def _description(rule: Rule | StackRule) -> dict[str, Any]:
    schema = PolicyConfigSchema({name: dict(option.schema) for name, option in rule.options.items()})
    return {
        "name": rule.name,
        "description": rule.says,
        "enforcement_level": EnforcementLevel(rule.level),
        "config_schema": schema if rule.options else None,
        "severity": Severity(rule.severity),
        "framework": PolicyComplianceFramework(name=framework(rule.ids[0]), reference=rule.ids[0])
        if rule.ids
        else None,
        "tags": list(rule.ids),
        "remediation_steps": rule.mend,
    }


def _resource_validation(rule: Rule) -> Any:
    def validate(args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
        resource = _resource(args)
        if rule.applies(resource):
            for finding in rule.findings(resource, args.get_config()):
                report_violation(finding, None)

    return validate


def _stack_validation(rule: StackRule) -> Any:
    def validate(args: StackValidationArgs, report_violation: ReportViolation) -> None:
        stack = Stack([_resource(resource) for resource in args.resources])
        for resource in filter(rule.applies, stack.resources):
            for finding in rule.findings(resource, stack, args.get_config()):
                report_violation(finding, resource.urn)

    return validate


def _resource(given: Any) -> Resource:
    """Of a `ResourceValidationArgs` or a `PolicyResource`; only the latter knows what its properties depend on."""
    uses: Mapping[str, Sequence[Any]] = getattr(given, "property_dependencies", {})
    return Resource(
        type=given.resource_type,
        name=given.name,
        urn=given.urn,
        properties=plain(given.props),
        uses={name: tuple(resource.urn for resource in found) for name, found in uses.items()},
        ignore_changes=tuple(given.opts.ignore_changes),
        protect=given.opts.protect,
        delete_before_replace=bool(given.opts.delete_before_replace),
    )


def plain(value: Any) -> Any:
    """Properties without the wrapping that raises an error where one is unknown."""
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if is_list(value):
        return [_item(value, index) for index in range(len(value))]
    return value


def _item(container: Any, key: Any) -> Any:
    try:
        return plain(container[key])
    except UnknownValueError:
        return UNKNOWN
