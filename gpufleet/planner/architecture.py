"""What a model is made of, as far as it decides memory.

Owns the `Architecture` and the order of its sources: the config that the user gives, the registry, a typical
architecture for a bare count. Leaves reading a config to `models.shape`, counting to `models.counting`, bytes to
`memory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gpufleet.planner import models
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.models import storage
from gpufleet.planner.models.decoders import count_decoder
from gpufleet.planner.models.fields import MOST_PARAMETERS, check_kinds, fail, text_config, whole
from gpufleet.planner.models.gated import is_gated as is_gated
from gpufleet.planner.models.parts import CacheGroup, Part, TextModel, VisionEncoder
from gpufleet.planner.models.storage import Exceptional
from gpufleet.planner.models.traits import ENCODER_DECODERS, TEXT_ENCODERS

if TYPE_CHECKING:
    from gpufleet.planner.models.files import Held

DISAGREEMENT = 0.05
"""How far a given count may be from that of the architecture: published names are rounded (8.19B is sold as 8B)."""

ENCODER_FIELDS = (
    "vision_config", "audio_config", "visual", "vit_config", "speech_config", "encoder_config", "audio_encoder_config",
    "whisper_config", "thinker_config",
)  # fmt: skip
"""Where a config describes encoders of images and sound."""

Kind = Literal["decoder", "encoder", "encoder-decoder", "diffusion"]


class Architecture(NamedTuple):
    """A model's sizes. `parameters` is what a server loads; `checkpoint_parameters` what the files hold (prediction
    layers included). `checkpoint_format` is a name of `precision.PRECISIONS`, None where nothing says it;
    `quantization_method` is the `quant_method` of its quantization_config, and `exceptions` what that stores otherwise
    than its format's rule. `vocab_size` is 0 where nothing samples: in stages of a pipeline without the head."""

    model_id: str
    kind: Kind
    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool
    max_position_embeddings: int | None
    num_experts: int
    experts_per_token: int
    expert_intermediate_size: int
    kv_lora_rank: int
    qk_rope_head_dim: int
    rope_values: int
    """Values of the cosine and sine tables that every GPU holds."""
    parts: tuple[Part, ...]
    cache: tuple[CacheGroup, ...]
    vision: VisionEncoder | None
    parameters: int
    checkpoint_parameters: int
    checkpoint_format: str | None
    quantization_method: str | None
    quantization_group: int
    has_zero_points: bool
    exceptions: tuple[Exceptional, ...]
    is_multimodal: bool
    assumptions: tuple[str, ...]
    """What had to be assumed of the sizes."""
    storage_notes: tuple[str, ...] = ()
    """What was made of a precision or a method that the checkpoint does not have itself."""
    file_bytes: int = 0
    """The size of the files, where their headers were read."""

    def __hash__(self) -> int:
        """Of a few fields that tell models apart: this is a key of caches that are asked thousands of times."""
        return hash((self.model_id, self.parameters, self.num_hidden_layers, self.checkpoint_format))

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that a reader of the numbers should know of them."""
        return self.assumptions + self.storage_notes

    @property
    def has_linear_or_state_layers(self) -> bool:
        """Whether some layers keep a state per sequence instead of a cache per token."""
        return any(group.kind == "state" for group in self.cache)

    def parameters_of(self, *names: str) -> int:
        """Parameters of the parts with these names."""
        return sum(part.parameters for part in self.parts if part.name in names)


def resolve_architecture(
    *,
    model_id: str,
    parameters: int | None,
    config: Mapping[str, Any] | None,
    precision: str | None = None,
    quantization: str | None = None,
) -> Architecture:
    """The architecture from the first source that there is: `config` (fields of a Hugging Face config.json), the
    registry entry of exactly this id, or a typical architecture for the bare count, which `assumptions` then says.

    `precision` and `quantization` (a name of `storage.METHODS`) are how the weights are said to be stored, where the
    checkpoint does not say it itself. Raises RequirementError: at `model.architecture.<field>` for a config that lacks
    or contradicts something; at `model.parameters` where the count disagrees with the architecture by more than 5%, or
    where nothing is known; at `model.quantization` for a method that contradicts the checkpoint or the precision.
    """
    found = _resolve(model_id, parameters, config)
    if precision is None and quantization is None:
        return found
    from gpufleet.planner.models.stored import stored_as

    return stored_as(found, precision, quantization)


def _resolve(model_id: str, parameters: int | None, config: Mapping[str, Any] | None) -> Architecture:
    if config is not None:
        found = from_config(model_id, config)
    elif (known := models.known_model(model_id)) is not None:
        found = _from_registry(known.id)
    elif parameters is not None:
        return _typical(parameters)._replace(model_id=model_id)
    else:
        raise RequirementError(_nothing_known(model_id))
    if parameters is not None and abs(parameters - found.parameters) > DISAGREEMENT * found.parameters:
        source = "the given architecture" if config is not None else f"the known architecture of {model_id}"
        raise RequirementError(
            Problem(
                path="model.parameters",
                message=f"contradicts {source}, which adds up to {found.parameters / 1e9:.2f}B parameters",
                given=parameters,
                allowed=f"within 5% of {found.parameters:,}",
                next_step="leave model.parameters out, or correct model.id or model.architecture",
            )
        )
    return found


def from_config(model_id: str, config: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes. Raises RequirementError as `resolve_architecture` does."""
    check_kinds(config)
    try:
        return _read(model_id, config)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        fail("", f"cannot be read: {error}", allowed="the fields of a Hugging Face config.json")


