"""The text of a new stack file: what was asked for reads back, the rest is comments that work once they are none."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufleet.configuration.keys import all_keys
from gpufleet.configuration.new_stack import stack_file_text
from gpufleet.configuration.yaml_text import yaml_text
from gpufleet.planner.requirements import parse_requirements
from stacks.config import STACKS_DIRECTORY, read_stack_text
from tests.configuration.documents import with_key
from tests.configuration.test_schema import mistakes

DOCUMENT = {
    "region": "us-east-1",
    "model": {"id": "Qwen/Qwen3-8B"},
    "serving": {"image": "vllm/vllm-openai:v0.19.0", "maxModelLen": 4096},
    "scaling": {"min": 1, "max": 2, "latency": {"target": "2s"}},
    "tags": {"environment": "dev"},
}


def text_of(document, **settings):
    return stack_file_text(document, schema="stack.schema.json", **settings)


def read(text, stack="dev-us-east-1"):
    return read_stack_text(text, stack=stack, directory=STACKS_DIRECTORY)


def test_what_was_asked_for_reads_back_and_nothing_else():
    text = text_of(DOCUMENT)
    assert read(text) == DOCUMENT
    assert mistakes(yaml.safe_load(text)) == []
    assert text.startswith("# yaml-language-server: $schema=stack.schema.json\n")


def test_every_other_key_stands_there_behind_a_hash_with_its_default_or_its_example():
    text = text_of(DOCUMENT)
    for key in all_keys():
        shown = key.example if key.default is None else key.default
        if key.path.startswith(("model.pipeline.", "serving.diffusion.", "model.lora.", "model.draft.")):
            continue  # few models have them: their sections stand there whole, at their examples
        if key.path.startswith("serving.memory."):
            continue  # a section that is left out stands there as one line, with its own example
        if key.path == "region":
            assert "  aws:region: us-east-1" in text
        elif key.path == "protect":
            assert "  #gpufleet:protect: false\n" in text
        elif key.path == "tags":
            assert "    #team: search\n" in text
        elif f"\n    {key.name}:" not in text and f"\n      {key.name}:" not in text:
            assert f"#{key.name}: {yaml_text(shown)}\n" in text
        if f"#{key.name}:" in text:
            assert " ".join(key.description.split()) in " ".join(re.sub(r"\n\s+#(?= )", "", text).split())


def uncommented(text):
    return re.sub(r"^( +)#(?=[\w:]+:)", r"\1", text, flags=re.M)


def test_with_every_hash_taken_away_it_is_still_a_stack_file():
    text = uncommented(text_of(DOCUMENT))
    assert not re.search(r"^ +#\S", text, re.M)
    document = with_key(read(text), "model.architecture", {"hidden_size": 4096})
    del document["network"]["endpoints"]  # of a VPC that the program makes; the examples name another
    parse_requirements(document)
    assert len(document["serving"]) > 12
    assert {"network", "instance"} <= set(document)
    assert mistakes(yaml.safe_load(text)) == []


@pytest.mark.parametrize("line", re.findall(r"^ +#[\w:]+:.*$", text_of(DOCUMENT), re.M))
def test_each_hash_can_be_taken_away_alone_with_its_sections(line):
    """The key's own, and its section's; the file stays YAML with no key twice."""
    text = text_of(DOCUMENT)
    section = re.findall(r"^  #?gpufleet:\w+:$", text[: text.index(line)], re.M)[-1:]
    for hidden in (line, *section):
        text = text.replace(f"{hidden}\n", uncommented(f"{hidden}\n"), 1)
    assert read(text) != DOCUMENT or line.strip().startswith("#gpufleet")


def test_a_note_stands_over_its_key():
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/t"
    document = with_key(DOCUMENT, "serving.secrets", {"HF_TOKEN": arn})
    assert f"    # Why.\n    secrets: {{HF_TOKEN: {arn}}}\n" in text_of(document, notes={"serving.secrets": "Why."})


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["no", "null", "~", "true", "1e3", "0x1f", "1_000", "12:30:00", "2026-01-01", "- a", "a: b", "a #b", "a\nb: c",
         "'", '"', "{a: b}", "[a]", "&a", "*a", "!!python/object:os.system x", "%YAML", "---", "...", "?", "|", ">", "",
         " a", "a ", "\u2028", "\x85", "\x7f", "\U0001f600", "=", "<<", "a,b", "a]", "#", "x:", "0o14", ".inf", "1.", "08"]
    ),
)  # fmt: skip


@settings(max_examples=300)
@given(first=HOSTILE, second=HOSTILE)
def test_no_text_breaks_out(first, second):
    document = {
        **DOCUMENT,
        "model": {"id": first},
        "serving": {"args": [first, second], "environment": {first: second}},
        "tags": {first: second},
    }
    assert yaml.safe_load(text_of(document))["config"] == {
        "aws:region": "us-east-1",
        **{f"gpufleet:{name}": section for name, section in document.items() if name != "region"},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"), ("8.19B", "8.19B"), ("2s", "2s"), ("90%", "90%"), ("/health", "/health"),
        ("vllm/vllm-openai:v0.19.0", "vllm/vllm-openai:v0.19.0"), ("0.19.0", '"0.19.0"'), ("off", '"off"'), ("1e3", '"1e3"'),
        (True, "true"), (None, "null"), (0.9, "0.9"), ([1, "a"], "[1, a]"), ({"a": ["b: c"]}, '{a: ["b: c"]}'),
    ],
)  # fmt: skip
def test_quotes_stand_only_where_they_must(value, text):
    assert yaml_text(value) == text
    assert yaml.safe_load(text) == value
