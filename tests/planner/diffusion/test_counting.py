"""Parameters from a component's config.json: the counts of published networks, as diffusers and transformers build them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.diffusion.counting import COUNTED, count_parameters
from gpufleet.planner.errors import RequirementError

SDXL = {
    "_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 2,
    "cross_attention_dim": 2048, "transformer_layers_per_block": [1, 2, 10], "addition_embed_type": "text_time",
    "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
SD15 = {
    "_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}  # fmt: skip
REFINER = {
    **SD15, "block_out_channels": [384, 768, 1536, 1536], "cross_attention_dim": 1280, "transformer_layers_per_block": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "addition_embed_type": "text_time", "projection_class_embeddings_input_dim": 2560,
}  # fmt: skip
VAE = {
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2, "latent_channels": 4,
}  # fmt: skip
SD3 = {
    "_class_name": "SD3Transformer2DModel", "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 24,
    "attention_head_dim": 64, "num_attention_heads": 24, "joint_attention_dim": 4096, "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
}  # fmt: skip
FLUX = {
    "_class_name": "FluxTransformer2DModel", "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128,
    "num_attention_heads": 24, "joint_attention_dim": 4096, "pooled_projection_dim": 768, "in_channels": 64,
    "guidance_embeds": True,
}  # fmt: skip
CLIP = {
    "architectures": ["CLIPTextModel"], "vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072,
    "num_hidden_layers": 12, "max_position_embeddings": 77,
}  # fmt: skip
BIG_G = {
    **CLIP, "architectures": ["CLIPTextModelWithProjection"], "hidden_size": 1280, "intermediate_size": 5120,
    "num_hidden_layers": 32, "projection_dim": 1280,
}  # fmt: skip
T5 = {
    "architectures": ["T5EncoderModel"], "vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24,
    "num_heads": 64, "feed_forward_proj": "gated-gelu",
}  # fmt: skip
COUNTS = [
    (SDXL, 2_567_463_684),
    (SD15, 859_520_964),
    ({**SD15, "cross_attention_dim": 1024}, 865_910_724),  # Stable Diffusion 2.1
    (REFINER, 2_259_526_660),
    (VAE, 83_653_863),
    ({**VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}, 83_819_683),
    (SD3, 2_028_328_000),
    ({**SD3, "qk_norm": "rms_norm", "dual_attention_layers": list(range(13))}, 2_243_171_520),  # 3.5 medium
    ({**SD3, "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "qk_norm": "rms_norm"},
     8_056_627_520),  # 3.5 large
    (FLUX, 11_901_408_320),
    ({**FLUX, "guidance_embeds": False}, 11_891_178_560),  # schnell
    (CLIP, 123_060_480),
    (BIG_G, 694_659_840),
    (T5, 4_762_310_656),
]  # fmt: skip


@pytest.mark.parametrize(("config", "parameters"), COUNTS)
def test_published_networks_are_counted_exactly(config, parameters):
    assert count_parameters(config, "here") == parameters


def test_every_counted_class_is_held_to_a_published_network():
    assert {c.get("_class_name") or c["architectures"][0] for c, _ in COUNTS} == set(COUNTED)


def test_another_class_is_not_guessed():
    assert count_parameters({"_class_name": "WanTransformer3DModel"}, "here") is None
    assert count_parameters({}, "here") is None


@given(st.sampled_from([config for config, _ in COUNTS]), st.data())
def test_a_config_that_lacks_or_garbles_a_field_is_a_mistake_or_a_count(config, data):
    key = data.draw(st.sampled_from([key for key in config if key not in ("_class_name", "architectures")]))
    garbled = {**config, key: data.draw(st.sampled_from([None, "many", [], -1, {}, [1, "x"]]))}
    lacking = {name: value for name, value in config.items() if name != key}
    for wrong in (garbled, lacking):
        with suppress(RequirementError):
            assert isinstance(count_parameters(wrong, "here"), int)


def test_a_field_that_is_missing_is_named():
    with pytest.raises(RequirementError) as caught:
        count_parameters({**CLIP, "vocab_size": "many"}, "here")
    assert caught.value.problems[0].path == "here.config"
    with pytest.raises(RequirementError, match="hidden_size is missing"):
        count_parameters({name: value for name, value in CLIP.items() if name != "hidden_size"}, "here")
