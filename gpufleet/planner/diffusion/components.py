"""What a pipeline loads: every component with its parameters and its format, from the registry or the document.

Owns the resolution and its errors. Leaves the keys to `options`, facts to `known`, bytes to `storage`, and what runs
when to `phases`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from gpufleet.planner.diffusion import counting, known, shapes
from gpufleet.planner.diffusion.known import Family, Network
from gpufleet.planner.diffusion.options import PIPELINE_PATH, Component, ControlNet, Loaded, Lora, Method, Pipeline
from gpufleet.planner.diffusion.storage import DEFAULT_METHODS, FORMATS, PLAIN, Quantized, format_problem, method_for
from gpufleet.planner.errors import Problem, RequirementError, list_names
from gpufleet.planner.models.fields import MOST_PARAMETERS, check_kinds, fail, whole
from gpufleet.planner.requirements import Workload

Role = Literal["encoder", "denoiser", "vae", "control", "adapter", "other"]

DENOISERS = ("transformer", "unet")
NEVER_OFFLOADED = ("safety_checker",)
"""StableDiffusionPipeline._exclude_from_cpu_offload."""


class Part(NamedTuple):
    """One network of a pipeline. `precision` and `method` are what the document asks for this one, None for the rule of
    the whole pipeline; `size_bytes` is its size where that was given."""

    name: str
    role: Role
    parameters: int
    network: Network
    precision: str | None = None
    method: Method | None = None
    size_bytes: int | None = None
    path: str = PIPELINE_PATH


LARGE_ENCODER = 1e9
"""Parameters of a text encoder that is quantised together with the denoiser: T5 XXL is, the CLIPs are not."""


class LoadedPipeline(NamedTuple):
    """A pipeline, before any card is looked at. `precision` and `method` hold for the components that they can hold for."""

    id: str
    class_name: str
    family: Family
    parts: tuple[Part, ...]
    precision: str | None
    method: Method | None
    assumptions: tuple[str, ...]

    def of_role(self, *roles: Role) -> tuple[Part, ...]:
        """The parts with these roles, in order."""
        return tuple(part for part in self.parts if part.role in roles)


def format_of(part: Part, pipeline: LoadedPipeline, compute: str) -> tuple[str, Quantized | None]:
    """How a part lies in memory: its precision, and what quantises it. A pipeline's quantised precision holds for the
    denoiser and large text encoders; the rest, and all of them otherwise, lie in the 16 or 32 bits that are computed in."""
    is_encoder = part.role == "encoder"
    if part.precision is not None:
        if part.precision in PLAIN:
            return part.precision, None
        method = method_for(part.precision, part.method or pipeline.method, is_encoder)
        return part.precision, FORMATS[method, part.precision]
    rule = pipeline.precision
    if rule is None or rule in PLAIN:
        return compute, None
    quantized = FORMATS[pipeline.method or DEFAULT_METHODS[rule], rule]
    takes = part.role == "denoiser" or (
        is_encoder and quantized.takes_text_encoders and part.parameters >= LARGE_ENCODER
    )
    return (rule, quantized) if takes else (compute, None)


def loaded_pipelines(workload: Workload, options: Pipeline) -> tuple[LoadedPipeline, ...]:
    """The model's pipeline, then those alongside; a `RequirementError` with everything that is wrong otherwise."""
    model, problems, found = workload.model, list[Problem](), list[LoadedPipeline]()
    asked: list[tuple[str, str | None, Mapping[str, Any] | None, Loaded, str]] = [
        (model.id, model.precision, model.architecture, options, PIPELINE_PATH)
    ]
    for place, further in enumerate(options.alongside):
        path = f"{PIPELINE_PATH}.alongside.{place}"
        asked.append((further.id, further.precision or model.precision, None, further, path))
    for model_id, precision, config, loaded, path in asked:
        try:
            found.append(_loaded(model_id, precision, config, loaded, path))
        except RequirementError as error:
            problems += error.problems
    if problems:
        raise RequirementError(problems)
    return tuple(found)


def _loaded(
    model_id: str, precision: str | None, config: Mapping[str, Any] | None, options: Loaded, path: str
) -> LoadedPipeline:
    published = _published(model_id, config, options, path)
    names = {**dict.fromkeys(published.components), **dict.fromkeys(options.components)}
    precision_path = "model.precision" if path == PIPELINE_PATH else f"{path}.precision"
    problems = format_problem(precision, options.quantization, precision_path, f"{path}.quantization")
    parts: list[Part] = []
    for name in names:
        asked = options.components.get(name, Component())
        if asked is None:
            continue
        try:
            parts.append(_part(name, asked, published.components.get(name), f"{path}.components.{name}"))
        except RequirementError as error:
            problems += error.problems
    denoisers = [part for part in parts if part.role == "denoiser"]
    if len(denoisers) != 1 and not problems:
        problems.append(_no_denoiser(denoisers, path))
    if problems:
        raise RequirementError(problems)
    family, notes = shapes.family_of(
        published.class_name, denoisers[0].name, denoisers[0].parameters, _configs(options, published)
    )
    extras = list(_control_nets(options.control_nets, denoisers[0], path, problems))
    extras += _loras(options.loras, denoisers[0], path, problems)
    if problems:
        raise RequirementError(problems)
    return LoadedPipeline(
        id=model_id, class_name=published.class_name, family=family, parts=(*parts, *extras),
        precision=precision, method=options.quantization, assumptions=(*published.notes, *notes),
    )  # fmt: skip


# What is published ----------------------------------------------------------------------------------------------------


class _Published(NamedTuple):
    """Components of a known pipeline with their parameter counts; none for one that the document describes whole."""

    class_name: str
    components: Mapping[str, int]
    configs: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...] = ()


