"""What can be wrong with the document of a pipeline beside its own keys.

Owns the keys that have no meaning for a pipeline, and those that only a pipeline has. Leaves the values to `options`.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet.planner.architecture import DISAGREEMENT
from gpufleet.planner.diffusion.components import LoadedPipeline
from gpufleet.planner.diffusion.known import Unet
from gpufleet.planner.diffusion.options import DIFFUSION_PATH, Diffusion
from gpufleet.planner.errors import Problem
from gpufleet.planner.requirements import Serving, Workload

LANGUAGE_KEYS = (
    "max_model_len", "max_num_seqs", "max_num_batched_tokens", "full_contexts", "kv_cache_dtype",
)  # fmt: skip


def pipeline_problems(
    workload: Workload, loaded: tuple[LoadedPipeline, ...], options: Diffusion, *, needs_image: bool
) -> Iterator[Problem]:
    """What a pipeline's document must not say, or must."""
    model, serving = workload.model, workload.serving
    if "engine" in serving.model_fields_set and serving.engine != "diffusers":
        yield Problem(
            path="serving.engine",
            message="serves language models, and this is a diffusion pipeline",
            given=serving.engine,
            allowed="diffusers: a server of your own in serving.image",
            next_step="remove serving.engine, or set it to diffusers",
        )
    if needs_image and serving.image is None:
        yield Problem(
            path="serving.image",
            message="required: a diffusion pipeline is served by an image of yours",
            allowed="an image whose server is built on diffusers, listens on serving.port and answers serving.healthPath",
            next_step="name the image, with a tag or a digest",
        )
    for name in LANGUAGE_KEYS:
        if name in serving.model_fields_set and getattr(serving, name) is not None:
            key = f"serving.{Serving.model_fields[name].alias or name}"
            yield Problem(path=key, message="has no meaning for a diffusion pipeline", next_step=f"remove {key}")
    known = serving.memory
    for name, given in (("cudaGraphs", known and known.cuda_graphs_bytes), ("outside", known and known.outside_bytes)):
        if given is not None:
            key = f"serving.memory.{name}"
            yield Problem(path=key, message="has no meaning for a diffusion pipeline", next_step=f"remove {key}")
    for key, value in (
        ("model.tensorParallelism", model.tensor_parallelism),
        ("model.pipelineParallelism", model.pipeline_parallelism),
        ("model.dataParallelism", model.data_parallelism),
    ):
        if value not in ("auto", 1):
            yield Problem(
                path=key,
                message="a diffusion pipeline runs on one GPU; several on an instance serve a replica each",
                given=value,
                allowed="1",
                next_step=f"remove {key}",
            )
    if model.quantization is not None:
        yield Problem(
            path="model.quantization",
            message="is about checkpoints of language models",
            given=model.quantization,
            next_step="say it as model.pipeline.quantization",
        )
    if model.lora is not None:
        yield Problem(
            path="model.lora",
            message="is about adapters of a language model's server",
            next_step="say it as model.pipeline.loras",
        )
    if model.draft is not None:
        yield Problem(
            path="model.draft", message="has no meaning for a diffusion pipeline", next_step="remove model.draft"
        )
    if model.architecture is not None and "components" not in model.architecture:
        yield Problem(
            path="model.architecture",
            message="is the config of a language model, and this is a diffusion pipeline",
            next_step="give each component's as model.pipeline.components.<name>.config",
        )
    counted = sum(part.parameters for part in loaded[0].of_role("encoder", "denoiser", "vae", "other"))
    if model.parameters is not None and abs(model.parameters - counted) > DISAGREEMENT * counted:
        yield Problem(
            path="model.parameters",
            message=f"the components of the pipeline add up to {counted / 1e9:.2f}B parameters",
            given=model.parameters,
            allowed=f"within 5% of {counted:,}",
            next_step="leave model.parameters out, or give model.pipeline.components.<name>.parameters",
        )
    if options.attention != "sdpa" and not isinstance(loaded[0].family.denoiser, Unet):
        yield Problem(
            path=f"{DIFFUSION_PATH}.attention",
            message="changes nothing here: the transformers of diffusers have fused attention only",
            given=options.attention,
            allowed="sdpa",
            next_step=f"remove {DIFFUSION_PATH}.attention",
        )


def language_problems(workload: Workload) -> Iterator[Problem]:
    """What the document of a language model must not say."""
    serving = workload.serving
    if serving.engine == "diffusers":
        yield Problem(
            path="serving.engine",
            message="serves diffusion pipelines",
            given="diffusers",
            allowed="vllm, or a model that is a diffusion pipeline",
            next_step="remove serving.engine; for a pipeline that is not known, give model.pipeline",
        )
    if serving.diffusion is not None:
        yield Problem(
            path=DIFFUSION_PATH,
            message=f"{workload.model.id} is no diffusion pipeline",
            next_step=f"remove {DIFFUSION_PATH}; for a pipeline that is not known, give model.pipeline",
        )
