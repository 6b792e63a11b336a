"""The server of a diffusion pipeline: the user's own image, built on diffusers.

Owns what can be said of an image that we know nothing of. No argument, variable or path is given to it by us.
"""

from __future__ import annotations

from types import MappingProxyType

from gpufleet.planner.engines import Engine

DIFFUSERS = Engine(
    name="diffusers",
    default_version="",
    image="",
    # PyTorch with its CUDA libraries, diffusers and transformers take 5.5 GB installed; a CUDA base image comes below.
    image_bytes=10e9,
    laws=(),
    batch_rules=(),
    made_at_load=MappingProxyType({}),
    cache_types=MappingProxyType({}),
    block_tokens=1,
    # Nothing bounds what PyTorch takes. 5% for what the laws are off by, and for drivers that report more than they give.
    utilization_defaults=(((0,), 0.95),),
    encoder_decoders={},
    keep_alive_variable="",
)
