"""Diffusion pipelines through the public way in: what is loaded, in which format, what each option changes, mistakes."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError
from gpufleet.planner.size import parse_size_requirements, size_on_cards, size_replica

CATALOG = load_catalog()
GIB = 2**30
FLUX = "black-forest-labs/FLUX.1-dev"
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
SD3 = "stabilityai/stable-diffusion-3-medium"
SD15 = "runwayml/stable-diffusion-v1-5"
KNOWN = (FLUX, "black-forest-labs/FLUX.1-schnell", SDXL, SD3, SD15)


def sized(model_id=SDXL, gpu="H100", pipeline=None, diffusion=None, serving=None, **model):
    document = {
        "model": {"id": model_id, **model, **({"pipeline": pipeline} if pipeline is not None else {})},
        "serving": {**(serving or {}), **({"diffusion": diffusion} if diffusion is not None else {})},
        "gpu": {"name": gpu},
    }
    return size_replica(parse_size_requirements(document), CATALOG)


def problems(*arguments, **keys):
    with pytest.raises(PlanningError) as caught:
        sized(*arguments, **keys)
    return {problem.path: problem for problem in caught.value.problems}


def weights(size):
    return {part.name: part.weights_gib for part in size.memory.pipeline.components}


def phases(size):
    return {phase.name: phase for phase in size.memory.pipeline.phases}


# The answer -----------------------------------------------------------------------------------------------------------


def test_the_answer_has_the_plans_shape_and_the_parts_add_up():
    found = sized(SDXL, precision="fp16").to_json_object()
    memory = found["memory"]["perGpu"]
    assert found["fits"]
    assert found["server"] is None
    assert memory["kvCacheGiB"] == memory["cudaGraphsGiB"] == found["memory"]["kvCacheTokens"] == 0
    assert memory["totalGiB"] == pytest.approx(
        memory["weightsGiB"] + memory["activationsGiB"] + memory["nonTorchGiB"], abs=1e-3
    )
    assert memory["headroomGiB"] == pytest.approx(memory["budgetGiB"] - memory["totalGiB"], abs=1e-3)
    assert memory["budgetGiB"] == pytest.approx(0.95 * memory["usableGiB"], abs=1e-3)
    pipeline = found["memory"]["pipeline"]
    assert max(phase["totalGiB"] for phase in pipeline["phases"]) == pytest.approx(memory["totalGiB"], abs=1e-3)
    assert [phase["name"] for phase in pipeline["phases"]] == ["text encoding", "denoising", "decoding"]
    assert pipeline["peakAllocatedGiB"] < pipeline["peakReservedGiB"]


def test_a_language_models_answer_has_no_pipeline():
    document = {"model": {"id": "Qwen/Qwen3-8B"}, "gpu": {"name": "L4"}}
    found = size_replica(parse_size_requirements(document), CATALOG)
    assert "pipeline" not in found.to_json_object()["memory"]


@pytest.mark.parametrize("model_id", KNOWN)
def test_every_known_pipeline_is_sized_on_every_card(model_id):
    sizes = size_on_cards(parse_size_requirements({"model": {"id": model_id}}), CATALOG)
    assert {size.gpu.name for size in sizes} == set(CATALOG.gpu_names)
    assert all(size.fits for size in sizes if size.gpu.memory_mib > 40_000)
    assert {size.model.precision for size in sizes} == {"bf16", "fp16"}


def test_weights_are_the_published_counts_in_16_bits():
    assert weights(sized(FLUX, precision="bf16")) == {
        "transformer": pytest.approx(11_901_408_320 * 2 / GIB, abs=1e-3),
        "text_encoder": pytest.approx(123_060_480 * 2 / GIB, abs=1e-3),
        "text_encoder_2": pytest.approx(4_762_310_656 * 2 / GIB, abs=1e-3),
        "vae": pytest.approx(83_819_683 * 2 / GIB, abs=1e-3),
    }
    assert sum(weights(sized(SDXL, precision="fp32")).values()) == pytest.approx(3_468_837_867 * 4 / GIB, abs=1e-3)


def test_t5_in_fp16_keeps_a_part_in_fp32():
    more = (
        weights(sized(SD3, precision="fp16"))["text_encoder_3"]
        - weights(sized(SD3, precision="bf16"))["text_encoder_3"]
    )
    assert more == pytest.approx(24 * 10240 * 4096 * 2 / GIB, abs=1e-3)


def test_the_safety_checker_of_sd_15_is_loaded_and_said():
    found = sized(SD15)
    assert "safety_checker" in weights(found)
    assert any("safety checker" in note for note in found.model.assumptions)
    assert "safety_checker" not in weights(sized(SD15, pipeline={"components": {"safety_checker": None}}))


# Formats --------------------------------------------------------------------------------------------------------------


def test_a_quantised_precision_holds_for_the_denoiser_and_large_text_encoders():
    plain, small = sized(FLUX, precision="bf16"), sized(FLUX, precision="int4")
    by_name = {part.name: part.precision for part in small.memory.pipeline.components}
    assert by_name == {"transformer": "int4", "text_encoder": "bf16", "text_encoder_2": "int4", "vae": "bf16"}
    assert weights(small)["transformer"] == pytest.approx(weights(plain)["transformer"] * 4.5 / 16, rel=1e-3)


def test_layerwise_casting_leaves_the_adaptive_norms_and_the_text_encoders():
    found = weights(sized(FLUX, precision="fp8"))
    assert found["transformer"] * GIB == pytest.approx(11_901_408_320 + 3_246_391_296, rel=2e-3)
    assert found["text_encoder_2"] == weights(sized(FLUX, precision="bf16"))["text_encoder_2"]


def test_convolutions_are_not_quantised():
    unet = weights(sized(SD15, precision="int8"))["unet"] * GIB
    assert unet == pytest.approx(270_049_280 + 2 * (859_520_964 - 270_049_280), rel=1e-3)


def test_each_component_has_a_format_of_its_own():
    found = sized(
        SD3,
        precision="bf16",
        pipeline={"components": {"text_encoder_3": {"precision": "int8"}, "transformer": {"size": "1.2GiB"}}},
    )
    plain = weights(sized(SD3, precision="bf16"))
    assert weights(found)["transformer"] == pytest.approx(1.2, abs=1e-3)
    assert weights(found)["text_encoder_3"] < plain["text_encoder_3"]
    assert weights(found)["text_encoder"] == plain["text_encoder"]


def test_a_card_without_bf16_computes_in_fp16_and_refuses_bf16():
    assert sized(SDXL, gpu="T4").model.precision == "fp16"
    refused = sized(SDXL, gpu="T4", precision="bf16")
    assert not refused.fits
    assert refused.memory is None
    assert "bf16 needs compute capability 8.0" in refused.reasons[0]
    old = sized(FLUX, gpu="A100-80GB", precision="fp8", pipeline={"quantization": "torchao"})
    assert "compute capability 8.9" in old.reasons[0]


# What is loaded -------------------------------------------------------------------------------------------------------


def test_a_fine_tuned_pipeline_has_its_bases_sizes():
    tuned = sized("my/anime-xl", pipeline={"base": SDXL}, precision="fp16")
    assert tuned.memory == sized(SDXL, precision="fp16").memory.model_copy(update={"pipeline": tuned.memory.pipeline})
    assert weights(tuned) == weights(sized(SDXL, precision="fp16"))
    assert any(SDXL in note for note in tuned.model.assumptions)


def test_a_pipeline_by_the_configs_of_its_components():
    flux = {
        "transformer": {"config": {
            "_class_name": "FluxTransformer2DModel", "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128,
            "num_attention_heads": 24, "joint_attention_dim": 4096, "pooled_projection_dim": 768, "in_channels": 64,
            "patch_size": 1, "guidance_embeds": True}},
        "text_encoder": {"config": {
            "architectures": ["CLIPTextModel"], "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072,
            "num_hidden_layers": 12, "max_position_embeddings": 77}},
        "text_encoder_2": {"config": {
            "architectures": ["T5EncoderModel"], "vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240,
            "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}},
        "vae": {"parameters": 83_819_683, "config": {"block_out_channels": [128, 256, 512, 512], "sample_size": 1024}},
    }  # fmt: skip
    found = sized("my/flux", pipeline={"components": flux}, diffusion={"guidance": False}, precision="bf16")
    known = sized(FLUX, precision="bf16")
    assert found.model.parameters == known.model.parameters
    assert {n: p.total_gib for n, p in phases(found).items()} == {n: p.total_gib for n, p in phases(known).items()}


def test_what_is_assumed_of_an_unknown_pipeline_is_said():
    found = sized(
        "my/dit", pipeline={"components": {"transformer": {"parameters": "4B"}, "vae": {"parameters": "84M"}}}
    )
    assert any("classifier-free guidance" in note for note in found.model.assumptions)
    assert any("hidden size" in note for note in found.model.assumptions)
    assert phases(found).keys() == {"denoising", "decoding"}


def test_a_unet_by_its_config_takes_what_the_known_one_takes():
    config = {
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "attention_head_dim": [5, 10, 20],
    }
    given = sized(SDXL, pipeline={"components": {"unet": {"config": config}}}, diffusion={"attention": "full"})
    assert phases(given)["denoising"] == phases(sized(SDXL, diffusion={"attention": "full"}))["denoising"]


def test_control_nets_and_loras_are_loaded_beside_the_denoiser():
    pipeline = {
        "controlNets": [{"id": "diffusers/controlnet-canny-sdxl-1.0"}, {"parameters": "1B"}],
        "loras": [{"rank": 16}],
    }
    plain, found = sized(SDXL, precision="fp16"), sized(SDXL, precision="fp16", pipeline=pipeline)
    more = sum(weights(found).values()) - sum(weights(plain).values())
    assert more == pytest.approx((1_251_014_160 + 1e9 + 16 * 1_451_520) * 2 / GIB, abs=1e-3)
    assert phases(found)["denoising"].activations_gib > phases(plain)["denoising"].activations_gib
    by_size = sized(SDXL, precision="fp16", pipeline={"loras": [{"size": "1GiB"}]})
    assert sum(weights(by_size).values()) - sum(weights(plain).values()) == pytest.approx(1, abs=1e-3)


def test_pipelines_in_one_container_add_up_and_take_turns():
    both = sized(SDXL, precision="fp16", pipeline={"alongside": [{"id": SD15}]})
    one, other = sized(SDXL, precision="fp16"), sized(SD15, precision="fp16")
    assert both.memory.per_gpu.weights_gib == pytest.approx(
        one.memory.per_gpu.weights_gib + sum(weights(other).values()), abs=1e-3
    )
    assert both.memory.per_gpu.activations_gib == pytest.approx(one.memory.per_gpu.activations_gib, abs=1e-3)
    assert len(both.memory.pipeline.phases) == 6
    apart = sized(SDXL, precision="fp16", pipeline={"alongside": [{"id": SD15}]}, diffusion={"offload": "model"})
    assert apart.memory.per_gpu.total_gib < one.memory.per_gpu.total_gib


# Options --------------------------------------------------------------------------------------------------------------


def test_guidance_doubles_the_batch_that_is_denoised():
    on, off = sized(SDXL), sized(SDXL, diffusion={"guidance": False})
    assert phases(on)["denoising"].activations_gib == pytest.approx(
        2 * phases(off)["denoising"].activations_gib, rel=1e-3
    )
    assert phases(on)["decoding"] == phases(off)["decoding"]


def test_sdxl_in_fp16_decodes_in_fp32():
    half, brain = sized(SDXL, precision="fp16"), sized(SDXL, precision="bf16")
    assert phases(half)["decoding"].activations_gib > 1.5 * phases(brain)["decoding"].activations_gib
    assert phases(half)["decoding"].weights_gib > phases(half)["denoising"].weights_gib


def test_terms_that_the_document_gives_replace_the_laws():
    given = {"memory": {"activations": "3GiB", "nonTorch": "0.25GiB"}}
    memory = sized(SDXL, serving=given).memory.per_gpu
    assert (memory.activations_gib, memory.non_torch_gib) == (3, 0.25)
    assert memory.weights_gib == sized(SDXL).memory.per_gpu.weights_gib


def test_offloaded_weights_wait_in_ram():
    found = sized(FLUX, precision="bf16", diffusion={"offload": "model"})
    assert found.memory.per_gpu.weights_gib == pytest.approx(weights(found)["transformer"], abs=1e-3)
    assert {part.name: part.memory_mib for part in found.host.parts}["offloaded weights"] > 31 * 1024
    assert {part.name for part in sized(FLUX).host.parts} == {"processes"}


def test_a_miss_comes_with_what_makes_it_fit_and_each_does():
    found = sized(SDXL, gpu="T4", precision="fp16", diffusion={"imagesPerPrompt": 4})
    assert not found.fits
    assert len(found.reasons) >= 3
    told = [reason.partition("set ")[2].partition(":")[0].split(" to ") for reason in found.reasons[1:]]
    for path, value in told:
        read = {"true": True, "1": 1}.get(value, value)
        if path == "model.precision":
            assert sized(SDXL, gpu="T4", precision=read, diffusion={"imagesPerPrompt": 4}).fits
        else:
            assert sized(
                SDXL, gpu="T4", precision="fp16", diffusion={"imagesPerPrompt": 4, path.rpartition(".")[2]: read}
            ).fits


def test_where_one_change_is_not_enough_two_are_told():
    found = sized(FLUX, gpu="V100-16GB", precision="fp16", diffusion={"width": 4096, "height": 4096})
    assert any(" and set " in reason for reason in found.reasons[1:])


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "path", "says"),
    [
        ({"diffusion": {"width": 1001}}, "serving.diffusion.width", "set it to 1000"),
        ({"diffusion": {"widht": 8}}, "serving.diffusion.widht", "did you mean width?"),
        ({"diffusion": {"offload": "cpu"}}, "serving.diffusion.offload", "model"),
        ({"model_id": FLUX, "diffusion": {"attention": "sliced"}}, "serving.diffusion.attention", "fused"),
        ({"serving": {"maxModelLen": 8192}}, "serving.maxModelLen", "remove serving.maxModelLen"),
        ({"serving": {"kvCacheDtype": "fp8"}}, "serving.kvCacheDtype", "no meaning"),
        ({"serving": {"engine": "vllm"}}, "serving.engine", "diffusers"),
        ({"tensorParallelism": 2}, "model.tensorParallelism", "one GPU"),
        ({"pipelineParallelism": 2}, "model.pipelineParallelism", "one GPU"),
        ({"quantization": "awq"}, "model.quantization", "model.pipeline.quantization"),
        ({"parameters": "12B"}, "model.parameters", "3.47B"),
        ({"architecture": {"hidden_size": 8}, "pipeline": {"base": SDXL}}, "model.architecture", "components.<name>.config"),
        ({"serving": {"memory": {"cudaGraphs": "1GiB"}}}, "serving.memory.cudaGraphs", "no meaning"),
        ({"precision": "mxfp4"}, "model.precision", "int4"),
        ({"precision": "int4", "pipeline": {"quantization": "layerwiseCasting"}}, "model.pipeline.quantization", "gguf"),
        ({"precision": "fp16", "pipeline": {"quantization": "torchao"}}, "model.pipeline.quantization", "nothing"),
        ({"pipeline": {"base": "my/xl"}}, "model.pipeline.base", SDXL),
        ({"model_id": "my/xl", "pipeline": {}}, "model.pipeline.components", "model.pipeline.base"),
        ({"pipeline": {"components": {"unet": None}}}, "model.pipeline.components", "exactly one"),
        ({"pipeline": {"components": {"Unet": {}}}}, "model.pipeline.components.Unet", "text_encoder_2"),
        ({"pipeline": {"components": {"motion": {}}}}, "model.pipeline.components.motion", "parameters"),
        ({"pipeline": {"components": {"vae": {"parameters": "many"}}}}, "model.pipeline.components.vae.parameters", ""),
        ({"pipeline": {"controlNets": [{"id": "my/net"}]}}, "model.pipeline.controlNets.0.parameters", "1.25B"),
        ({"pipeline": {"loras": [{}]}}, "model.pipeline.loras.0", "exactly one of rank and size"),
        ({"pipeline": {"loras": [{"rank": 8, "size": "1GiB"}]}}, "model.pipeline.loras.0", "exactly one"),
        ({"pipeline": {"alongside": [{"id": "my/xl"}]}}, "model.pipeline.alongside.0.components", "known"),
        ({"pipeline": {"alongside": [{}]}}, "model.pipeline.alongside.0.id", "missing"),
        ({"pipeline": {"components": {"text_encoder": {"config": {"architectures": ["CLIPTextModel"]}}}}},
         "model.pipeline.components.text_encoder.config", "hidden_size is missing"),
        ({"pipeline": {"components": {"unet": {"config": {"block_out_channels": [320]}}}}},
         "model.pipeline.components.unet.config", "down_block_types"),
    ],
)  # fmt: skip
def test_a_mistake_names_its_key_and_what_to_do(keys, path, says):
    found = problems(**keys)
    assert path in found
    assert says in found[path].describe()


def test_all_mistakes_are_told_at_once():
    found = problems(diffusion={"width": 7}, pipeline={"base": "my/xl", "alongside": [{"id": "my/other"}]}, gpu="L5")
    assert {
        "serving.diffusion.width",
        "model.pipeline.base",
        "model.pipeline.alongside.0.components",
        "gpu.name",
    } <= set(found)


def test_keys_of_a_pipeline_are_refused_for_a_language_model():
    found = problems("Qwen/Qwen3-8B", diffusion={"width": 512}, serving={"engine": "diffusers"})
    assert set(found) == {"serving.engine", "serving.diffusion"}
    assert "model.pipeline" in found["serving.engine"].next_step


# Any document ---------------------------------------------------------------------------------------------------------

SIDES = st.integers(1, 512).map(lambda place: 8 * place)
OPTIONS = st.fixed_dictionaries({
    "width": SIDES, "height": SIDES, "imagesPerPrompt": st.integers(1, 16), "guidance": st.booleans(),
    "offload": st.sampled_from(["none", "model", "sequential"]), "vaeSlicing": st.booleans(), "vaeTiling": st.booleans(),
})  # fmt: skip
PIPELINES = st.sampled_from(KNOWN)
PRECISIONS = st.sampled_from(["fp32", "fp16", "bf16", "fp8", "int8", "int4"])


def total(model_id, precision, options):
    return sized(model_id, gpu="H200", precision=precision, diffusion=options).memory.per_gpu.total_gib


@settings(max_examples=60)
@given(PIPELINES, PRECISIONS, OPTIONS)
def test_memory_is_finite_and_its_parts_add_up(model_id, precision, options):
    memory = sized(model_id, gpu="H200", precision=precision, diffusion=options).memory.per_gpu
    assert 0 < memory.total_gib < 1e6
    assert memory.total_gib == pytest.approx(
        memory.weights_gib + memory.activations_gib + memory.non_torch_gib, abs=1e-3
    )


@settings(max_examples=60)
@given(PIPELINES, PRECISIONS, OPTIONS, st.sampled_from(["width", "height", "imagesPerPrompt"]))
def test_more_pixels_or_images_never_take_less(model_id, precision, options, key):
    more = {**options, key: options[key] + 8}
    assert total(model_id, precision, more) >= total(model_id, precision, options) - 1e-3


@settings(max_examples=60)
@given(PIPELINES, PRECISIONS, OPTIONS)
def test_offload_never_takes_more(model_id, precision, options):
    found = [total(model_id, precision, {**options, "offload": how}) for how in ("none", "model", "sequential")]
    assert found == sorted(found, reverse=True)


@settings(max_examples=60)
@given(PIPELINES, PRECISIONS, OPTIONS, st.sampled_from(["vaeSlicing", "vaeTiling"]))
def test_slicing_and_tiling_never_take_more(model_id, precision, options, key):
    with_it, without = ({**options, key: is_on} for is_on in (True, False))
    assert total(model_id, precision, with_it) <= total(model_id, precision, without) + 1e-3


@settings(max_examples=40)
@given(OPTIONS, st.sampled_from([SDXL, SD15]))
def test_fused_attention_never_takes_more_than_scores(options, model_id):
    fused, sliced, full = (
        sized(model_id, gpu="H200", precision="fp16", diffusion={**options, "attention": how}).memory.per_gpu.total_gib
        for how in ("sdpa", "sliced", "full")
    )
    assert fused <= sliced + 1e-3
    assert sliced <= full + 1e-3


@settings(max_examples=40)
@given(PIPELINES, PRECISIONS, OPTIONS, st.sampled_from(CATALOG.gpu_names))
def test_a_remedy_is_told_only_for_a_miss(model_id, precision, options, gpu):
    found = sized(model_id, gpu=gpu, precision=precision, diffusion=options)
    assume(found.memory is not None)
    assert len(found.reasons) == 1 or not found.fits
    assert found.fits == (found.memory.per_gpu.total_gib <= found.memory.per_gpu.budget_gib)
