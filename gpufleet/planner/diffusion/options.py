"""The keys of a diffusion pipeline: `model.pipeline` (what is loaded) and `serving.diffusion` (how an image is made).

Owns their names, which are diffusers' own, and the rules that need nothing but the document. Parsed only when a model is
a pipeline, so that no other plan pays for it. Leaves what a component is to `components`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field

from gpufleet.planner import values
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.requirements import Section, Workload, parse_section

Method = Literal["bitsandbytes", "torchao", "quanto", "gguf", "layerwiseCasting"]
Offload = Literal["none", "model", "sequential"]
Attention = Literal["sdpa", "sliced", "full"]
ComponentName = Annotated[
    str,
    values.matching(r"[a-z][a-z0-9_]{0,63}", "a component's name in model_index.json, such as text_encoder_2"),
    values.Written("component name"),
]

_SectionT = TypeVar("_SectionT", bound=Section)

PIPELINE_PATH, DIFFUSION_PATH = "model.pipeline", "serving.diffusion"

PIXELS = 8
"""The VAEs that diffusers has take 8 x 8 pixels to one place of the latents; other sides are refused by its pipelines."""


class Component(Section):
    """One component of a pipeline, by its name in model_index.json."""

    parameters: values.Parameters | None = Field(
        None, description="Parameter count. Defaults to the known pipeline's.", examples=["11.9B"]
    )
    config: values.ModelConfig | None = Field(
        None,
        description="Fields of the component's config.json, or a path to one. Defaults to the known pipeline's.",
        examples=["architectures/my-transformer.json"],
    )
    size_bytes: Annotated[values.Bytes, values.within(1, None, "a size")] | None = Field(
        None,
        alias="size",
        description="Size of its weights, such as that of a GGUF file. Defaults to what follows from precision.",
        examples=["6.9GiB"],
    )
    precision: values.WeightFormat = Field(
        None, description="How its weights lie in GPU memory. Defaults to the pipeline's.", examples=["int8"]
    )
    quantization: Method | None = Field(
        None, description="Library that quantises it. Defaults to the pipeline's.", examples=["torchao"]
    )


class ControlNet(Section):
    """A ControlNet beside the denoiser."""

    id: values.ModelId | None = Field(
        None, description="Model id, as on Hugging Face.", examples=["diffusers/controlnet-canny-sdxl-1.0"]
    )
    parameters: values.Parameters | None = Field(
        None, description="Parameter count. Defaults to the known ControlNet's.", examples=["1.25B"]
    )
    precision: values.WeightFormat = Field(
        None, description="How its weights lie in GPU memory. Defaults to the pipeline's 16 bits.", examples=["fp16"]
    )


class Lora(Section):
    """A LoRA that stays loaded beside the denoiser, not fused into it. One of the two is required."""

    rank: Annotated[values.PositiveCount, values.within(1, 1024, "a rank")] | None = Field(
        None, description="Rank, of adapters at every attention layer of the denoiser.", examples=[16]
    )
    size_bytes: Annotated[values.Bytes, values.within(1, None, "a size")] | None = Field(
        None, alias="size", description="Size of its file.", examples=["186MiB"]
    )


class Loaded(Section):
    """What a pipeline loads."""

    base: values.ModelId | None = Field(
        None,
        description="Known pipeline whose components a fine-tuned one has. Defaults to model.id.",
        examples=["stabilityai/stable-diffusion-xl-base-1.0"],
    )
    components: dict[ComponentName, Component | None] = Field(
        {},
        description="Components by their names in model_index.json, over those of the known pipeline, each with "
        "parameters, config, size, precision and quantization; null for one that is not loaded.",
        examples=[{"text_encoder_2": {"precision": "int8"}}],
    )
    quantization: Method | None = Field(
        None,
        description="Library that quantises what model.precision asks. Defaults to bitsandbytes for int8 and int4, "
        "layerwiseCasting for fp8.",
        examples=["torchao"],
    )
    control_nets: tuple[ControlNet, ...] = Field(
        (),
        strict=False,
        description="ControlNets loaded at once, each by id, or by parameters; and precision.",
        examples=[[{"id": "diffusers/controlnet-canny-sdxl-1.0"}]],
    )
    loras: tuple[Lora, ...] = Field(
        (),
        strict=False,
        description="LoRAs loaded at once, each by rank (adapters at every attention layer of the denoiser) or size.",
        examples=[[{"rank": 16}, {"size": "186MiB"}]],
    )


class Further(Loaded):
    """Another pipeline in the same container."""

    id: values.ModelId = Field(description="Model id, as on Hugging Face.", examples=["runwayml/stable-diffusion-v1-5"])
    precision: values.WeightFormat = Field(
        None, description="As model.precision. Defaults to model.precision.", examples=["fp16"]
    )


class Pipeline(Loaded):
    """What a diffusion pipeline loads, where model.id alone does not say it."""

    alongside: tuple[Further, ...] = Field(
        (),
        strict=False,
        description="Further pipelines loaded in the same container, each with id, precision and the keys of "
        "model.pipeline. One image is made at a time.",
        examples=[[{"id": "runwayml/stable-diffusion-v1-5"}]],
    )


class Diffusion(Section):
    """How the server makes an image: of a diffusion pipeline only."""

    width: values.PositiveCount | None = Field(
        None, description="Pixels. Defaults to the pipeline's own, 1024 or 512.", examples=[1216]
    )
    height: values.PositiveCount | None = Field(
        None, description="Pixels. Defaults to the pipeline's own, 1024 or 512.", examples=[832]
    )
    images_per_prompt: values.PositiveCount = Field(
        1, description="Images made at once: prompts times num_images_per_prompt.", examples=[4]
    )
    guidance: values.Boolean | None = Field(
        None,
        description="Classifier-free guidance, which denoises every image twice. Defaults to the pipeline's own.",
        examples=[False],
    )
    offload: Offload = Field(
        "none",
        description="Weights that wait in RAM: of all components but the one at work (model, "
        "enable_model_cpu_offload), or of all layers but one (sequential, enable_sequential_cpu_offload).",
        examples=["model"],
    )
    vae_slicing: values.Boolean = Field(
        False, description="Decodes one image after the other (enable_vae_slicing).", examples=[True]
    )
    vae_tiling: values.Boolean = Field(
        False, description="Decodes an image tile by tile (enable_vae_tiling).", examples=[True]
    )
    attention: Attention = Field(
        "sdpa",
        description="Of a UNet: PyTorch's fused attention (sdpa), scores of half the heads at a time (sliced, "
        "enable_attention_slicing) or of all (full, set_default_attn_processor).",
        examples=["sliced"],
    )


def pipeline_options(workload: Workload) -> Pipeline:
    """`model.pipeline`; a RequirementError with every problem in it otherwise."""
    return _parsed(Pipeline, workload.model.pipeline, PIPELINE_PATH)


def diffusion_options(workload: Workload) -> Diffusion:
    """`serving.diffusion`; a RequirementError with every problem in it otherwise."""
    found = _parsed(Diffusion, workload.serving.diffusion, DIFFUSION_PATH)
    odd = [(name, side) for name, side in (("width", found.width), ("height", found.height)) if (side or 0) % PIXELS]
    if odd:
        raise RequirementError(
            Problem(
                path=f"{DIFFUSION_PATH}.{name}",
                message=f"not a multiple of {PIXELS} pixels, which one place of the latents stands for",
                given=side,
                allowed=f"{PIXELS}, {2 * PIXELS}, … pixels",
                next_step=f"set it to {max(round((side or 0) / PIXELS), 1) * PIXELS}",
            )
            for name, side in odd
        )
    return found


def _parsed(section: type[_SectionT], given: object, path: str) -> _SectionT:
    try:
        return parse_section(section, {} if given is None else given)  # type: ignore[arg-type]
    except RequirementError as error:
        raise error.under(path) from None