def _published(model_id: str, config: Mapping[str, Any] | None, options: Loaded, path: str) -> _Published:
    if config is not None and "components" in config:
        return _read(config, model_id)
    base = options.base or model_id
    found = known.known_pipeline(base)
    if found is not None:
        notes = (f"the components are those of {found.id}, which {path}.base names",) if options.base else ()
        return _read(found.config, found.id, notes)
    if options.base is None and options.components:
        return _Published("", {}, {})
    raise RequirementError(
        Problem(
            path=f"{path}.base" if options.base else f"{path}.components",
            message=f"{base} is no pipeline that is known",
            given=options.base,
            allowed=list_names(known.known_pipelines()),
            next_step=f"name in {path}.base the pipeline that it was tuned from, or give {path}.components: each with "
            "parameters or size",
        )
    )


def _read(config: Mapping[str, Any], known_id: str, notes: tuple[str, ...] = ()) -> _Published:
    check_kinds(config)
    given = config["components"] or {}
    components = {str(name): whole(size, f"components.{name}", most=MOST_PARAMETERS) for name, size in given.items()}
    if not all(components.values()) or not components:
        fail("components", "must name components, each with its parameter count", allowed="counts above 0 by name")
    checker = known.SAFETY_CHECKERS.get(known_id)
    if checker:
        components["safety_checker"] = checker
        notes += (
            "the safety checker is loaded, as model_index.json names it; components: {safety_checker: null} leaves it out",
        )
    configs = {name: config[f"{name}_config"] for name in components if config.get(f"{name}_config") is not None}
    for name, fields in configs.items():
        if not isinstance(fields, Mapping):
            fail(f"{name}_config", "must be a mapping", given=fields, allowed="fields of the component's config.json")
    return _Published(str(config.get("pipeline", "")), components, configs, notes)


def _configs(options: Loaded, published: _Published) -> Mapping[str, Mapping[str, Any]]:
    """Configs of components: the document's, then the registry's."""
    given = {name: c.config for name, c in options.components.items() if c is not None and c.config is not None}
    return {**published.configs, **given}


# Components -----------------------------------------------------------------------------------------------------------


def _part(name: str, asked: Component, published: int | None, path: str) -> Part:
    parameters = (
        asked.parameters or (counting.count_parameters(asked.config, path) if asked.config else None) or published
    )
    if parameters is None and asked.size_bytes is None:
        raise RequirementError(
            Problem(
                path=path,
                message="its size is not known",
                allowed="parameters, size, or config (the component's config.json) of a class that is counted: "
                + list_names(counting.COUNTED),
                next_step=f"give {path}.parameters, such as 860M",
            )
        )
    problems = format_problem(asked.precision, asked.quantization, f"{path}.precision", f"{path}.quantization")
    if problems:
        raise RequirementError(problems)
    count = parameters or 0
    return Part(
        name=name, role=_role(name), parameters=count, network=_network(count), precision=asked.precision,
        method=asked.quantization, size_bytes=asked.size_bytes, path=path,
    )  # fmt: skip


def _role(name: str) -> Role:
    if name in DENOISERS:
        return "denoiser"
    if "encoder" in name:
        return "encoder"
    return "vae" if name in ("vae", "vqvae", "movq") else "control" if "controlnet" in name else "other"


def _network(parameters: int) -> Network:
    """What is known of the network with this count; else one that is all linear layers."""
    found = known.NETWORKS.get(parameters)
    return found or Network(linear=parameters, largest_layer=min(parameters, known.EVER_LARGEST_LAYER))


def _no_denoiser(found: list[Part], path: str) -> Problem:
    return Problem(
        path=f"{path}.components",
        message="a pipeline has one network that denoises",
        given=", ".join(part.name for part in found) or "none",
        allowed=f"exactly one of {' and '.join(DENOISERS)}",
        next_step="give its parameters under that name" if not found else "set the other to null",
    )


def _control_nets(asked: tuple[ControlNet, ...], denoiser: Part, path: str, problems: list[Problem]) -> Iterator[Part]:
    for place, control in enumerate(asked):
        where = f"{path}.controlNets.{place}"
        by_id = known.known_control_net(control.id) if control.id else known.UNET_CONTROL_NETS.get(denoiser.parameters)
        parameters = control.parameters or by_id
        if parameters is None:
            problems.append(
                Problem(
                    path=f"{where}.parameters",
                    message="required: the size of this ControlNet is not known",
                    given=control.id,
                    next_step=f"give {where}.parameters: the bytes of its fp16 file / 2, such as 1.25B",
                )
            )
            continue
        yield Part(
            name=control.id or "controlnet", role="control", parameters=parameters, network=_network(parameters),
            precision=control.precision, path=where,
        )  # fmt: skip


def _loras(asked: tuple[Lora, ...], denoiser: Part, path: str, problems: list[Problem]) -> Iterator[Part]:
    for place, lora in enumerate(asked):
        where = f"{path}.loras.{place}"
        width = denoiser.network.lora_width
        if (lora.rank is None) == (lora.size_bytes is None):
            problems.append(
                Problem(path=where, message="takes exactly one of rank and size", next_step="give the size of its file")
            )
        elif lora.rank is not None and not width:
            problems.append(
                Problem(
                    path=f"{where}.rank",
                    message="the attention layers of this denoiser are not known, so a rank says nothing of a size",
                    given=lora.rank,
                    next_step=f"give {where}.size, the size of its file, instead",
                )
            )
        else:
            parameters = (lora.rank or 0) * width
            yield Part(
                name="lora", role="adapter", parameters=parameters, network=Network(linear=parameters, largest_layer=0),
                size_bytes=lora.size_bytes, path=where,
            )  # fmt: skip
