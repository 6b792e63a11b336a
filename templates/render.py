"""From a plan to the text that runs on an instance.

Owns the templates beside it and the quoting of each language that they are written in: nothing in a stack file can be
more than a literal value in the script, the units, the JSON, the YAML or the proxy's configuration. Decides nothing:
every number comes from the plan. Leaves it to `components` to hand the user data to EC2.
"""

from __future__ import annotations

import base64
import bz2
import io
import json
import shlex
import tarfile
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.lifecycle import LAUNCHING_HOOK, TERMINATING_HOOK
from gpufleet.planner.naming import GROUP_DIMENSION
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.server import HF_TOKEN_NAMES
from gpufleet.planner.server_metrics import RUNNING_REQUESTS, WAITING_REQUESTS, server_metrics

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InstanceFile:
    """A file of an instance: where it goes, with which mode, and what it is rendered from. There is one object for each.

    `context` is what the template takes beside the plan; `is_needed` says for which plans the file is there.
    """

    path: str
    mode: int
    template: str
    context: Mapping[str, str] = field(default_factory=dict)
    is_needed: Callable[[DeploymentPlan], bool] = lambda plan: True

    @property
    def name(self) -> str:
        """The file's own name, under which it is shown."""
        return self.path.rpartition("/")[2]


def _source(template: str) -> str:
    """A template as it is."""
    return (Path(__file__).parent / template).read_text(encoding="utf-8")


def _source_without_comments(template: str) -> str:
    """A template without the lines that only explain, of which user data has no room. Of the template, not of what is
    rendered: there, a line that begins with # may be a part of somebody's argument."""
    lines = _source(template).splitlines(keepends=True)
    return "".join(line for line in lines if not line.lstrip().startswith("#") or line.startswith("#!"))


_LIBRARY, _CONFIGURATION, _UNITS = "usr/local/lib/gpufleet", "etc/gpufleet", "etc/systemd/system"


def _has_proxy(plan: DeploymentPlan) -> bool:
    return plan.proxy is not None


def _has_downloads(plan: DeploymentPlan) -> bool:
    return bool(plan.model.downloads)


def _has_metrics(plan: DeploymentPlan) -> bool:
    return bool(server_metrics(plan.server.engine))


def _script(name: str, is_needed: Callable[[DeploymentPlan], bool] = lambda plan: True) -> InstanceFile:
    return InstanceFile(path=f"{_LIBRARY}/{name}.sh", mode=0o755, template=f"{name}.sh.j2", is_needed=is_needed)


def _unit(name: str, is_needed: Callable[[DeploymentPlan], bool] = lambda plan: True) -> InstanceFile:
    return InstanceFile(path=f"{_UNITS}/gpufleet-{name}", mode=0o644, template=f"{name}.j2", is_needed=is_needed)


INSTANCE_FILES = (
    _script("boot"),
    _script("common"),
    _script("weights", _has_downloads),
    InstanceFile(path=f"{_LIBRARY}/wanted.py", mode=0o644, template="wanted.py", is_needed=_has_downloads),
    _script("replica"),
    _script("proxy", _has_proxy),
    _script("stop", _has_proxy),
    _script("watch"),
    _script("metrics", _has_metrics),
    InstanceFile(path=f"{_CONFIGURATION}/cloudwatch-agent.json", mode=0o644, template="cloudwatch-agent.json.j2"),
    InstanceFile(path=f"{_CONFIGURATION}/haproxy.cfg", mode=0o644, template="haproxy.cfg.j2", is_needed=_has_proxy),
    _unit("boot.service"),
    InstanceFile(
        path=f"{_UNITS}/gpufleet-replica@.service",
        mode=0o644,
        template="container.service.j2",
        context={"container": "replica-%i", "command": "replica.sh %i"},
    ),
    InstanceFile(
        path=f"{_UNITS}/gpufleet-proxy.service",
        mode=0o644,
        template="container.service.j2",
        context={"container": "proxy", "command": "proxy.sh"},
        is_needed=_has_proxy,
    ),
    _unit("watch.service"),
    _unit("metrics.service", _has_metrics),
    _unit("metrics.timer", _has_metrics),
    _unit("journal.service"),
    InstanceFile(path="etc/logrotate.d/gpufleet", mode=0o644, template="logrotate.j2"),
)
"""Everything that a plan puts on an instance."""


def instance_files(
    plan: DeploymentPlan, *, stack: str, log_group: str, source: Callable[[str], str] = _source
) -> dict[InstanceFile, str]:
    """The files of an instance, with their text; `source` gives a template's."""
    return {
        file: _render(file.template, plan, source=source, stack=stack, log_group=log_group, **file.context)
        for file in INSTANCE_FILES
        if file.is_needed(plan)
    }


