"""The only module that reads stack configuration: from Pulumi inside a program, from the file outside of one.

Owns the namespace, the file names and the files named inside a stack file. Both ways end in the same mapping, a
requirements document. Leaves its meaning to `gpufleet.planner.requirements`.
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpufleet.planner.errors import Problem, RequirementError, list_names, nearest

NAMESPACE = "gpufleet"
SECTIONS = ("model", "serving", "instance", "scaling", "network", "timing", "alarms", "protect", "tags")
STACKS_DIRECTORY = Path(__file__).parent

PRODUCTION = frozenset({"prod", "production", "prd", "live"})
"""First words of the environments in which nothing should move by itself."""

LARGEST_FILE = 8 * 1024**2
"""Bytes of a stack file; of a config.json, several times the largest."""

_STACK_NAME = re.compile(r"(?P<environment>.+)-(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)")
_EXAMPLE = "stacks/Pulumi.dev-us-east-1.yaml"


def stack_file(stack: str, directory: Path = STACKS_DIRECTORY) -> Path:
    """The file of a stack; a RequirementError naming the stacks that exist where there is none."""
    path = directory / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        known = stack_names(directory)
        near = nearest(stack, known, 1)
        raise RequirementError(
            Problem(
                path="",
                message=f"there is no stack file {path.name}",
                given=stack,
                allowed=list_names(known),
                next_step=f"did you mean {near[0]}?" if near else "run `gpufleet init` to write one",
            )
        )
    return path


def stack_names(directory: Path = STACKS_DIRECTORY) -> list[str]:
    """Every stack that has a file, sorted."""
    return sorted(p.name.removeprefix("Pulumi.").removesuffix(".yaml") for p in directory.glob("Pulumi.*.yaml"))


def read_stack_file(path: Path) -> dict[str, Any]:
    """The requirements document in a stack file; RequirementErrors carry the file's name."""
    stack = path.name.removeprefix("Pulumi.").removesuffix(".yaml")
    try:
        return to_document(config_of(load_yaml(path)), stack=stack, directory=path.parent)
    except RequirementError as error:
        raise error.in_source(display_path(path)) from None


def read_stack_text(text: str, *, stack: str, directory: Path) -> dict[str, Any]:
    """The requirements document in a stack file's text, were it in this directory."""
    return to_document(config_of(_parsed(text)), stack=stack, directory=directory)


def config_of(document: Any) -> dict[str, Any]:
    """The configuration in a stack file's content, raw; empty where there is none."""
    config = document.get("config") if isinstance(document, Mapping) else None
    if config is not None and not isinstance(config, Mapping):
        raise RequirementError(Problem(path="config", message="not a mapping of keys", given=config))
    return {str(key): value for key, value in (config or {}).items()}


def read_from_pulumi(directory: Path = STACKS_DIRECTORY) -> dict[str, Any]:
    """The requirements document of the running program's stack."""
    import pulumi
    from pulumi.runtime.config import get_config_env, get_config_secret_keys_env

    secret = {_clean_key(key) for key in get_config_secret_keys_env()}
    config: dict[str, Any] = {}
    for raw_key, value in get_config_env().items():
        key = _clean_key(raw_key)
        config[key] = {"secure": "(hidden)"} if key in secret else decoded(value)
    stack = pulumi.get_stack()
    try:
        return to_document(config, stack=stack, directory=directory)
    except RequirementError as error:
        raise error.in_source(f"stacks/Pulumi.{stack}.yaml") from None


def read_requirements_file(path: Path, *, directory: Path | None = None) -> dict[str, Any]:
    """A requirements document from a YAML or JSON file; files that it names are relative to it, or to `directory`."""
    document = load_yaml(path)
    if not isinstance(document, Mapping):
        raise RequirementError(
            Problem(path="", message="not a requirements document", allowed="a mapping of sections"),
            source=display_path(path),
        )
    if "config" in document and "model" not in document:
        return read_stack_file(path)
    try:
        return with_files(dict(document), directory or path.parent)
    except RequirementError as error:
        raise error.in_source(display_path(path)) from None


def to_document(config: Mapping[str, Any], *, stack: str, directory: Path) -> dict[str, Any]:
    """A stack's configuration as a requirements document; a RequirementError where `config_problems` finds something."""
    problems = config_problems(config, stack)
    if problems:
        raise RequirementError(problems)
    return with_files(named_document(config, stack), directory)


def named_document(config: Mapping[str, Any], stack: str) -> dict[str, Any]:
    """`bare_document` with what the stack's name decides: in production nothing should move by itself."""
    environment = re.split(r"[-_.]", (environment_of(stack) or stack).lower())[0]
    document = bare_document(config)
    return _of_production(document) if environment in PRODUCTION else document


