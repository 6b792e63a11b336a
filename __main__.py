"""The program: the stack's configuration and the account's facts become a plan, and the plan becomes a fleet.

Owns the order and the outputs. Decides nothing: a plan can be had without it (`gpufleet plan`).
"""

from __future__ import annotations

import pulumi

from components.account import read_account_facts
from components.inference_service import InferenceService, InferenceServiceArgs
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements
from stacks.config import read_from_pulumi


def make_plan() -> DeploymentPlan:
    """The plan of this stack; a `RunError` with one clear message where there is none to go up with."""
    try:
        requirements = parse_requirements(read_from_pulumi())
        plan = plan_deployment(requirements, load_catalog(), read_account_facts(requirements))
    except PlanningError as error:
        raise pulumi.RunError(error.describe()) from None
    if plan.refusals:
        raise pulumi.RunError("\n".join(plan.refusals))
    for warning in plan.warnings:
        pulumi.log.warn(warning)
    return plan


plan = make_plan()
service = InferenceService("gpufleet", InferenceServiceArgs(plan=plan, stack=pulumi.get_stack()))

pulumi.export("endpointUrl", service.endpoint_url)
pulumi.export("connectCommand", service.connect_command)
pulumi.export("autoScalingGroupName", service.group_name)
pulumi.export("instanceType", plan.instance.type)
pulumi.export("fallbackTypes", list(plan.fallbacks))
pulumi.export("replicasPerInstance", plan.replicas_per_instance)
pulumi.export("limits", {"vcpu": plan.limits.vcpu, "memoryMiB": plan.limits.memory_mib})
pulumi.export("costPerHour", plan.cost.hourly.model_dump() | {"currency": plan.cost.currency})
pulumi.export("instanceRoleArn", service.role_arn)
pulumi.export("logGroupName", service.log_group_name)
pulumi.export("dashboardName", service.dashboard_name)