def render_user_data(plan: DeploymentPlan, *, stack: str, log_group: str) -> str:
    """The script that EC2 gets: it unpacks the instance's files and starts the boot.

    Raises:
        RequirementError: the script would not fit in EC2's 16,384 bytes.
    """
    files = instance_files(plan, stack=stack, log_group=log_group, source=_source_without_comments)
    script = _render("user_data.sh.j2", plan, archive=_archive(files))
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


def _archive(files: Mapping[InstanceFile, str]) -> str:
    """The files as a tar in bzip2 in base 85, in lines.

    Not gzip: its bytes differ between the zlibs of two machines, and with them the launch template, whose new version
    would replace every instance. There is one bzip2.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file, text in files.items():
            entry, data = tarfile.TarInfo(file.path), text.encode()
            entry.size, entry.mode = len(data), file.mode
            archive.addfile(entry, io.BytesIO(data))
    return "\n".join(textwrap.wrap(base64.b85encode(bz2.compress(content.getvalue())).decode(), 4096))


def render_agent_config(plan: DeploymentPlan, *, log_group: str) -> str:
    """The CloudWatch agent's configuration (JSON): GPU and host metrics by group, and the logs."""
    return _render("cloudwatch-agent.json.j2", plan, log_group=log_group)


def render_compose(plan: DeploymentPlan) -> str:
    """A compose file for a machine of the chosen type, with the limits and the arguments of the fleet."""
    return _render("compose.yaml.j2", plan)


def render_proxy_config(plan: DeploymentPlan) -> str:
    """HAProxy's configuration in front of several replicas; ValueError where the plan has no proxy."""
    if plan.proxy is None:
        raise ValueError("this plan has one replica per instance and no proxy")
    return _render("haproxy.cfg.j2", plan)


def render_all(plan: DeploymentPlan, *, stack: str, log_group: str) -> dict[str, str]:
    """Every rendered file by its name: those of an instance, and what is for other machines and programs."""
    files = {file.name: text for file, text in instance_files(plan, stack=stack, log_group=log_group).items()}
    return files | {"compose.yaml": render_compose(plan), "plan.json": plan.to_json(indent=2) + "\n"}


def _render(template: str, plan: DeploymentPlan, source: Callable[[str], str] = _source, **context: Any) -> str:
    return (
        _environment(source)
        .get_template(template)
        .render(
            plan=plan,
            replicas=_replicas(plan),
            chosen=next(t for t in plan.types if t.type == plan.instance.type),
            origin=plan.model.source.partition(":")[0],
            hub=_who_downloads(plan),
            has_models=bool(plan.model.downloads) or plan.model.source.startswith("hf:"),
            token_names=HF_TOKEN_NAMES,
            metrics=server_metrics(plan.server.engine),
            in_flight_series=RUNNING_REQUESTS.series + WAITING_REQUESTS.series,
            group_dimension=GROUP_DIMENSION,
            launching_hook=LAUNCHING_HOOK,
            terminating_hook=TERMINATING_HOOK,
            timeout_seconds=plan.timing.lifecycle_timeout_seconds,
            gpus_needed=plan.gpus_per_replica * plan.replicas_per_instance,
            **context,
        )
    )


def _who_downloads(plan: DeploymentPlan) -> str:
    """Who fetches from Hugging Face: "instance" before the server starts, "server" by itself, or nobody."""
    if any(address.startswith("hf:") for address in plan.model.downloads):
        return "instance"
    return "server" if plan.model.source.startswith("hf:") else ""


def _replicas(plan: DeploymentPlan) -> tuple[Replica, ...]:
    degree = plan.gpus_per_replica
    return tuple(
        Replica(index=index, port=port, gpus=tuple(range(index * degree, (index + 1) * degree)))
        for index, port in enumerate(plan.server.replica_ports)
    )


@lru_cache(maxsize=2)
def _environment(source: Callable[[str], str]) -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(source),
        undefined=StrictUndefined,
        autoescape=False,  # none of the languages is HTML: each value goes through its own language's filter
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(_FILTERS)
    return environment


def _shell_words(words: tuple[str, ...]) -> str:
    return shlex.join(words)


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
    "json": json.dumps,
    "yaml": _yaml_text,
    "compose": _compose_text,
    "haproxy": shlex.quote,  # HAProxy's strong quotes are the shell's
    "vcpu": _vcpu,
}
