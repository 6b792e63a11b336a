"""The encoders of a multimodal model: what its config nests beside the text model.

Owns finding them and what is assumed of them. Leaves the counting to `vision`, `audio` and `projectors`. Imported only
for models that have some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpufleet.planner.models.defaults import with_defaults
from gpufleet.planner.models.nested import Nested
from gpufleet.planner.models.parts import Part, VisionEncoder

VISION = ("vision_config", "visual", "vit_config")
AUDIO = ("audio_config", "speech_config", "encoder_config", "audio_encoder_config", "whisper_config")

_FRAMES_ARE_IMAGES = ("qwen2_vl", "qwen2_5_vl")
_MERGED = {"llama4": 2, "idefics3": 2, "smolvlm": 2, "internvl": 2, "internvl_chat": 2}
"""Patches along each side of what becomes one token, for families that do not say it as spatial_merge_size."""


class Encoders(NamedTuple):
    """What they add: parts, the sizes that the activation peak of images follows from, and what had to be assumed."""

    parts: tuple[Part, ...]
    vision: VisionEncoder | None
    notes: tuple[str, ...]


def read_encoders(config: Mapping[str, Any], text_hidden: int) -> Encoders:
    """The encoders that the config describes. A thinker's (Qwen-Omni) are nested once more."""
    thinker = config.get("thinker_config")
    if isinstance(thinker, Mapping):
        return read_encoders({"model_type": config.get("model_type"), **thinker}, text_hidden)
    family = str(config.get("model_type") or "")
    whole = Nested("", config)
    found = Encoders((), None, ())
    name = next((n for n in VISION if isinstance(config.get(n), Mapping)), None)
    if name:
        found = _seeing(whole, family, name, text_hidden)
    name = next((n for n in AUDIO if isinstance(config.get(n), Mapping)), None)
    if name:
        found = found._replace(parts=(*found.parts, *_hearing(whole, family, name, text_hidden)))
    return found


def vision_part(parameters: int) -> Part:
    """The image encoder with its projector, on every stage of a pipeline."""
    return Part(name="vision", role="vision", split=parameters, place="every")


def _nested(whole: Nested, family: str, name: str) -> Nested:
    return Nested(name, with_defaults(whole.values[name], parent=family, field=name))


def _seeing(whole: Nested, family: str, name: str, text_hidden: int) -> Encoders:
    from gpufleet.planner.models.projectors import projector_parameters
    from gpufleet.planner.models.vision import read_tower

    vision = _nested(whole, family, name)
    model_type = vision.text("model_type")
    tower = read_tower(vision, model_type, family, merged=whole.size("spatial_merge_size") or _MERGED.get(family, 1))
    if tower is None:
        return Encoders((), None, ())
    projector = projector_parameters(family, whole, vision, tower.hidden_size, text_hidden)
    encoder = VisionEncoder(
        parameters=tower.parameters + projector, hidden_size=tower.hidden_size,
        intermediate_size=tower.intermediate_size, layers=tower.layers, patches_per_image=tower.patches_per_image,
        tokens_per_image=whole.size("mm_tokens_per_image", default=tower.tokens_per_image),
        values_per_patch=tower.values_per_patch, is_gated=tower.is_gated, frames_are_images=family in _FRAMES_ARE_IMAGES,
    )  # fmt: skip
    named = f"{name}.model_type {model_type!r}" if model_type else f"a {name} without model_type"
    note = () if tower.is_known else (f"{named} is not known: the image encoder is counted as a plain transformer",)
    return Encoders((vision_part(encoder.parameters),), encoder, note)


def _hearing(whole: Nested, family: str, name: str, text_hidden: int) -> tuple[Part, ...]:
    from gpufleet.planner.models.audio import audio_parameters, audio_width
    from gpufleet.planner.models.projectors import projector_parameters

    audio = _nested(whole, family, name)
    h = audio_width(audio)
    if not h:
        return ()
    parameters = audio_parameters(audio, audio.text("model_type") or family)
    if not audio.size("output_dim") or "granite" in family:  # those with one project by themselves
        parameters += projector_parameters(family, whole, audio, h, text_hidden)
    return (Part(name="audio", role="vision", split=parameters, place="every"),)
