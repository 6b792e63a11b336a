"""Traces the memory of diffusion networks, which the constants of `gpufleet/planner/diffusion/phases.py` come from.

Run `python tools/trace_diffusion.py` in an environment of its own with torch, diffusers and transformers: the project needs
none of them. Nothing is downloaded and no GPU is used: networks are built from their configs on PyTorch's meta device, an
eager run tells when each tensor is made and goes, and a copy of the caching allocator's rules says what that takes. What it
cannot show is how much room cuDNN takes beside a convolution; the copies of its 16-bit input and output are put in its place.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MIB, GIB = 2**20, 2**30
SIDE = 1024

Event = tuple[int, int]
"""A block's number, and its bytes where it is taken, 0 where it is given back."""

VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "sample_size": 1024,
}  # fmt: skip
SD15 = {"sample_size": 64, "cross_attention_dim": 768}
SDXL = {
    "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048, "transformer_layers_per_block": (1, 2, 10),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
SD3 = {
    "sample_size": 128, "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
    "pos_embed_max_size": 192,
}  # fmt: skip


class Trace(TorchDispatchMode):
    """The blocks that a run takes and gives back, beside its weights."""

    def __init__(self, network: torch.nn.Module, *, copies: bool) -> None:
        super().__init__()
        self.events: list[Event] = []
        self._copies = copies
        self._known = {t.untyped_storage()._cdata for t in (*network.parameters(), *network.buffers())}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in (t for t in tree_leaves(out) if isinstance(t, torch.Tensor) and t.device.type == "meta"):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._known:
                self._known.add(storage._cdata)
                weakref.finalize(storage, self._gone, storage._cdata, self._take(storage.nbytes()))
        if self._copies and "convolution" in function.__name__ and args[1].shape[-1] > 1:
            block = self._take((args[0].numel() + out.numel()) * out.element_size())
            self.events.append((block, 0))
        return out

    def _take(self, size: int) -> int:
        block = len(self.events)
        self.events.append((block, max(size, 1)))
        return block

    def _gone(self, storage: int, block: int) -> None:
        self._known.discard(storage)
        self.events.append((block, 0))


class Allocator:
    """PyTorch's CUDACachingAllocator: best fit among cached blocks, which are split and joined within a segment."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most, self.allocated, self.reserved, self.peak = most, 0, 0, 0
        self._free: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])

    def take(self, asked: int) -> dict[str, Any] | None:
        """A block; None where even what is cached and given back leaves no room."""
        size = -(-asked // 512) * 512
        is_small = size <= MIB
        cached = self._free[is_small]
        best = min((b for b in cached if b["size"] >= size), key=lambda b: b["size"], default=None)
        if best is None:
            segment = 2 * MIB if is_small else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
            if self.reserved + segment > self.most:
                self._give_back()
            if self.reserved + segment > self.most:
                return None
            self.reserved += segment
            best = {"size": segment, "before": None, "after": None, "free": cached, "is_free": False}
        else:
            self._drop(best)
        rest = best["size"] - size
        if rest >= (512 if is_small else MIB + 1):
            piece = {"size": rest, "before": best, "after": best["after"], "free": cached, "is_free": True}
            if best["after"]:
                best["after"]["before"] = piece
            best["after"], best["size"] = piece, size
            cached.append(piece)
        self.allocated += best["size"]
        self.peak = max(self.peak, self.allocated)
        return best

    def give(self, block: dict[str, Any]) -> None:
        """The block is free, joined with free neighbours."""
        self.allocated -= block["size"]
        for side, other in (("before", "after"), ("after", "before")):
            neighbour = block[side]
            if neighbour is not None and neighbour["is_free"]:
                self._drop(neighbour)
                block["size"] += neighbour["size"]
                block[side] = neighbour[side]
                if block[side] is not None:
                    block[side][other] = block
        block["is_free"] = True
        block["free"].append(block)

    def _drop(self, block: dict[str, Any]) -> None:
        block["is_free"] = False
        block["free"][:] = [b for b in block["free"] if b is not block]

    def _give_back(self) -> None:
        for cached in self._free:
            for block in [b for b in cached if b["before"] is None and b["after"] is None]:
                self.reserved -= block["size"]
                self._drop(block)


def replayed(events: Sequence[Event], most: float = float("inf")) -> Allocator | None:
    """The allocator after the run; None where this much memory is not enough."""
    allocator, blocks = Allocator(most), {}
    for block, size in events:
        if not size:
            allocator.give(blocks.pop(block))
        elif (taken := allocator.take(size)) is not None:
            blocks[block] = taken
        else:
            return None
    return allocator


def least_bytes(events: Sequence[Event]) -> float:
    """The least memory with which the run succeeds."""
    whole = replayed(events)
    assert whole is not None, "without a bound it always does"
    low, high = float(whole.peak), float(whole.reserved)
    while high - low > 8 * MIB:
        middle = (low + high) / 2
        low, high = (low, middle) if replayed(events, middle) else (middle, high)
    return high


def traced(network: torch.nn.Module, run: Callable[[], object], *, copies: bool = False) -> list[Event]:
    """The events of a run."""
    with torch.no_grad(), Trace(network, copies=copies) as trace:
        run()
    return trace.events


def one_after_the_other(*runs: Sequence[Event]) -> list[Event]:
    """The events of several runs in one process: what one leaves in the cache, the next finds there."""
    joined: list[Event] = []
    for events in runs:
        start = len(joined)
        joined += [(block + start, size) for block, size in events]
    return joined


def fused_attention(query: Any, key: Any, value: Any, attn_mask: Any = None, *_: Any, **__: Any) -> Any:
    """What the fused kernels allocate: the output, and a number for each row of the scores."""
    batch, heads, length, _width = query.shape
    torch.empty(batch, heads, length, dtype=torch.float32, device="meta")
    return torch.empty(batch, length, heads, value.shape[-1], dtype=query.dtype, device="meta").transpose(1, 2)


def runs() -> Iterator[tuple[str, list[Event], float]]:
    """Name, events, and the bytes in which the law counts: a feature map, or a vector for each token or place."""
    empty = lambda *shape, dtype=torch.bfloat16: torch.empty(*shape, dtype=dtype, device="meta")  # noqa: E731
    latent, decodings, steps = SIDE // 8, {}, {}
    for dtype, batch, slicing in ((torch.bfloat16, 1, False), (torch.float32, 1, False), (torch.bfloat16, 4, True)):
        vae = AutoencoderKL(**VAE).to(dtype).eval()
        vae.use_slicing = slicing
        latents = empty(batch, 4, latent, latent, dtype=dtype)
        events = traced(vae, lambda v=vae, z=latents: v.decode(z), copies=dtype == torch.bfloat16)
        yield f"SDXL's VAE decodes {batch}, {dtype}", events, 256 * SIDE**2 * latents.element_size()
        decodings[f"{batch}, {dtype}{', sliced' if slicing else ''}"] = events, 256 * SIDE**2 * latents.element_size()
    for name, config, side in (("SD 1.5", SD15, 64), ("SDXL", SDXL, 128)):
        unet = UNet2DConditionModel(**config).to(torch.bfloat16).eval()
        more = {"text_embeds": empty(2, 1280), "time_ids": empty(2, 6)} if name == "SDXL" else None
        text = empty(2, 77, config["cross_attention_dim"])
        events = traced(
            unet, lambda u=unet, s=side, t=text, m=more: u(empty(2, 4, s, s), empty(()), t, added_cond_kwargs=m)
        )
        yield f"UNet of {name}, in values for each place", events, 2.0 * 2 * side**2
        steps[name] = events
    sd3 = SD3Transformer2DModel(**SD3).to(torch.bfloat16).eval()
    tokens = latent**2 // 4
    events = traced(sd3, lambda: sd3(empty(1, 16, latent, latent), empty(1, 333, 4096), empty(1, 2048), empty(1)))
    yield "transformer of SD3", events, (tokens + 333) * 1536 * 2.0
    flux = FluxTransformer2DModel(guidance_embeds=True).to(torch.bfloat16).eval()
    inputs = {
        "hidden_states": empty(1, tokens, 64), "encoder_hidden_states": empty(1, 512, 4096), "timestep": empty(1),
        "pooled_projections": empty(1, 768), "guidance": empty(1), "txt_ids": empty(512, 3), "img_ids": empty(tokens, 3),
    }  # fmt: skip
    steps["FLUX.1"] = traced(flux, lambda: flux(**inputs))
    yield "transformer of FLUX.1", steps["FLUX.1"], (tokens + 512) * 3072 * 2.0
    for name in ("SDXL", "FLUX.1"):
        for how, (events, unit) in decodings.items():
            yield f"{name}: a step, then decoding {how}", one_after_the_other(steps[name], steps[name], events), unit


if __name__ == "__main__":
    functional.scaled_dot_product_attention = fused_attention
    print(f"{'':56}{'live GiB':>10}{'units':>10}{'least':>8}{'reserved':>10}")
    with torch.device("meta"):
        for name, events, unit in runs():
            whole = replayed(events)
            assert whole is not None
            shares = least_bytes(events) / whole.peak, whole.reserved / whole.peak
            print(f"{name:56}{whole.peak / GIB:10.3f}{whole.peak / unit:10.2f}{shares[0]:8.2f}{shares[1]:10.2f}")