def _read(model_id: str, config: Mapping[str, Any]) -> Architecture:
    if "components" in config:
        return _pipeline(model_id, config)
    if "tensors" in config:
        from gpufleet.planner.models.files import read_files
        from gpufleet.planner.models.gguf import config_of

        own = config.get("config")
        described = _read(model_id, own if isinstance(own, Mapping) else config_of(config.get("gguf") or {}))
        return _of_files(described, read_files(config["tensors"], described))
    text = _text_model(config)
    parts, vision, notes = text.parts, None, text.notes
    if is_multimodal := any(isinstance(config.get(name), Mapping) for name in ENCODER_FIELDS):
        from gpufleet.planner.models.multimodal import read_encoders

        encoders = read_encoders(config, text.hidden_size)
        parts, vision, notes = parts + encoders.parts, encoders.vision, notes + encoders.notes
    stored = storage.read_storage(config)
    if stored.problem:
        fail("quantization_config", stored.problem, given=stored.given, allowed=stored.allowed)
    parameters = sum(part.parameters for part in parts)
    if not 0 < parameters <= MOST_PARAMETERS:
        fail("", "adds up to more parameters than any model has", given=f"{parameters:,}", allowed="up to 100T")
    return Architecture(
        model_id=model_id, kind=text.kind, model_type=text.model_type, hidden_size=text.hidden_size,
        num_hidden_layers=text.num_hidden_layers, num_attention_heads=text.num_attention_heads,
        num_key_value_heads=text.num_key_value_heads, head_dim=text.head_dim,
        intermediate_size=text.intermediate_size, vocab_size=text.vocab_size,
        tie_word_embeddings=text.tie_word_embeddings, max_position_embeddings=text.max_position_embeddings,
        num_experts=text.num_experts, experts_per_token=text.experts_per_token,
        expert_intermediate_size=text.expert_intermediate_size, kv_lora_rank=text.kv_lora_rank,
        qk_rope_head_dim=text.qk_rope_head_dim, rope_values=text.rope_values, parts=parts, cache=text.cache,
        vision=vision, parameters=parameters, checkpoint_parameters=parameters,
        checkpoint_format=stored.format, quantization_method=stored.method, quantization_group=stored.group,
        has_zero_points=stored.has_zero_points,
        exceptions=_exceptions(stored.config) if stored.config else (), is_multimodal=is_multimodal, assumptions=notes,
    )  # fmt: skip


def _of_files(described: Architecture, held: Held) -> Architecture:
    """The architecture that a config describes, with the weights that the files beside it hold."""
    return described._replace(
        parts=held.parts,
        parameters=sum(part.parameters for part in held.parts),
        checkpoint_parameters=held.checkpoint_parameters,
        checkpoint_format=held.format or described.checkpoint_format,
        quantization_method=held.method or described.quantization_method,
        exceptions=(),
        file_bytes=held.file_bytes,
    )