def _of_production(document: dict[str, Any]) -> dict[str, Any]:
    """What production has unless its file says otherwise. In somebody's own VPC only the load balancer is the stack's."""
    network = document.get("network") or {}
    if isinstance(network, Mapping):
        unasked = ("accessLogs",) if "vpcId" in network else ("accessLogs", "flowLogs", "natPerZone")
        network = {**dict.fromkeys(unasked, True), **network}
    return {"protect": True, **document, "network": network}


def bare_document(config: Mapping[str, Any]) -> dict[str, Any]:
    """The region and what can be read of the known sections; the files that they name are still unread."""
    sections = {name: config[f"{NAMESPACE}:{name}"] for name in SECTIONS if f"{NAMESPACE}:{name}" in config}
    return {"region": config.get("aws:region"), **_without_secure(sections)}


def config_problems(config: Mapping[str, Any], stack: str) -> list[Problem]:
    """What is wrong with a stack's configuration before its sections are looked into."""
    problems = [*_unreadable(config), *_unknown_keys(config)]
    if not any(str(key).startswith(f"{NAMESPACE}:") for key in config):
        problems.append(
            Problem(
                path="config",
                message="the stack has no gpufleet configuration",
                allowed=list_names(f"{NAMESPACE}:{s}" for s in SECTIONS),
                next_step=f"run `gpufleet init`, or write a stack file like {_EXAMPLE}",
            )
        )
    return problems + _region_problems(config.get("aws:region"), stack)


def environment_of(stack: str) -> str | None:
    """The environment in a stack's name, `<env>-<region>`; None where the name has no region."""
    named = _STACK_NAME.fullmatch(stack)
    return named["environment"] if named else None


