"""What can be known of a stack before `up`, without an account: what is wrong, what is risky, and what was found right.

Owns the order of the questions, and the warnings that hang on a stack's name. Leaves each answer to whoever decides it:
`stacks.config`, the parser, the planner, the templates, the program itself, and `check_limits`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pulumi

from components.tags import STACK_TAG
from gpufleet.commands.check_limits import limit_problems
from gpufleet.commands.check_quotas import compare_quotas
from gpufleet.commands.check_report import Report
from gpufleet.commands.inputs import stack_source
from gpufleet.offline import run_program
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError, Problem
from gpufleet.planner.naming import log_group_name
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import Requirements, parse_requirements
from stacks import config as stacks
from templates.render import USER_DATA_MAX_BYTES, render_user_data

OWN_TAGS = ("Name", STACK_TAG)
"""The program sets them on every resource."""


def check_stack(stack: str) -> Report:
    """Everything about one stack. A question that needs an answer which is missing is not asked."""
    report = Report(stack_source(stack))
    config = report.ask(lambda: stacks.config_of(stacks.load_yaml(stacks.stack_file(stack))))
    if config is None:
        return report
    report.errors += stacks.config_problems(config, stack)
    requirements = _requirements(stack, config, report)
    if requirements is None:
        return report
    report.passed.append(f"{_count(stacks.bare_document(config))} keys: all known, none contradicts another")
    report.warnings += _of_name(stack, requirements)
    plan = report.ask(lambda: plan_deployment(requirements, load_catalog()))
    if plan is not None:
        _add_plan(plan, report)
        _add_program(stack, config, plan, report)
        compare_quotas(plan, config, report)
    return report


def _requirements(stack: str, config: Mapping[str, Any], report: Report) -> Requirements | None:
    """The parsed document, with every problem in it that the configuration's own problems do not tell already."""
    told = {problem.path for problem in report.errors}
    if "config" in told:
        return None
    document = stacks.named_document(config, stack)
    whole = report.ask(lambda: stacks.with_files(document, stacks.STACKS_DIRECTORY))
    model = document.get("model")
    if whole is None and isinstance(model, Mapping):
        document = {**document, "model": {k: v for k, v in model.items() if k != "architecture"}}
    try:
        requirements = parse_requirements(whole or document)
    except PlanningError as error:
        problems = error.renamed({"region": "aws:region"}).problems
        report.errors += [problem for problem in problems if problem.path not in told]
        return None
    return requirements if whole is not None else None


def _count(value: Any) -> int:
    """Keys that have a value, however deep."""
    return sum(map(_count, value.values())) if isinstance(value, Mapping) else 1


def _of_name(stack: str, requirements: Requirements) -> Iterator[Problem]:
    """What a stack's name, or a tag's, leads people to expect."""
    environment = stacks.environment_of(stack)
    if environment is None:
        yield Problem(
            path="",
            message="the file's name does not say the region; a stack is <env>-<region>",
            given=stack,
            next_step=f"name it Pulumi.{stack}-{requirements.region}.yaml, and run `pulumi stack rename` where the stack exists",
        )
    for name in OWN_TAGS:
        if name in requirements.tags:
            yield Problem(
                path=f"tags.{name}",
                message="the program sets this tag itself; the stack's value is not used",
                given=requirements.tags[name],
                next_step=f"remove {name} from tags, or give it another key",
            )


def _add_plan(plan: DeploymentPlan, report: Report) -> None:
    for notice in plan.notices:
        kept = report.errors if notice.is_refusal else report.warnings
        kept.append(Problem(notice.path, notice.message, next_step=notice.next_step))
    for assumption in plan.model.assumptions:
        message, _, next_step = assumption.partition("; ")
        report.warnings.append(
            Problem("model.architecture", message, next_step=next_step or "give the model's own config.json to be sure")
        )
    memory, zones = plan.memory.per_gpu, len(plan.availability_zone_ids)
    report.passed.append(
        f"{plan.instance.type} holds the model: {memory.total_gib:.2f} GiB per GPU of {memory.budget_gib:.2f}, "
        f"{memory.headroom_gib:.2f} to spare; {len(plan.fallbacks)} fallbacks, {zones} {'zone' if zones == 1 else 'zones'}"
    )
    report.notes += [f"quota to have in {plan.region}: {need.quota}: {need.arithmetic}" for need in plan.quotas]


def _add_program(stack: str, config: Mapping[str, Any], plan: DeploymentPlan, report: Report) -> None:
    """Run the program itself, unless it is known to refuse."""
    user_data = report.ask(lambda: render_user_data(plan, stack=stack, log_group=log_group_name(stack)))
    if user_data is not None:
        report.passed.append(f"user data: {len(user_data.encode()):,} of {USER_DATA_MAX_BYTES:,} bytes")
    if report.errors:
        return
    try:
        run = run_program(stack, config)
    except pulumi.RunError as error:
        report.errors.append(Problem("", str(error)))
        return
    made = sum(resource.custom for resource in run.resources)
    report.passed.append(f"the program runs offline: {made} resources")
    beyond = limit_problems(run)
    report.errors += beyond
    if not beyond:
        report.passed.append("names and tags are within AWS's limits")
