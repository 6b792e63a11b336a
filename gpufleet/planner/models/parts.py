"""The building blocks of an architecture: what has weights, and what keeps a cache.

Owns three small records and what of them lies in a stage of a pipeline. Leaves to `counting` how many there are of each,
and to `memory` what they cost.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

Role = Literal["embedding", "head", "linear", "expert", "kept", "vision"]
"""How a storage format treats a part: `linear` and `expert` may be quantised, the rest stays in 16 bits."""

Place = Literal["first", "last", "ends", "every"]
"""Where a part outside of the layers lies in a pipeline: `ends` is the first and the last stage (a tied embedding),
`every` all of them (encoders of images and sound)."""

CacheKind = Literal["full", "sliding", "chunked", "latent", "state", "cross"]


ADDITIONS = frozenset({"lora", "draft"})
"""Names of parts that a server holds beside the model, in a format of their own."""


class Projection(NamedTuple):
    """How a part maps vectors, for the adapters beside it: `inputs` values to the rest of its size, in `slices` that a
    server fuses (Q, K and V), `matrices` times over (experts). `splits_inputs`: whether GPUs share the inputs, not the
    outputs."""

    inputs: int
    slices: int = 1
    matrices: int = 1
    splits_inputs: bool = False


class Part(NamedTuple):
    """Equal tensors: one in each of `layers`, or a single one at `place` where it lies outside of the layers.

    Each has `split` parameters that tensor parallelism divides, `kv` that it divides among `kv_heads` only, and `whole`
    that every GPU holds. `padding` parameters exist on the GPU alone (vocabulary rows up to a multiple of 64); they are
    divided like `split` and are no part of the model's count.
    """

    name: str
    role: Role
    layers: tuple[int, ...] = ()
    split: int = 0
    kv: int = 0
    whole: int = 0
    padding: int = 0
    kv_heads: int = 1
    place: Place = "first"
    stored: str = ""
    """The format that it is stored in, where a file's header tells; else that of the checkpoint."""
    bytes_per_parameter: float = 0.0
    """The same, where no format of the table is meant: what it takes, scales included."""
    projection: Projection | None = None

    @property
    def tensors(self) -> int:
        """How many there are."""
        return len(self.layers) or 1

    @property
    def parameters(self) -> int:
        """Parameters of all tensors, as a checkpoint counts them."""
        return self.tensors * (self.split + self.kv + self.whole)

    def per_gpu(self, tensor_parallelism: int) -> float:
        """Parameters of one of the tensors on one GPU."""
        divided = (self.split + self.padding) / tensor_parallelism
        return divided + self.kv / min(tensor_parallelism, max(self.kv_heads, 1)) + self.whole

    def within(self, layers: Collection[int]) -> Part | None:
        """What of it lies in these layers; None for nothing."""
        held = tuple(layer for layer in self.layers if layer in layers)
        return self._replace(layers=held) if held else None

    def without(self, layers: Collection[int]) -> Part | None:
        """What of it lies in other layers than these; None for nothing."""
        held = tuple(layer for layer in self.layers if layer not in layers)
        return self._replace(layers=held) if held else None

    def in_stage(self, layers: Collection[int], *, is_first: bool, is_last: bool) -> Part | None:
        """What of it lies in a stage that has these layers; None for nothing."""
        if self.layers:
            return self.within(layers)
        here = {"first": is_first, "last": is_last, "ends": is_first or is_last, "every": True}[self.place]
        return self if here else None


class CacheGroup(NamedTuple):
    """Layers that cache alike; `at` names them, `layers` is their number.

    Per token and layer: `kv_heads` × `width` values (`width` is K plus V of one head; for `latent`, the compressed
    vector, which tensor parallelism does not divide) and `fixed_bytes` whatever the cache's type. `window` bounds the
    tokens of `sliding` and `chunked` layers; of `cross` ones, which look at an encoder's output, it is the tokens of every
    sequence. Per sequence and layer: `state_bytes`, for recurrent state; tensor parallelism divides it.
    """

    kind: CacheKind
    layers: int
    kv_heads: int = 0
    width: int = 0
    window: int | None = None
    fixed_bytes: int = 0
    state_bytes: int = 0
    at: tuple[int, ...] = ()

    def heads_per_gpu(self, tensor_parallelism: int) -> int:
        """KV heads that one GPU holds: a share, at least one; a latent vector is held whole."""
        return max(1, self.kv_heads // tensor_parallelism)

    def token_bytes(self, value_bytes: float, tensor_parallelism: int = 0) -> float:
        """Bytes per token and layer: of the whole replica, or on one GPU at the given degree."""
        heads = self.heads_per_gpu(tensor_parallelism) if tensor_parallelism else self.kv_heads
        return heads * self.width * value_bytes + self.fixed_bytes

    def in_stage(self, layers: Collection[int]) -> CacheGroup | None:
        """What of it lies in a stage that has these layers; None for nothing."""
        held = tuple(layer for layer in self.at if layer in layers)
        return self._replace(layers=len(held), at=held) if held else None


class VisionEncoder(NamedTuple):
    """What an image encoder adds: its weights, and the sizes that its activation peak follows from."""

    parameters: int
    hidden_size: int
    intermediate_size: int
    layers: int
    patches_per_image: int
    """Patches of the largest image that the server profiles."""
    tokens_per_image: int
    """What they become for the language model."""
    values_per_patch: int
    """Numbers in a patch's pixels."""
    is_gated: bool
    """Whether its MLP has a gate beside the up projection."""
    frames_are_images: bool
    """Whether every second frame of a video takes as many tokens as an image."""


class TextModel(NamedTuple):
    """A text model, counted: its sizes, what has weights and what keeps a cache.

    `rope_values` are the values of the cosine and sine tables that every GPU holds; `notes` what had to be assumed.
    """

    kind: Literal["decoder", "encoder", "encoder-decoder"]
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
    parts: tuple[Part, ...]
    cache: tuple[CacheGroup, ...]
    num_experts: int = 0
    experts_per_token: int = 0
    expert_intermediate_size: int = 0
    kv_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    rope_values: int = 0
    notes: tuple[str, ...] = ()
