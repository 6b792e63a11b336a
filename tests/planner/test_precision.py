"""Storage formats: bytes per parameter, and what hardware each needs."""

from __future__ import annotations

import pytest

from gpufleet.planner.precision import PRECISIONS, capability_note, capability_problem

T4, A10G, L4, H100, B200 = (7, 5), (8, 6), (8, 9), (9, 0), (10, 0)


@pytest.mark.parametrize(
    ("name", "linear", "kept"),
    [
        ("fp32", 4.0, 4.0),
        ("bf16", 2.0, 2.0),
        ("fp16", 2.0, 2.0),
        ("fp8", 1 + 4 / 16_384, 2.0),
        ("int8", 1.0, 2.0),
        ("int4", 0.5 + 2.0 / 128, 2.0),
        ("nvfp4", 0.5 + 1 / 16, 2.0),
    ],
)
def test_bytes_per_parameter(name: str, linear: float, kept: float) -> None:
    precision = PRECISIONS[name]
    assert precision.bytes_for("linear") == precision.bytes_for("expert") == pytest.approx(linear)
    for role in ("embedding", "head", "kept", "vision"):
        assert precision.bytes_for(role) == kept


def test_mxfp4_quantises_experts_only() -> None:
    assert PRECISIONS["mxfp4"].bytes_for("expert") == pytest.approx(4.25 / 8)
    assert PRECISIONS["mxfp4"].bytes_for("linear") == 2.0


def test_smaller_groups_cost_more_scales() -> None:
    int4 = PRECISIONS["int4"]
    assert int4.bytes_for("linear", group=32) > int4.bytes_for("linear", group=128) > int4.bytes_per_parameter


@pytest.mark.parametrize(
    ("name", "capability"),
    [("bf16", T4), ("mxfp4", T4), ("int8", B200), ("fp16", (6, 1)), ("int4", (7, 0))],
)
def test_what_a_card_cannot_do_is_said(name: str, capability: tuple[int, int]) -> None:
    problem = capability_problem(PRECISIONS[name], capability)
    assert problem is not None
    assert name in problem


@pytest.mark.parametrize(
    ("name", "capability"), [("fp16", T4), ("bf16", A10G), ("fp8", L4), ("int8", H100), ("int4", T4), ("nvfp4", B200)]
)
def test_what_a_card_can_do(name: str, capability: tuple[int, int]) -> None:
    assert capability_problem(PRECISIONS[name], capability) is None


def test_fp8_on_ampere_is_possible_and_noted() -> None:
    assert capability_problem(PRECISIONS["fp8"], A10G) is None
    assert "weight-only" in (capability_note(PRECISIONS["fp8"], A10G) or "")
    assert capability_note(PRECISIONS["fp8"], L4) is None
