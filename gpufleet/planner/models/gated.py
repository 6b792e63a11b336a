"""Which models can be downloaded only with a token of an account that accepted their terms.

Owns the table. A model that is not in it may still be gated: the table holds what is known for sure.
"""

from __future__ import annotations

_GATED = (
    "meta-llama/*",
    "google/gemma-2b*", "google/gemma-7b*", "google/gemma-1.1-*", "google/gemma-2-*", "google/gemma-3-*",
    "google/gemma-3n-*", "google/codegemma-*", "google/recurrentgemma-*", "google/paligemma*", "google/shieldgemma-*",
    "coherelabs/c4ai-*", "cohereforai/c4ai-*", "coherelabs/aya-*", "cohereforai/aya-*", "coherelabs/command-*",
    "mistralai/mistral-7b-v0.1", "mistralai/mistral-7b-v0.3", "mistralai/mistral-7b-instruct-v0.*",
    "mistralai/mixtral-8x7b-*", "mistralai/mixtral-8x22b-*", "mistralai/mistral-large-*", "mistralai/ministral-8b-*",
    "mistralai/codestral-22b-*", "mistralai/mistral-nemo-*",
    "black-forest-labs/flux.1-dev", "black-forest-labs/flux.1-fill-dev", "black-forest-labs/flux.1-canny-dev",
    "black-forest-labs/flux.1-depth-dev", "black-forest-labs/flux.1-redux-dev", "black-forest-labs/flux.1-kontext-dev",
    "stabilityai/stable-diffusion-3*", "stabilityai/stablelm-2-12b*",
    "tiiuae/falcon-180b*", "databricks/dbrx-*", "bigcode/starcoder", "bigcode/starcoderbase*",
)  # fmt: skip
"""Ids in lower case; a `*` at the end stands for any ending."""


def is_gated(model_id: str) -> bool:
    """Whether Hugging Face serves this model's files only with a token."""
    folded = model_id.casefold()
    return any(folded.startswith(p[:-1]) if p.endswith("*") else folded == p for p in _GATED)