def _exceptions(quantized: Mapping[str, Any]) -> tuple[Exceptional, ...]:
    from gpufleet.planner.models.exceptions import read_exceptions

    return read_exceptions(quantized)


def _text_model(config: Mapping[str, Any]) -> TextModel:
    """The text model by its type: most are decoders."""
    model_type = text_config(config).get("model_type")
    if model_type in TEXT_ENCODERS:
        from gpufleet.planner.models.encoders import count_encoder

        return count_encoder(config)
    if model_type in ENCODER_DECODERS:
        from gpufleet.planner.models.encoder_decoders import count_encoder_decoder

        return count_encoder_decoder(config)
    return count_decoder(config)


@lru_cache(maxsize=512)
def _from_registry(model_id: str) -> Architecture:
    known = models.known_model(model_id)
    assert known is not None
    found = from_config(known.id, known.config)
    if known.vision_parameters and found.vision is not None:
        vision = found.vision._replace(parameters=known.vision_parameters)
        vision_part = Part(name="vision", role="vision", split=known.vision_parameters, place="every")
        parts = (*(p for p in found.parts if p.name != "vision"), vision_part)
        found = found._replace(vision=vision, parts=parts, parameters=sum(p.parameters for p in parts))
    note = (f"sizes are those of {known.same_as}, which its model card names as its base",) if known.same_as else ()
    return found._replace(
        checkpoint_parameters=max(known.checkpoint_parameters, found.parameters),
        assumptions=found.assumptions + note,
    )


@lru_cache(maxsize=512)
def _typical(parameters: int) -> Architecture:
    """Of a model without an id: sizes alone decide it, and many ids share one."""
    from gpufleet.planner.models.typical import typical_config

    guessed = from_config("", typical_config(parameters))
    missing = parameters - guessed.parameters
    parts = guessed.parts
    if missing > 0:
        parts += (Part(name="mlp", role="linear", split=missing),)
    note = (
        f"architecture unknown: a typical dense model of {parameters / 1e9:.3g}B parameters is assumed "
        f"({guessed.num_hidden_layers} layers, hidden size {guessed.hidden_size}, "
        f"{guessed.num_key_value_heads} KV heads); give model.architecture for a sure answer"
    )
    return guessed._replace(parts=parts, parameters=parameters, checkpoint_parameters=parameters, assumptions=(note,))


def _pipeline(model_id: str, config: Mapping[str, Any]) -> Architecture:
    """A diffusion pipeline by the sizes of its components, all on every GPU."""
    given = config["components"]
    sizes = {str(name): whole(size, f"components.{name}", most=MOST_PARAMETERS) for name, size in (given or {}).items()}
    if not sizes or min(sizes.values()) < 1:
        fail("components", "must name components, each with its parameter count", given=given)
    parts = tuple(Part(name=name, role="kept", whole=size) for name, size in sorted(sizes.items()))
    total = sum(sizes.values())
    return Architecture(
        model_id=model_id, kind="diffusion", model_type=str(config.get("pipeline", "")),
        hidden_size=0, num_hidden_layers=0, num_attention_heads=0, num_key_value_heads=0, head_dim=0,
        intermediate_size=0, vocab_size=0, tie_word_embeddings=False, max_position_embeddings=None,
        num_experts=0, experts_per_token=0, expert_intermediate_size=0, kv_lora_rank=0, qk_rope_head_dim=0,
        rope_values=0, parts=parts, cache=(), vision=None, parameters=total, checkpoint_parameters=total,
        checkpoint_format=storage.read_storage(config).format, quantization_method=None, quantization_group=0,
        has_zero_points=False, exceptions=(), is_multimodal=False, assumptions=(),
    )  # fmt: skip


def _nothing_known(model_id: str) -> Problem:
    like = models.nearest_ids(model_id)
    return Problem(
        path="model.parameters",
        message=f"the model {model_id} is not known, and neither parameters nor architecture is given",
        given=None,
        allowed=("known ids like it: " + ", ".join(like)) if like else "a known id, or the sizes of the model",
        next_step="give model.architecture (the model's config.json) or model.parameters, such as 8.19B",
    )
