"""What can be said of a model and its server before any card is looked at.

Owns finding the architecture and the checks that need it. Leaves the cards to `sizing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpufleet.planner.architecture import Architecture, resolve_architecture
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.memory import valid_tensor_parallelism
from gpufleet.planner.models import known_model
from gpufleet.planner.requirements import Workload
from gpufleet.planner.sizing import ReplicaSizer, ServingDefaults, replica_sizer

MOST_GPUS = 64
"""Degrees of tensor parallelism that a message lists."""


Check = Callable[[Workload, Architecture], list[Problem]]


def checked_sizer(
    workload: Workload, defaults: ServingDefaults, *, known: Iterable[Problem] = (), checks: Iterable[Check] = ()
) -> ReplicaSizer:
    """The workload's sizer; a `RequirementError` with everything that is wrong: `known` problems, what no server would
    start with, and what further `checks` find."""
    if is_pipeline(workload):
        from gpufleet.planner.diffusion.sizer import pipeline_sizer

        return pipeline_sizer(workload, defaults, known)
    model = workload.model
    architecture = resolve_architecture(
        model_id=model.id,
        parameters=model.parameters,
        config=model.architecture,
        precision=model.precision if model.quantization or defaults.takes_publication else None,
        quantization=model.quantization,
    )
    if model.lora is not None or model.draft is not None:
        from gpufleet.planner.additions import with_additions

        architecture = with_additions(architecture, model)
    problems = [
        *known,
        *_of_pipelines(workload),
        *_parallelism(workload, architecture),
        *_stages(workload, architecture),
        *_ranks(workload, architecture),
        *(problem for check in checks for problem in check(workload, architecture)),
    ]
    if problems:
        raise RequirementError(problems)
    return replica_sizer(workload, architecture, defaults)


def is_pipeline(workload: Workload) -> bool:
    """Whether the document is about a diffusion pipeline."""
    model = workload.model
    if model.pipeline is not None or model.architecture is not None:
        return model.pipeline is not None or "components" in (model.architecture or ())
    if (known := known_model(model.id)) is not None:
        return "components" in known.config
    from gpufleet.planner.diffusion.known import known_pipeline

    return known_pipeline(model.id) is not None


def _of_pipelines(workload: Workload) -> list[Problem]:
    """Keys of a diffusion pipeline in the document of another model."""
    serving = workload.serving
    if serving.engine == "vllm" and serving.diffusion is None:
        return []
    from gpufleet.planner.diffusion.checks import language_problems

    return list(language_problems(workload))


def _parallelism(workload: Workload, architecture: Architecture) -> list[Problem]:
    asked = workload.model.tensor_parallelism
    if asked == "auto":
        return []
    valid = valid_tensor_parallelism(architecture, MOST_GPUS)
    if asked in valid:
        return []
    return [
        Problem(
            path="model.tensorParallelism",
            message=f"the model's {architecture.num_attention_heads} attention heads and {architecture.num_key_value_heads} "
            "key-value heads do not divide so",
            given=asked,
            allowed=f"auto, {', '.join(map(str, valid))}",
            next_step="set model.tensorParallelism to auto",
        )
    ]


def context_problems(workload: Workload, architecture: Architecture) -> list[Problem]:
    """The server refuses a context longer than the model's, unless it is told how to stretch it."""
    given, longest = workload.serving.max_model_len, architecture.max_position_embeddings
    stretched = any(
        arg.replace("_", "-").startswith(("--hf-overrides", "--rope-scaling")) for arg in workload.serving.args
    )
    if given is None or longest is None or given <= longest or stretched or architecture.assumptions:
        return []
    return [
        Problem(
            path="serving.maxModelLen",
            message="longer than the model's own context",
            given=given,
            allowed=f"up to {longest} (max_position_embeddings)",
            next_step=f"set serving.maxModelLen to {longest}, or stretch the context with --hf-overrides in serving.args",
        )
    ]


def _stages(workload: Workload, architecture: Architecture) -> list[Problem]:
    """A stage needs a layer of its own."""
    asked, layers = workload.model.pipeline_parallelism, architecture.num_hidden_layers
    if asked == 1 or asked <= layers:
        return []
    return [
        Problem(
            path="model.pipelineParallelism",
            message="more stages than the model has layers",
            given=asked,
            allowed=f"1 to {layers}",
            next_step="lower model.pipelineParallelism",
        )
    ]


def _ranks(workload: Workload, architecture: Architecture) -> list[Problem]:
    """Data-parallel ranks have experts to share; those of a dense model are replicas."""
    model, experts = workload.model, architecture.num_experts
    asked = model.data_parallelism
    if asked == 1:
        return []
    if not experts:
        return [
            Problem(
                path="model.dataParallelism",
                message="the model has no experts to share: its data-parallel ranks are replicas",
                given=asked,
                allowed="1",
                next_step="remove it; an instance takes as many replicas as its GPUs hold, and scaling counts them",
            )
        ]
    each = asked if model.tensor_parallelism == "auto" else asked * model.tensor_parallelism
    if experts % each == 0:
        return []
    return [
        Problem(
            path="model.dataParallelism",
            message=f"the model's {experts} experts do not divide among {each} GPUs",
            given=asked,
            allowed=", ".join(str(n) for n in range(1, MOST_GPUS + 1) if experts % (each // asked * n) == 0),
            next_step="choose one of these",
        )
    ]
