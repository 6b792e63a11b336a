"""stacks/stack.schema.json and the parser agree: what the parser takes is valid, and the usual mistakes are not."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, validators
from pydantic import ValidationError

from gpufleet.configuration.keys import all_keys
from gpufleet.planner import units
from gpufleet.planner.catalog import load_catalog
from gpufleet.planner.errors import RequirementError
from gpufleet.planner.planning import plan_deployment
from gpufleet.planner.requirements import Requirements, parse_requirements
from stacks.config import STACKS_DIRECTORY, load_yaml, stack_file, stack_names, to_document
from tests.configuration.documents import LEAST, check_later, of_examples, with_key
from tools.generate_configuration import schema_text

TEXT = (STACKS_DIRECTORY / "stack.schema.json").read_text(encoding="utf-8")
SCHEMA = json.loads(TEXT)
KEYS = {key.path: key for key in all_keys()}
CATALOG = load_catalog()


def javascript_pattern(validator, pattern, instance, schema):
    """JavaScript's letters and digits are ASCII; Python's are not."""
    if isinstance(instance, str) and not re.search(pattern, instance, re.ASCII):
        yield from Draft7Validator.VALIDATORS["pattern"](validator, "(?!)", instance, schema)


Validator = validators.extend(Draft7Validator, {"pattern": javascript_pattern})


def stack(document):
    """The stack file of a requirements document."""
    return {"config": {"aws:region" if k == "region" else f"gpufleet:{k}": v for k, v in document.items()}}


def mistakes(file):
    return [error.message for error in Validator(SCHEMA).iter_errors(file)]


def test_the_schema_is_what_the_generator_writes_and_is_a_schema():
    assert schema_text() == TEXT
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", stack_names())
def test_every_shipped_stack_is_valid_and_names_the_schema(name):
    assert mistakes(load_yaml(stack_file(name))) == []
    first_line = stack_file(name).read_text(encoding="utf-8").splitlines()[0]
    assert first_line == "# yaml-language-server: $schema=stack.schema.json"


def test_every_key_completes_with_its_words():
    config = SCHEMA["properties"]["config"]["properties"]
    for path, key in KEYS.items():
        section, *names = ("aws:region" if path == "region" else f"gpufleet:{path}").split(".")
        found = config[section]
        for name in names:
            found = found["properties"][name]
        assert found["description"] == key.description
        assert found["examples"] == [key.example]
        assert found.get("default") == key.default


def test_names_complete_from_the_catalogue_and_the_known_models():
    config = SCHEMA["properties"]["config"]["properties"]
    instance = config["gpufleet:instance"]["properties"]
    assert config["aws:region"]["enum"] == list(CATALOG.regions)
    assert "Qwen/Qwen3-8B" in config["gpufleet:model"]["properties"]["id"]["anyOf"][1]["enum"]
    assert set(CATALOG.type_names) == {name for name in instance["type"]["enum"] if name}
    assert instance["families"]["items"]["enum"] == list(CATALOG.families)
    assert set(instance["exclude"]["items"]["enum"]) == {*CATALOG.families, *CATALOG.type_names}


# What the parser takes ------------------------------------------------------------------------------------------------

SPACES = st.sampled_from(["", "", " ", "  ", "\t"])


def spelled(word):
    """The word in any case, with spaces around it."""
    cased = st.integers(0, 2**32).map(
        lambda seed: "".join(random.Random(seed).choice((c.lower(), c.upper())) for c in word)
    )
    return st.tuples(SPACES, cased, SPACES).map("".join)


def number_texts(low, high):
    """Numbers as text, in every form that a number may have."""
    whole = st.integers(int(low), int(high))
    forms = ("{}", "{:,}", "{:_}", "+{}", "{}.", "{}.0", "{:e}", "{:.3f}", " {}\t")
    return st.one_of(
        st.tuples(whole, st.sampled_from(forms)).map(lambda drawn: drawn[1].format(drawn[0])),
        st.tuples(st.floats(low, high), st.sampled_from(("{:.3f}", "{:e}", "{:f}"))).map(lambda d: d[1].format(d[0])),
        st.integers(1, 999).map(".{}".format),
    )


def numbers(kind):
    """What a person may write where a number goes: bare, as text, and with any unit."""
    written, within = kind.written, kind.within
    low = within.low if within else written.minimum or 0
    high = (within.high if within else written.maximum) or 10**7
    with_unit = st.tuples(number_texts(0, 100), SPACES, st.sampled_from(written.units).flatmap(spelled)).map("".join)
    return [st.integers(int(low), int(high)), st.floats(low, high), number_texts(low, high), with_unit]


def values_of(kind, path):
    """Values of a kind in many spellings, most of which the parser takes."""
    closed = {"region": CATALOG.regions, "instance.type": CATALOG.type_names, "instance.families": CATALOG.families,
              "instance.exclude": (*CATALOG.families, *CATALOG.type_names)}.get(path)  # fmt: skip
    if kind.members and kind.names:
        return st.dictionaries(values_of(kind.names, ""), values_of(kind.members, ""), max_size=2)
    if kind.members:
        return st.lists(values_of(kind.members, path), max_size=2)
    if kind.section:
        return st.fixed_dictionaries({}, optional={
            key.path.rpartition(".")[2]: values_of(key.kind, key.path) for key in KEYS.values()
            if key.path.startswith(f"{path}.")})  # fmt: skip
    if closed:
        return st.sampled_from(closed)
    written = kind.written
    forms = [st.sampled_from(kind.choices)] if kind.choices else []
    forms += [st.none()] if kind.nullable else []
    if written and written.units:
        forms += numbers(kind)
    if written:
        forms += [spelled(word) for word in (*kind.choices, *written.words)]
        forms += [st.sampled_from(written.others)] if written.others else []
    if kind.matching and path != "scaling.latency.percentile":
        forms.append(st.from_regex(re.compile(kind.matching.pattern, kind.matching.flags), fullmatch=True))
    return st.one_of(forms + OTHER_FORMS.get(path, []))


OTHER_FORMS = {
    "model.architecture": [st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)],
    "instance.maxPricePerHour": [st.tuples(SPACES, st.sampled_from(["$", "$ ", ""]), number_texts(0, 50), SPACES,
                                  st.sampled_from(["usd", "USD", ""])).map("".join)],
    "scaling.latency.percentile": [spelled("p90"), spelled("P99.95"), st.integers(1, 99).map("p{}".format)],
    "network.allowedCidrs": [st.sampled_from(["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3", "10.0.0.0/255.0.0.0", "10.0.0.0/08"])],
}  # fmt: skip


@pytest.mark.parametrize("path", KEYS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_a_value_that_the_parser_takes_is_valid(path, data):
    base = {**LEAST, "scaling": {"min": 1, "max": 2, "latency": {"target": 1}}} if "latency." in path else LEAST
    document = with_key(base, path, data.draw(values_of(KEYS[path].kind, path)))
    assume(is_taken(document))
    assert mistakes(stack(document)) == []


@pytest.mark.parametrize(
    ("path", "scale", "base_units"),
    [
        ("model.parameters", units.COUNT_UNITS, 1e10),
        ("serving.minMemory", units.BYTE_UNITS, 8 * units.GIB),
        ("scaling.latency.target", units.SECOND_UNITS, 2),
    ],
)
def test_every_unit_is_valid_in_any_case(path, scale, base_units):
    for unit, factor in scale.items():
        for spelling in (unit, unit.upper(), unit.title(), f" {unit}"):
            document = with_key(LEAST, path, f"{base_units / factor:f}{spelling}")
            assert is_taken(document), document
            assert mistakes(stack(document)) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_a_document_that_the_parser_takes_is_valid(data):
    """Several keys at once, and sections with nothing in them."""
    document = LEAST
    for path in data.draw(st.lists(st.sampled_from([p for p in KEYS if "latency." not in p]), max_size=8, unique=True)):
        document = with_key(document, path, data.draw(values_of(KEYS[path].kind, path)))
    for name in ("serving", "instance", "network", "tags"):
        if name not in document and data.draw(st.booleans()):
            document = {**document, name: None}
    if is_taken(document):
        assert mistakes(stack(document)) == []


def is_taken(document):
    """Whether every key is taken by itself; rules between keys are no matter of a schema."""
    nulls = {name: {} for name, value in document.items() if value is None}
    try:
        check_later(Requirements.model_validate({**document, **nulls}))
    except (ValidationError, RequirementError):
        return False
    return True


def test_every_example_and_other_peoples_keys_are_valid():
    file = stack(of_examples())
    assert mistakes(file) == []
    file["config"] |= {
        "aws:profile": "x",
        "aws:defaultTags": {"tags": {}},
        "pulumi:tags": {},
        "other:key": {"secure": "A"},
    }
    pulumis = {"encryptionsalt": "v1:x", "secretsprovider": "awskms://x", "encryptedkey": "x", "environment": ["dev"]}
    assert mistakes(file | pulumis) == []


# What neither takes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.id", "a b"), ("model.id", "Qwеn/Qwen3-8B"), ("model.id", 5), ("model.id", None),
        ("model.source", "http://x"), ("model.parameters", 8), ("model.parameters", "8GiB"), ("model.parameters", True),
        ("model.architecture", 4096), ("model.precision", "fp12"), ("model.precision", 16),
        ("model.tensorParallelism", 0), ("model.tensorParallelism", "all"), ("model.tensorParallelism", 1.5),
        ("model.size", "8B"), ("serving.engine", "tgi"), ("serving.engineVersion", 0.19),
        ("serving.image", "vllm openai"), ("serving.args", "--x"), ("serving.args", ["a\nb"]), ("serving.args", [True]),
        ("serving.environment", {"A B": "x"}), ("serving.environment", {"A": None}), ("serving.environment", None),
        ("serving.secrets", {"HF_TOKEN": "hf_abc"}), ("serving.port", 0), ("serving.port", 65001), ("serving.port", True),
        ("serving.port", "http"), ("serving.port", None), ("serving.healthPath", "health"), ("serving.maxModelLen", 0),
        ("serving.max_model_len", 8192), ("serving.kvCacheDtype", "fp12"), ("serving.gpuMemoryUtilization", 90),
        ("serving.gpuMemoryUtilization", "0.9 of it"), ("serving.minVcpu", 0), ("serving.minMemory", 4),
        ("serving.minMemory", "4 gigs"), ("serving.minMemory", -1), ("instance.families", "g6"),
        ("instance.families", ["g6x"]), ("instance.exclude", ["g6.3xlarge"]), ("instance.type", "g6.3xlarge"),
        ("instance.architecture", "x86"), ("instance.maxPricePerHour", "3 EUR"), ("instance.maxPricePerHour", -1),
        ("instance.maxGpus", 0), ("instance.minZones", "two"), ("instance.optimize", "speed"), ("instance.ami", "newest"),
        ("instance.amiParameter", "a b"), ("instance.onDemandBase", -1), ("instance.spotPercentage", 0.5),
        ("instance.spotPercentage", 101), ("scaling.min", -1), ("scaling.min", 1.5), ("scaling.max", 0),
        ("scaling.max", None), ("scaling.desired", "one"), ("scaling.gpuUtilization", 0.7), ("scaling.gpuUtilization", True),
        ("scaling.gpuUtilization", "never"), ("scaling.cpuUtilization", 99), ("scaling.latency", {}),
        ("scaling.latency", {"target": 0}), ("scaling.latency", {"target": "2 parsecs"}),
        ("scaling.latency", {"target": 2, "percentile": "p101"}), ("scaling.latency", {"target": 2, "percentil": "p90"}),
        ("scaling.latency", "2s"), ("network.vpcId", "vpc-1"), ("network.subnetIds", ["subnet-x"]),
        ("network.subnetIds", "subnet-0123456789abcdef0"), ("network.internal", "maybe"), ("network.internal", 0),
        ("network.certificateArn", "arn:aws:s3:::x"), ("network.allowedCidrs", ["everybody"]), ("tags", {"AWS:x": "y"}),
        ("tags", {"a": None}), ("tags", ["a"]), ("region", "useast1"), ("region", None), ("model", {}), ("model", None),
        ("scaling", {"min": 1}), ("scaling", None), ("serving", []),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_by_both(path, value):
    document = with_key(LEAST, path, value)
    assert mistakes(stack(document)), "the schema takes it"
    with pytest.raises(RequirementError):
        plan_deployment(parse_requirements(document), CATALOG)


@pytest.mark.parametrize("key", ["gpufleet:modle", "gpufleet:", "gpufleet:config:model", "model", "region"])
def test_an_unknown_section_is_refused_by_both(key):
    config = {**stack(LEAST)["config"], key: {}}
    assert mistakes({"config": config})
    with pytest.raises(RequirementError):
        to_document(config, stack="dev-us-east-1", directory=STACKS_DIRECTORY)


@pytest.mark.parametrize("file", [{}, {"config": None}, {"config": []}, [], {"config": {"aws:region": "us-east-1"}}])
def test_a_file_without_configuration_is_refused(file):
    assert mistakes(file)


# Patterns -------------------------------------------------------------------------------------------------------------


def patterns(schema):
    if isinstance(schema, dict):
        yield from (schema["pattern"],) if isinstance(schema.get("pattern"), str) else ()
        yield from schema.get("patternProperties", ()) if isinstance(schema.get("patternProperties"), dict) else ()
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from patterns(inner)


def test_patterns_use_nothing_that_only_python_has():
    found = set(patterns(SCHEMA))
    assert len(found) > 15
    for pattern in found:
        assert re.findall(r"\(\?(?![:!=])", pattern) == [], pattern
        assert re.findall(r"\\[AZhHGKRX]|[*+?}]\+", re.sub(r"\[[^\]]*\]", "x", pattern)) == [], pattern
