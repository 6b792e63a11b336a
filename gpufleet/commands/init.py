"""`gpufleet init`: asks for what a stack needs, and writes its file.

Owns the questions, their flags and what is said at the end. Leaves to `init_file` what the answers become. No file is ever
overwritten, and none is written that has no plan.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gpufleet.commands.inputs import complete_regions, fail
from gpufleet.commands.layout import usd
from gpufleet.planner.errors import PlanningError
from stacks.config import STACKS_DIRECTORY, display_path

if TYPE_CHECKING:
    from gpufleet.commands.init_file import Answers, StackFile
    from gpufleet.planner.plan import DeploymentPlan


TOKEN = "serving.secrets.HF_TOKEN"


class Question(NamedTuple):
    """What is asked where no flag answers it."""

    key: str
    words: str
    default: str | None = None
    is_needed: Callable[[Answers], bool] = lambda answers: True
    hint: Callable[[Answers], str] = lambda answers: ""


def _is_unknown(answers: Answers) -> bool:
    from gpufleet.planner.models import known_model

    return "model.id" in answers and known_model(answers["model.id"]) is None and not _is_pipeline(answers)


def _unknown_hint(answers: Answers) -> str:
    from gpufleet.planner.models import nearest_ids

    near = nearest_ids(answers["model.id"])
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"{answers['model.id']} is not a known model{meant}; its parameter count is needed."


def _is_pipeline(answers: Answers) -> bool:
    from gpufleet.planner.diffusion.known import known_pipeline

    return known_pipeline(answers.get("model.id", "")) is not None


def _pipeline_hint(answers: Answers) -> str:
    return (
        f"{answers['model.id']} is a diffusion pipeline: its server is an image of your own, built on diffusers. It must "
        "listen on port 8000 and answer /health, or say serving.port and serving.healthPath in the file."
    )


def _is_gated(answers: Answers) -> bool:
    from gpufleet.planner.models.gated import is_gated

    return is_gated(answers.get("model.id", ""))


def _gated_hint(answers: Answers) -> str:
    region, environment = answers.get("region", "REGION"), answers.get("environment", "ENV")
    name = f"/gpufleet/{environment}-{region}/hf-token"
    return (
        f"{answers['model.id']} is gated on Hugging Face. Store the token of an account that accepted its terms:\n"
        f"  aws ssm put-parameter --region {region} --type SecureString --name {name} --value TOKEN\n"
        f"Its ARN is then arn:aws:ssm:{region}:ACCOUNT:parameter{name}"
    )


PLACE = (
    Question("environment", "Environment, such as dev or prod", "dev"),
    Question("region", "AWS region", "us-east-1"),
)
CONTENT = (
    Question("model.id", "Model id on Hugging Face", "Qwen/Qwen3-8B"),
    Question("model.parameters", "Parameter count, such as 8B", None, _is_unknown, _unknown_hint),
    Question("serving.image", "Container image of the server", None, _is_pipeline, _pipeline_hint),
    Question(TOKEN, "ARN of the Hugging Face token", None, _is_gated, _gated_hint),
    Question("scaling.latency.target", "p90 latency above which instances are added, such as 2s; or none", "none"),
)
FLAGS = {
    "environment": "--environment",
    "region": "--region",
    "model.id": "--model",
    "model.parameters": "--parameters",
    "model.precision": "--precision",
    "serving.image": "--image",
    TOKEN: "--hf-token-arn",
    "serving.maxModelLen": "--max-model-len",
    "scaling.latency.target": "--target",
    "scaling.min": "--min",
    "scaling.max": "--max",
}
"""The flag of each key: a mistake is told by the name under which it was made."""


def _complete_models(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from gpufleet.planner.models import known_ids

    return [known for known in known_ids() if known.casefold().startswith(incomplete.casefold())]


def _complete_precisions(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    from typing import get_args

    from gpufleet.planner.values import Precision

    return [name for name in get_args(Precision) if name.startswith(incomplete)]


@click.command()
@click.option("--environment", metavar="ENV", help="Such as dev or prod: the first part of the stack's name.")
@click.option("--region", metavar="REGION", shell_complete=complete_regions, help="AWS region.")
@click.option("--model", metavar="ID", shell_complete=_complete_models, help="Model id on Hugging Face.")
@click.option(
    "--parameters", metavar="COUNT", help="Parameter count, such as 8B; needed for a model that is not known."
)
@click.option(
    "--precision",
    metavar="FORMAT",
    shell_complete=_complete_precisions,
    help="How the weights lie in GPU memory. Defaults to the checkpoint's own format.",
)
@click.option("--image", metavar="IMAGE", help="Container image of the server; needed for a diffusion pipeline.")
@click.option("--hf-token-arn", metavar="ARN", help="Secret that holds a Hugging Face token; needed for a gated model.")
@click.option(
    "--max-model-len",
    metavar="TOKENS",
    type=int,
    help="Context length. Defaults to 8192, or the model's own where that is shorter.",
)
@click.option("--target", metavar="DURATION", help="p90 latency above which instances are added, such as 2s; or none.")
@click.option("--min", metavar="N", type=int, help="Fewest instances. Defaults to 1.")
@click.option("--max", metavar="N", type=int, help="Most instances. Defaults to 2, or to --min if more.")
@click.option(
    "--to",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Where to write; - prints. Defaults to stacks/Pulumi.<env>-<region>.yaml.",
)
def init(to: str | None, **given: Any) -> None:
    """Ask for what a stack needs and write its file, with every other key in it as a comment.

    What a flag answers is not asked. The file is written once it has a plan; one that exists is left as it is.

    \b
    Examples:
      gpufleet init
      gpufleet init --model Qwen/Qwen3-8B --environment dev --region us-east-1 --target 2s
      gpufleet init --model my/model --parameters 13B --environment prod --region eu-west-1 --target none --max 8
      gpufleet init --to ../trial/Pulumi.trial-us-east-1.yaml
    """
    try:
        file, target = _answered(given, to)
    except PlanningError as error:
        fail(error.renamed(FLAGS).describe())
    _write(file.text, target)
    click.echo(_summary(file.plan, target), err=target is None)


def _answered(given: Mapping[str, Any], to: str | None) -> tuple[StackFile, Path | None]:
    """The file that flags and answers make, and where it goes; None for standard output."""
    from gpufleet.commands.init_file import check_answers, stack_file, stack_name

    names = {flag.removeprefix("--").replace("-", "_"): key for key, flag in FLAGS.items()}
    answers = {names[name]: value for name, value in given.items() if value is not None}
    # Where a secret must lie is known with the region.
    check_answers(answers, answers if "region" in answers else answers.keys() - {TOKEN})
    target = Path(to) if to and to != "-" else None
    if target:
        _require_new(target)
    if not sys.stdin.isatty():
        _require_all(answers)
    _ask(PLACE, answers)
    if not to:
        target = STACKS_DIRECTORY / f"Pulumi.{stack_name(answers)}.yaml"
        _require_new(target)
    check_answers(answers, answers)
    _ask(CONTENT, answers)
    return stack_file(answers, target), target


def _require_all(answers: Answers) -> None:
    """Without a terminal there is nobody to ask."""
    missing = [q for q in (*PLACE, *CONTENT) if q.key not in answers and q.is_needed(answers)]
    if missing:
        lines = [f"  {FLAGS[question.key]:15} {question.words}" for question in missing]
        hints = [hint for question in missing if (hint := question.hint(answers))]
        raise click.UsageError("\n".join(["there is no terminal to ask on; give also", *lines, *hints]))


def _require_new(target: Path) -> None:
    """Nothing that exists is overwritten, and this is said before more is asked."""
    shown = display_path(target)
    if target.suffix != ".yaml":
        fail(f"{shown}: a stack file's name ends with .yaml, as in Pulumi.dev-us-east-1.yaml")
    if target.exists() or target.is_symlink():
        fail(f"{shown} exists already and is left as it is; edit it, or name another file with --to")
    if not target.parent.is_dir():
        fail(f"{shown}: there is no directory {display_path(target.parent)}; make it, or name another file with --to")


def _ask(questions: Iterable[Question], answers: Answers) -> None:
    """Ask what is still open. A wrong answer is told, and asked again."""
    for question in questions:
        if question.key in answers or not question.is_needed(answers):
            continue
        if hint := question.hint(answers):
            click.echo(hint, err=True)
        check = functools.partial(_checked, question.key, answers)
        answers[question.key] = click.prompt(question.words, default=question.default, err=True, value_proc=check)


def _checked(key: str, answers: Answers, text: str) -> str:
    """An answer; click asks again after a UsageError."""
    from gpufleet.commands.init_file import check_answers

    answer = text.strip()
    try:
        check_answers({**answers, key: answer}, [key])
    except PlanningError as error:
        raise click.UsageError(error.renamed({key: "not taken"}).describe()) from None
    return answer


def _write(text: str, target: Path | None) -> None:
    if target is None:
        click.echo(text, nl=False)
        return
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        fail(f"{display_path(target)}: {error.strerror}; nothing was written")


def _summary(plan: DeploymentPlan, target: Path | None) -> str:
    """What the file leads to, and what to run next."""
    instance, cost, capacity = plan.instance, plan.cost, plan.capacity
    lines = [
        f"Instance:  {instance.type}: {instance.gpu.count} x {instance.gpu.name}, "
        f"{plan.replicas_per_instance} {'replica' if plan.replicas_per_instance == 1 else 'replicas'}; "
        f"{capacity.min} to {capacity.max} of them",
        f"Memory:    {_memory(plan)}",
        f"Cost:      {usd(cost.hourly.min)} to {usd(cost.hourly.max)} USD per hour, instances only",
        *(f"Assumed:   {assumption}" for assumption in plan.model.assumptions),
    ]
    if target is None:
        return "\n".join(lines)
    shown = display_path(target)
    stack = target.name.removeprefix("Pulumi.").removesuffix(".yaml")
    is_stack = target.parent.resolve() == STACKS_DIRECTORY and target.name == f"Pulumi.{stack}.yaml"
    commands = (
        (f"gpufleet plan -s {stack}", f"gpufleet check -s {stack}", f"pulumi stack init {stack}", "pulumi up")
        if is_stack
        else (f"gpufleet plan -f {shown}",)
    )
    return "\n".join([f"Wrote {shown}", "", *lines, "", "Next:", *(f"  {command}" for command in commands)])


def _memory(plan: DeploymentPlan) -> str:
    """What a replica takes of its budget."""
    memory = plan.memory.per_gpu
    if plan.memory.pipeline:
        return f"{memory.total_gib:.2f} GiB per GPU in the largest phase, of {memory.budget_gib:.2f}"
    return (
        f"{memory.total_gib:.2f} GiB per GPU and {memory.kv_cache_gib:.2f} of KV cache, of {memory.budget_gib:.2f}; "
        f"room for {plan.kv_cache_tokens:,} tokens"
    )
