"""From a plan to the text that runs on an instance.

Owns the templates beside it and the quoting of each language that they are written in: nothing in a stack file can be
more than a literal value in the script, the units, the JSON, the YAML or the proxy's configuration. Decides nothing:
every number comes from the plan. Leaves it to `components` to hand the user data to EC2.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.plan import DeploymentPlan

if TYPE_CHECKING:
    from jinja2 import Environment

USER_DATA_MAX_BYTES = 16_384
"""EC2's limit on user data before base64 (RunInstances, UserData)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica of the instance: its number, its port on the instance and its GPUs by index."""

    index: int
    port: int
    gpus: tuple[int, ...]


def render_user_data(plan: DeploymentPlan, *, stack: str, log_group: str) -> str:
    """The script that prepares an instance and starts its containers.

    Raises:
        RequirementError: the script would not fit in EC2's 16,384 bytes.
    """
    script = _render(
        "user_data.sh.j2",
        plan,
        stack=stack,
        agent_config=json.dumps(json.loads(render_agent_config(plan, log_group=log_group)), separators=(",", ":")),
        replica_script=_render("replica.sh.j2", plan),
        proxy_script=_render("proxy.sh.j2", plan) if plan.proxy else "",
        proxy_config=_without_comments(render_proxy_config(plan)) if plan.proxy else "",
    )
    size_bytes = len(script.encode())
    if size_bytes > USER_DATA_MAX_BYTES:
        raise RequirementError(
            Problem(
                path="serving",
                message="the rendered user data is larger than EC2 takes",
                given=f"{size_bytes:,} bytes",
                allowed=f"up to {USER_DATA_MAX_BYTES:,} bytes",
                next_step="shorten serving.args and serving.environment",
            )
        )
    return script


def render_agent_config(plan: DeploymentPlan, *, log_group: str) -> str:
    """The CloudWatch agent's configuration (JSON): GPU and host metrics by group, and the logs."""
    return _render("agent.json.j2", plan, log_group=log_group)


def render_compose(plan: DeploymentPlan) -> str:
    """A compose file for a machine of the chosen type, with the limits and the arguments of the fleet."""
    return _render("compose.yaml.j2", plan)


def render_proxy_config(plan: DeploymentPlan) -> str:
    """HAProxy's configuration in front of several replicas; ValueError where the plan has no proxy."""
    if plan.proxy is None:
        raise ValueError("this plan has one replica per instance and no proxy")
    return _render("haproxy.cfg.j2", plan)


def render_all(plan: DeploymentPlan, *, stack: str, log_group: str) -> dict[str, str]:
    """Every rendered file by its name."""
    files = {
        "user-data.sh": render_user_data(plan, stack=stack, log_group=log_group),
        "cloudwatch-agent.json": render_agent_config(plan, log_group=log_group),
        "compose.yaml": render_compose(plan),
        "plan.json": plan.to_json(indent=2) + "\n",
    }
    if plan.proxy:
        files["haproxy.cfg"] = render_proxy_config(plan)
    return files


def _render(template: str, plan: DeploymentPlan, **context: Any) -> str:
    return (
        _environment()
        .get_template(template)
        .render(
            plan=plan,
            replicas=_replicas(plan),
            chosen=next(t for t in plan.types if t.type == plan.instance.type),
            source=plan.model.source.partition(":")[0],
            gpus_needed=plan.gpus_per_replica * plan.replicas_per_instance,
            **context,
        )
    )


def _replicas(plan: DeploymentPlan) -> tuple[Replica, ...]:
    degree = plan.gpus_per_replica
    return tuple(
        Replica(index=index, port=port, gpus=tuple(range(index * degree, (index + 1) * degree)))
        for index, port in enumerate(plan.server.replica_ports)
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=False,  # none of the languages is HTML: each value goes through its own language's filter
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _without_comments(text: str) -> str:
    """`text` without the lines that only explain: user data has little room."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def _shell_words(words: tuple[str, ...]) -> str:
    return shlex.join(words)


def _here_document(text: str) -> str:
    """`text` as a quoted here-document, its mark one that is no line of the text."""
    lines, mark = text.rstrip("\n").split("\n"), "EOF"
    while mark in lines:
        mark += "_"
    return "\n".join([f"<<'{mark}'", *lines, mark])


def _yaml_text(value: str) -> str:
    """A double-quoted YAML string in ASCII: YAML breaks lines at more characters than JSON escapes."""
    return '"' + "".join(json.dumps(c)[1:-1] if " " <= c <= "~" else f"\\U{ord(c):08x}" for c in value) + '"'


def _compose_text(value: str) -> str:
    """A YAML string that Compose reads without interpolation: it takes `$$` for a dollar sign."""
    return _yaml_text(value.replace("$", "$$"))


def _vcpu(value: float) -> str:
    """vCPUs as Docker takes them: 6.4, not 6.40000001."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


_FILTERS: dict[str, Callable[..., str]] = {
    "sh": shlex.quote,
    "sh_words": _shell_words,
    "here_document": _here_document,
    "json": json.dumps,
    "yaml": _yaml_text,
    "compose": _compose_text,
    "haproxy": shlex.quote,  # HAProxy's strong quotes are the shell's
    "vcpu": _vcpu,
}