def with_files(document: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The document with every file of a model that it names read into it: a config.json, or the headers of weights."""
    model = document.get("model")
    if not isinstance(model, Mapping):
        return document

    def read(named: str, where: str) -> dict[str, Any]:
        takes_weights = where.endswith(".architecture")
        return (_described if takes_weights else _config_json)(directory / named, named, where)

    return {**document, "model": map_files(model, read)}


def map_files(model: Mapping[str, Any], read: Callable[[str, str], Any]) -> dict[str, Any]:
    """The section with `read(name, path of its key)` in place of every file that it names: the architecture, a draft's,
    and the config of each component of a diffusion pipeline."""
    changed = dict(model)
    if isinstance(model.get("architecture"), str):
        changed["architecture"] = read(model["architecture"], "model.architecture")
    draft = model.get("draft")
    if isinstance(draft, Mapping) and isinstance(draft.get("architecture"), str):
        changed["draft"] = {**draft, "architecture": read(draft["architecture"], "model.draft.architecture")}
    if isinstance(model.get("pipeline"), Mapping):
        changed["pipeline"] = _map_components(model["pipeline"], read, "model.pipeline")
    return changed


def _map_components(pipeline: Mapping[str, Any], read: Callable[[str, str], Any], where: str) -> dict[str, Any]:
    """A pipeline and those alongside, with the configs of their components."""
    changed = dict(pipeline)
    components, alongside = pipeline.get("components"), pipeline.get("alongside")
    if isinstance(components, Mapping):
        changed["components"] = {
            name: {**part, "config": read(part["config"], f"{where}.components.{name}.config")}
            if isinstance(part, Mapping) and isinstance(part.get("config"), str)
            else part
            for name, part in components.items()
        }
    if isinstance(alongside, list):
        changed["alongside"] = [
            _map_components(further, read, f"{where}.alongside.{place}") if isinstance(further, Mapping) else further
            for place, further in enumerate(alongside)
        ]
    return changed


def _described(path: Path, named: str, where: str) -> dict[str, Any]:
    """What the files of a model say of it. Of weights only the headers are read."""
    if (
        path.suffix not in (".gguf", ".safetensors")
        and not path.name.endswith(".index.json")
        and not os.path.isdir(path)
    ):
        return _config_json(path, named, where)
    from stacks.headers import HeaderError, read_weights

    try:
        return read_weights(path)
    except OSError as error:
        raise _bad_file(where, named, f"the file cannot be read: {error.strerror or error}") from None
    except HeaderError as error:
        raise _bad_file(where, named, str(error), "download the model's files again") from None


def _config_json(path: Path, named: str, where: str) -> dict[str, Any]:
    """The config.json of this name; a RequirementError at `where` for what cannot be read."""
    try:
        text = read_text(path, LARGEST_FILE)
    except ValueError as error:
        raise _bad_file(where, named, f"the file cannot be read: {error}") from None
    from stacks.yaml_text import check_json

    try:
        content = json.loads(text)
        check_json(content)
    except (ValueError, RecursionError) as error:
        raise _bad_file(where, named, f"the file is not JSON: {error}", _DOWNLOAD) from None
    if not isinstance(content, Mapping):
        raise _bad_file(where, named, "the file holds no mapping", _DOWNLOAD)
    return dict(content)


_DOWNLOAD = "download it again from the model's page"


def _bad_file(where: str, named: str, message: str, next_step: str = "") -> RequirementError:
    weights = ", a GGUF or safetensors file, or a directory of these" if where.endswith(".architecture") else ""
    return RequirementError(
        Problem(
            path=where,
            message=message,
            given=named,
            allowed=f"fields of a Hugging Face config.json; or the path, relative to this file, of a config.json{weights}",
            next_step=next_step or f"correct the path, or leave {where} out for a model that is known",
        )
    )


def load_yaml(path: Path) -> Any:
    """The content of a YAML or JSON file; RequirementErrors for what cannot be read."""
    source = display_path(path)
    try:
        text = read_text(path, LARGEST_FILE)
    except ValueError as error:
        raise RequirementError(Problem(path="", message=f"the file cannot be read: {error}"), source=source) from None
    try:
        return _parsed(text, is_json=path.suffix == ".json")
    except RequirementError as error:
        raise error.in_source(source) from None


def read_text(path: Path, most_bytes: int) -> str:
    """The text of a file; a ValueError that says why there is none. What has no end, such as a device, is not read to it."""
    try:
        with path.open("rb") as file:
            raw = file.read(most_bytes + 1)
        if len(raw) > most_bytes:
            raise ValueError(f"it is larger than {most_bytes:,} bytes")
        return raw.decode("utf-8")
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise ValueError("it is not text") from None


def parse_yaml(text: str) -> Any:
    """The content of a stack file's text; a RequirementError where it is not YAML."""
    return _parsed(text)


def _parsed(text: str, *, is_json: bool = False) -> Any:
    import yaml

    from stacks.yaml_text import load

    try:
        return parse_json(text) if is_json else load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first_lines = " ".join(str(error).split())[:300]
        raise RequirementError(Problem(path="", message=f"the file cannot be parsed: {first_lines}")) from None


def parse_json(text: str) -> Any:
    """The value of a JSON text, read as strictly as YAML is; a ValueError or RecursionError for what is none."""
    from stacks.yaml_text import check_json

    value = json.loads(text, object_pairs_hook=_with_unique_keys)
    check_json(value)
    return value


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is written twice")
    return found


def _unreadable(config: Mapping[str, Any]) -> list[Problem]:
    """Keys whose values Pulumi has encrypted: a plan could not be reviewed, and a secret does not belong here."""
    return [
        Problem(
            path=key,
            message="holds a secure value",
            allowed="plain values; secrets are named by ARN in gpufleet:serving secrets",
            next_step=f"run `pulumi config rm {key}` and write it without --secret",
        )
        for key, value in sorted(config.items())
        if key.startswith(f"{NAMESPACE}:") and _holds_secure(value)
    ]


def _is_secure(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"secure"}


def _holds_secure(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _is_secure(value) or any(_holds_secure(v) for v in value.values())
    return isinstance(value, list) and any(_holds_secure(v) for v in value)


def _without_secure(section: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_secure(value) if isinstance(value, Mapping) else value
        for key, value in section.items()
        if not _is_secure(value)
    }


def _unknown_keys(config: Mapping[str, Any]) -> list[Problem]:
    problems = []
    for key in sorted(config, key=str):
        namespace, _, name = str(key).partition(":")
        if namespace != NAMESPACE or name in SECTIONS:
            if ":" in str(key):
                continue
            name = str(key)
        near = nearest(name, SECTIONS, 1)
        problems.append(
            Problem(
                path=str(key),
                message="unknown key",
                given=key,
                allowed=list_names(f"{NAMESPACE}:{s}" for s in SECTIONS),
                next_step=f"did you mean {NAMESPACE}:{near[0]}?" if near else "remove it",
            )
        )
    return problems


def _region_problems(region: Any, stack: str) -> list[Problem]:
    named = _STACK_NAME.fullmatch(stack)
    if not region:
        suggestion = named["region"] if named else "us-east-1"
        return [
            Problem(
                path="aws:region",
                message="required, but missing",
                next_step=f"add `aws:region: {suggestion}` under config",
            )
        ]
    if named and named["region"] != region:
        return [
            Problem(
                path="aws:region",
                message=f"differs from the region in the stack's name, {named['region']}",
                given=region,
                allowed=named["region"],
                next_step=f"set aws:region to {named['region']}, or name the file Pulumi.{named['environment']}-{region}.yaml",
            )
        ]
    return []


def _clean_key(key: str) -> str:
    """Pulumi's environment may spell `gpufleet:config:model` for `gpufleet:model`."""
    return key.replace(":config:", ":", 1)


def decoded(value: Any) -> Any:
    """Structured values reach a program as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value[:1] in "{[" else value
    except (ValueError, RecursionError):
        return value


def display_path(path: Path) -> str:
    """A path for people: from the current directory where it lies below that."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
