"""The program: the stack's configuration and the account's facts become a plan, and the plan becomes a fleet.

Owns the order and the outputs. Decides nothing: the same plan can be had without it (`gpufleet plan`).
"""

from __future__ import annotations

import pulumi

from components.account import read_account_facts, read_quotas
from components.inference_service import InferenceService, InferenceServiceArgs
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.quota import short_quotas, unknown_quotas
from gpufleet.planner.requirements import parse_requirements
from stacks.config import read_from_pulumi

STACK_FILE = f"stacks/Pulumi.{pulumi.get_stack()}.yaml"


def make_plan() -> DeploymentPlan:
    """The plan of this stack; what `up` must not do is refused here, before anything is provisioned."""
    requirements = parse_requirements(read_from_pulumi())
    plan = plan_deployment(requirements, load_catalog(), read_account_facts(requirements))
    if plan.refusals:
        raise pulumi.RunError("\n".join([f"{STACK_FILE}:", *plan.refusals]))
    for warning in plan.warnings:
        pulumi.log.warn(warning)
    compare_quotas(plan)
    return plan


def compare_quotas(plan: DeploymentPlan) -> None:
    """Say where the account allows less than the fleet can take; whatever the answer, the update goes on."""
    quotas = read_quotas(plan.quotas)
    for notice in short_quotas(plan.region, quotas):
        pulumi.log.warn(notice.text)
    if unknown := unknown_quotas(quotas):
        pulumi.log.info(unknown)


try:
    plan = make_plan()
    service = InferenceService("gpufleet", InferenceServiceArgs(plan=plan, stack=pulumi.get_stack()))
except PlanningError as error:
    raise pulumi.RunError(error.in_source(STACK_FILE).describe()) from None

pulumi.export("endpointUrl", service.endpoint_url)
pulumi.export("connectCommand", service.connect_command)
pulumi.export("autoScalingGroupName", service.group_name)
pulumi.export("instanceType", plan.instance.type)
pulumi.export("fallbackTypes", list(plan.fallbacks))
pulumi.export("replicasPerInstance", plan.replicas_per_instance)
pulumi.export("limits", plan.limits.model_dump(by_alias=True))
pulumi.export("costPerHour", {"currency": plan.cost.currency, **plan.cost.hourly.model_dump(by_alias=True)})
pulumi.export("instanceRoleArn", service.role_arn)
pulumi.export("logGroupName", service.log_group_name)
pulumi.export("dashboardName", service.dashboard_name)
