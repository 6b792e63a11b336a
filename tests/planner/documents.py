"""Small requirements documents for the planner's tests."""

from __future__ import annotations

from typing import Any

from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.facts import AccountFacts
from gpufleet.planner.plan import DeploymentPlan
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def document(**sections: Any) -> dict[str, Any]:
    """An 8B model in FP16 in us-east-1; sections given here are merged over it, or replace what is no mapping."""
    base: dict[str, Any] = {
        "region": "us-east-1",
        "model": {"id": "example/Llama-8B", "architecture": LLAMA_8B, "precision": "fp16"},
        "serving": {"maxNumSeqs": 16},
        "scaling": {"min": 1, "max": 2},
    }
    for name, value in sections.items():
        base[name] = {**base.get(name, {}), **value} if isinstance(value, dict) else value
    return base


def plan(facts: AccountFacts | None = None, **sections: Any) -> DeploymentPlan:
    """The plan of `document(**sections)`."""
    return plan_deployment(parse_requirements(document(**sections)), load_catalog(), facts)
