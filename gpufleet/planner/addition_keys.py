"""The keys of what a server holds beside the model: `model.lora` (adapters) and `model.draft` (speculative decoding).

Owns their names. Parsed only for documents with one of them, so that no other plan pays for it. Leaves what they take to
`additions`, and the server's arguments to `server`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from gpufleet.planner import values
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.requirements import Model, Section, parse_section

_SectionT = TypeVar("_SectionT", bound=Section)

LORA_PATH, DRAFT_PATH = "model.lora", "model.draft"


class Lora(Section):
    """Adapters that requests may name. The server makes room for them when it starts."""

    rank: Annotated[values.Count, values.within(1, 512, "a rank")] = Field(
        16, description="Largest rank of an adapter.", examples=[32]
    )
    resident: values.PositiveCount = Field(
        1, description="Different adapters in one batch, all in GPU memory.", examples=[4]
    )
    targets: tuple[values.Text, ...] = Field(
        (),
        strict=False,
        description="Modules that the adapters change. Defaults to all for which the server makes room.",
        examples=[["qkv_proj", "o_proj"]],
    )


class Draft(Section):
    """What guesses the next tokens, for the model to check (speculative decoding)."""

    method: Literal["draftModel", "eagle", "eagle3", "mtp"] = Field(
        "draftModel",
        description="A smaller model of the same family, an EAGLE head, or the checkpoint's own prediction layer.",
        examples=["eagle3"],
    )
    id: values.ModelId | None = Field(
        None,
        description="Id of the draft. Required unless the method is mtp. Defaults to the checkpoint itself.",
        examples=["Qwen/Qwen3-0.6B"],
    )
    parameters: values.Parameters | None = Field(
        None,
        description="Parameter count of a draft model. Defaults to what its architecture gives.",
        examples=["0.6B"],
    )
    architecture: values.ModelConfig | None = Field(
        None,
        description="The draft model's config.json, or a path, as for the model. Defaults to the known model's.",
        examples=["architectures/Qwen2.5-14B-Instruct-GPTQ-Int8.json"],
    )
    tokens: values.PositiveCount = Field(3, description="Tokens that are guessed at a time.", examples=[5])


def lora_keys(model: Model) -> Lora | None:
    """`model.lora`, None where it is absent; a RequirementError with every problem in it."""
    return None if model.lora is None else _parsed(Lora, model.lora, LORA_PATH)


def draft_keys(model: Model) -> Draft | None:
    """`model.draft`, None where it is absent; a RequirementError with every problem in it."""
    return None if model.draft is None else _parsed(Draft, model.draft, DRAFT_PATH)


def _parsed(section: type[_SectionT], given: dict[str, Any], path: str) -> _SectionT:
    try:
        return parse_section(section, given)
    except RequirementError as error:
        raise error.under(path) from None
