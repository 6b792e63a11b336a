"""The building blocks of an architecture: what has weights, and what keeps a cache.

Owns three small records. Leaves to `counting` how many there are of each, and to `memory` what they cost.
"""

from typing import Literal, NamedTuple

Role = Literal["embedding", "head", "linear", "expert", "kept", "vision"]
"""How a storage format treats a part: `linear` and `expert` may be quantised, the rest stays in 16 bits."""

CacheKind = Literal["full", "sliding", "chunked", "latent", "state"]


class Part(NamedTuple):
    """`tensors` equal tensors. Each has `split` parameters that tensor parallelism divides, `kv` that it divides among
    the KV heads only, and `whole` that every GPU holds. `padding` parameters exist on the GPU alone (vocabulary rows
    up to a multiple of 64); they are divided like `split` and are no part of the model's count.
    """

    name: str
    role: Role
    tensors: int = 1
    split: int = 0
    kv: int = 0
    whole: int = 0
    padding: int = 0

    @property
    def parameters(self) -> int:
        """Parameters of all tensors, as a checkpoint counts them."""
        return self.tensors * (self.split + self.kv + self.whole)

    def per_gpu(self, tensor_parallelism: int, kv_heads: int) -> float:
        """Parameters of one of the tensors on one GPU."""
        divided = (self.split + self.padding) / tensor_parallelism
        return divided + self.kv / min(tensor_parallelism, kv_heads) + self.whole


class CacheGroup(NamedTuple):
    """Layers that cache alike.

    Per token and layer: `kv_heads` × `width` values (`width` is K plus V of one head; for `latent`, the compressed
    vector, which tensor parallelism does not divide) and `fixed_bytes` whatever the cache's type. `window` bounds the
    tokens of `sliding` and `chunked` layers. Per sequence and layer: `state_bytes`, for recurrent state and for
    cross-attention; tensor parallelism divides it.
    """

    kind: CacheKind
    layers: int
    kv_heads: int = 0
    width: int = 0
    window: int | None = None
    fixed_bytes: int = 0
    state_bytes: int = 0

    def heads_per_gpu(self, tensor_parallelism: int) -> int:
        """KV heads that one GPU holds: a share, at least one; a latent vector is held whole."""
        return max(1, self.kv_heads // tensor_parallelism)

    def token_bytes(self, value_bytes: float, tensor_parallelism: int = 0) -> float:
        """Bytes per token and layer: of the whole replica, or on one GPU at the given degree."""
        heads = self.heads_per_gpu(tensor_parallelism) if tensor_parallelism else self.kv_heads
        return heads * self.width * value_bytes + self.fixed_bytes


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
