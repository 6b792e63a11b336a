"""Notices of a plan: each hangs on a key, and doing what it says ends it."""

from __future__ import annotations

import pytest
from documents import LLAMA_8B, document, plan
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.configuration.keys import all_keys, section_keys
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import PlanningError, RequirementError
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import parse_requirements

PATHS = {key.path for key in (*all_keys(), *section_keys())}
SMALL = {**LLAMA_8B, "num_hidden_layers": 4}


def notices(**sections):
    return plan(**sections).notices


def merged(before, fix):
    sections = {name: value for name, value in before.items() if isinstance(value, dict)}
    return {**before, **{name: {**sections.get(name, {}), **fix.get(name, {})} for name in {*sections, *fix}}}


@pytest.mark.parametrize(
    ("sections", "says", "to_do", "fix"),
    [
        ({}, "MiB of weights", "serving.minMemory to 15GiB", {"serving": {"minMemory": "15GiB"}}),
        ({}, "may fall back as far as", "instance.maxPricePerHour", {"instance": {"maxPricePerHour": 1.5}}),
        (
            {"instance": {"families": ["g4dn", "g6"]}, "model": {"tensorParallelism": 1}},
            "g4dn was passed over",
            "remove g4dn",
            {"instance": {"families": ["g6"]}},
        ),
        (
            {"instance": {"families": ["g6e"]}},
            "times g6.xlarge",
            "name g6 first",
            {"instance": {"families": ["g6", "g6e"]}},
        ),
        (
            {"instance": {"type": "g6.2xlarge"}},
            "only type that this fleet can launch",
            "remove instance.type",
            {"instance": {"type": None}},
        ),
        (
            {"instance": {"type": "g6.12xlarge"}, "model": {"tensorParallelism": 4}, "scaling": {"min": 0}},
            "scaling.min is 0",
            "scaling.min to 1",
            {"scaling": {"min": 1}},
        ),
        (
            {"model": {"precision": None, "architecture": SMALL}, "instance": {"type": "g4dn.xlarge"}},
            "no bf16",
            "model.precision to fp16",
            {"model": {"precision": "fp16"}},
        ),
        (
            {"protect": True},
            "whoever's change comes first rolls the fleet",
            "gpufleet ami -s STACK --update",
            {"instance": {"ami": "ami-0123456789abcdef0"}},
        ),
        (
            {"instance": {"ami": "launch"}},
            "no preview shows a new AMI",
            "gpufleet ami -s STACK --update",
            {"instance": {"ami": "ami-0123456789abcdef0"}},
        ),
        (
            {"instance": {"capacityReservations": ["cr-0123456789abcdef0"]}},
            "for one type and zone",
            "instance.type",
            {"instance": {"type": "g6.xlarge"}},
        ),
        (
            {"model": {"precision": "fp8"}, "instance": {"families": ["g5"]}},
            "not native",
            "newer family",
            {"instance": {"families": ["g6"]}},
        ),
        (
            {"model": {"precision": "int8"}},
            "makes only",
            "checkpoint published in int8",
            {"model": {"architecture": {
                **LLAMA_8B, "quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128}}}},
        ),
        (
            {"model": {"precision": "fp16", "architecture": {
                **LLAMA_8B, "quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": 128}}}},
            "loads that as it is",
            "set model.precision to int8",
            {"model": {"precision": "int8"}},
        ),
    ],
)  # fmt: skip
def test_doing_what_a_notice_says_ends_it(sections, says, to_do, fix):
    (notice,) = [n for n in notices(**sections) if says in n.message]
    assert to_do in notice.next_step
    assert not [n for n in notices(**merged(sections, fix)) if says in n.message]


def test_warnings_and_refusals_are_the_notices_as_text():
    planned = plan(model={"precision": "int8"}, scaling={"min": 0})
    assert planned.warnings == tuple(f"{n.message}; {n.next_step}" for n in planned.notices)
    assert planned.refusals == planned.warnings[:1]
    assert [n.is_refusal for n in planned.notices] == [True, *[False] * (len(planned.notices) - 1)]
    (found,) = [n for n in planned.to_json_object()["notices"] if n["path"] == "scaling.min"]
    assert found["nextStep"] == "set scaling.min to 1"


@settings(max_examples=60)
@given(data=st.data())
def test_every_notice_names_a_key_and_a_way_out(data):
    draw = data.draw
    sections = {
        "region": draw(st.sampled_from(load_catalog().regions)),
        "model": {"precision": draw(st.sampled_from([None, "fp16", "fp8", "int8", "int4"])),
                  "tensorParallelism": draw(st.sampled_from(["auto", 2, 4]))},
        "instance": {"families": draw(st.lists(st.sampled_from(load_catalog().families), max_size=3, unique=True)),
                     "optimize": draw(st.sampled_from(["cost", "costPerReplica"]))},
        "scaling": {"min": draw(st.integers(0, 2))},
    }  # fmt: skip
    try:
        planned = plan_deployment(parse_requirements(document(**sections)), load_catalog())
    except PlanningError:
        return
    for notice in planned.notices:
        assert notice.path in PATHS
        assert len(notice.message) > 10
        assert len(notice.next_step) > 10
        assert not (notice.message + notice.next_step).endswith(".")
    assert len(set(planned.warnings)) == len(planned.warnings)


def test_problems_of_the_catalogue_and_of_the_model_are_told_together():
    with pytest.raises(RequirementError) as caught:
        plan(
            instance={"type": "g6.3xlarge", "families": ["g66"]},
            model={"id": "meta-llama/Llama-3.1-8B-Instruct", "tensorParallelism": 3},
        )
    assert [p.path for p in caught.value.problems] == [
        "instance.families.0",
        "instance.type",
        "serving.secrets.HF_TOKEN",
        "model.tensorParallelism",
    ]
