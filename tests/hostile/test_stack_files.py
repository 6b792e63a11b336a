"""Stack files and requirements documents that nobody should write: a plan, or an error that names the place."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.planner.plan import DeploymentPlan
from stacks.config import STACKS_DIRECTORY, load_yaml, stack_file, stack_names
from tests.hostile.cases import TEXTS, VALUES, Outcome, changed, counted, damaged, drawn, gpufleet

STACKS = {name: stack_file(name).read_bytes() for name in stack_names()}
"""The shipped files, as they are."""

FULL: dict[str, Any] = {
    "region": "us-east-1",
    "model": {
        "id": "Qwen/Qwen3-8B", "source": "hf://Qwen/Qwen3-8B@main", "parameters": "8.19B", "precision": "fp16",
        "tensorParallelism": 1, "pipelineParallelism": 1, "dataParallelism": 1, "lora": {"rank": 16, "resident": 2},
        "draft": {"id": "Qwen/Qwen3-0.6B"},
    },
    "serving": {
        "image": "vllm/vllm-openai:v0.19.0", "engineVersion": "0.19.0", "args": ["--enable-prefix-caching"],
        "environment": {"VLLM_LOGGING_LEVEL": "INFO"}, "port": 8000, "healthPath": "/health", "maxModelLen": 8192,
        "secrets": {"HF_TOKEN": "arn:aws:ssm:us-east-1:123456789012:parameter/hf-token"}, "maxNumSeqs": 16,
        "fullContexts": 1, "kvCacheDtype": "auto", "gpuMemoryUtilization": "90%", "minVcpu": 2, "minMemory": "8GiB",
        "memory": {"nonTorch": "0.25GiB", "outside": "1GiB"},
    },
    "instance": {
        "families": ["g6", "g5"], "exclude": ["p3dn"], "architecture": "x86_64", "maxPricePerHour": 6, "maxGpus": 4,
        "minZones": 1, "optimize": "cost", "ami": "latest", "onDemandBase": 1, "spotPercentage": 50,
        "capacityReservations": ["cr-0123456789abcdef0"],
    },
    "scaling": {
        "min": 1, "desired": 1, "max": 3, "minHealthy": 100, "stopOnAlarm": True, "gpuUtilization": 65,
        "cpuUtilization": "off", "latency": {"percentile": "p90", "target": "2s"},
    },
    "network": {
        "vpcId": "vpc-0123456789abcdef0", "subnetIds": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        "internal": True, "allowedCidrs": ["10.0.0.0/8"],
    },
    "timing": {"imagePull": "2m"},
    "protect": True,
    "tags": {"team": "search"},
}  # fmt: skip
"""Nearly every key that there is."""

YAML_PIECES = (
    *(text.encode("utf-8") for text in TEXTS if len(text) < 100),
    b"\n", b"  ", b"\t", b": ", b"- ", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"<<: *a\n", b"!!set ", b"!!python/object/apply:os.system ",
    b"!!binary ", b"--- ", b"...\n", b"%YAML 1.1\n", b"|\n", b">-\n", b"'", b'"', b"? ", b"#", b"\xff\xfe", b"\x00", b"\xef\xbb\xbf",
    b"[" * 100, b"{a: " * 100, b"  gpufleet:model:\n", b"  gpufleet:scaling: {min: 1, max: 2}\n", b"config:\n", b".nan", b"-.inf",
    b"9" * 500, b"0x" + b"f" * 5000, b"1:" * 300 + b"1", b"2020-01-01", b"secure: AAAB",
)  # fmt: skip


def check_answer(found: Outcome) -> None:
    """A plan is one that can be read back, with numbers that mean something; an error says where it is."""
    if not found.is_answer:
        assert len(found.stdout) + len(found.stderr) < 60_000
        return
    plan = DeploymentPlan.from_json(found.stdout)
    assert 0 < plan.memory.per_gpu.total_gib < 10_000
    assert plan.capacity.min <= plan.capacity.desired <= plan.capacity.max
    json.loads(found.stdout, parse_constant=pytest.fail)


def planned(path: Path, *options: str) -> Outcome:
    """The plan of a file, as JSON."""
    found = gpufleet("plan", "-f", str(path), "--format", "json", *options)
    check_answer(found)
    return found


def in_stack_directory(directory: Path, stack: str, raw: bytes) -> Path:
    """A stack file where the files that it names are found."""
    link = directory / "architectures"
    if not link.exists():
        link.symlink_to(STACKS_DIRECTORY / "architectures")
    path = directory / f"Pulumi.{stack}.yaml"
    path.write_bytes(raw)
    return path


@counted(3000)
def test_a_shipped_stack_file_with_other_bytes(tmp_path: Path, case: Random) -> None:
    stack = case.choice(list(STACKS))
    planned(in_stack_directory(tmp_path, stack, damaged(STACKS[stack], case, pieces=YAML_PIECES)))


@counted(800)
def test_a_shipped_stack_file_with_other_values(tmp_path: Path, case: Random) -> None:
    stack = case.choice(list(STACKS))
    document = changed(load_yaml(stack_file(stack)), case)
    text = yaml.safe_dump(
        document, allow_unicode=case.choice((True, False)), default_flow_style=case.choice((True, False))
    )
    path = in_stack_directory(tmp_path, stack, text.encode("utf-8", "surrogatepass"))
    if case.random() < 0.2:
        gpufleet("size", "-f", str(path), "--gpu", "L4")
    elif case.random() < 0.2:
        gpufleet("plan", "-f", str(path), "--explain")
    else:
        planned(path)


@counted(1200)
def test_a_document_of_all_keys_with_other_values(tmp_path: Path, case: Random) -> None:
    path = tmp_path / "requirements.json"
    path.write_text(json.dumps(changed(FULL, case)), encoding="utf-8")
    planned(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(VALUES),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=12) | st.sampled_from(list(FULL)), inner, max_size=4)
    ),
    max_leaves=12,
)


@drawn(500)
@given(st.dictionaries(st.sampled_from(list(FULL)), json_values, max_size=4))
def test_sections_that_hold_anything(tmp_path: Path, sections: dict[str, Any]) -> None:
    path = tmp_path / "requirements.json"
    path.write_text(json.dumps(FULL | sections), encoding="utf-8")
    planned(path)


@counted(30)
def test_every_line_of_a_batch_has_an_answer(tmp_path: Path, case: Random) -> None:
    """Fifty lines each, some of them no JSON."""
    lines = []
    for _ in range(50):
        line = json.dumps(changed(FULL, case)).encode()
        lines.append(
            damaged(line, case).replace(b"\n", b" ").replace(b"\r", b" ").strip() or b"{}"
            if case.random() < 0.5
            else line
        )
    path = tmp_path / "batch.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = gpufleet("size" if case.random() < 0.3 else "plan", "--batch", str(path), "--format", "jsonl")
    answers = [json.loads(line) for line in found.stdout.split("\n") if line]
    assert len(answers) == len(lines)
    for answer in answers:
        assert "error" not in answer or answer["error"]["message"]


BILLIONS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefghij", "bcdefghijk", strict=True)
)

ODD_FILES: dict[str, bytes] = {
    "nothing": b"",
    "spaces": b"   \n\n",
    "comments": b"# nothing\n",
    "a mark of byte order": b"\xef\xbb\xbf" + STACKS["dev-us-east-1"],
    "UTF-16": STACKS["dev-us-east-1"].decode().encode("utf-16"),
    "a program": b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 40,
    "zeros": bytes(100_000),
    "tabs": STACKS["dev-us-east-1"].replace(b"  ", b"\t"),
    "carriage returns": STACKS["dev-us-east-1"].replace(b"\n", b"\r\n"),
    "two documents": STACKS["dev-us-east-1"] + b"---\n" + STACKS["dev-us-east-1"],
    "a list": b"[1, 2]",
    "a text": b"hello",
    "a billion laughs": BILLIONS.encode() + b"config: {gpufleet:model: *k}\n",
    "a billion merged": BILLIONS.replace("[", "{<<: [").replace("]", "]}").replace("[x, x, x, x, x, x, x, x, x, x]", "{x: 1}").encode(),
    "a value that holds itself": b"config: &a\n  gpufleet:model: *a\n",
    "a key that holds itself": b"config: &a {*a : 1}\n",
    "a deep list": b"config: " + b"[" * 200_000,
    "a deep mapping": b"config: " + b"{a: " * 100_000,
    "deep blocks": b"".join(b" " * i + b"a:\n" for i in range(1500)),
    "a key that is a list": b"config: {[1, 2]: 3}\n",
    "a key that is a mapping": b"? {a: 1}\n: 2\n",
    "a key twice": b"config: {}\n" + STACKS["dev-us-east-1"],
    "a number without end": b"config: {aws:region: 0x" + b"f" * 100_000 + b"}\n",
    "sexagesimal": b"config: {aws:region: " + b"59:" * 3_000 + b"59}\n",
    "an object of Python": b"config: !!python/object/apply:os.system ['touch CANARY']\n",
    "a set": b"config: !!set {gpufleet:model, gpufleet:scaling}\n",
    "bytes": b"config: {gpufleet:model: !!binary eHh4}\n",
    "a date with a tag": b"config: {aws:region: !!timestamp soon}\n",
    "an empty number": b"config: {aws:region: !!int ''}\n",
    "no boolean": b"config: {aws:region: !!bool maybe}\n",
    "a mapping that is none": b"config: !!map [x]\n",
    "pairs": b"config: !!pairs [a: 1]\n",
    "half a surrogate": b'config: {aws:region: "\\ud800"}\n',
    "a very long line": b"config: {aws:region: " + b"x" * 3_000_000 + b"}\n",
    "very many keys": b"config:\n" + b"".join(b"  k%d: 1\n" % i for i in range(100_000)),
    "very large": b"# " + b"x" * (9 << 20),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_is_an_error_that_names_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = in_stack_directory(tmp_path, "dev-us-east-1", ODD_FILES[name])
    found = planned(path)
    assert found.is_answer == (name in ("a mark of byte order", "carriage returns")), found.stdout[:300]
    assert list(tmp_path.glob("CANARY")) == []
    if not found.is_answer:
        assert path.name in gpufleet("plan", "-f", str(path)).stderr


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_json_is_read_as_strictly_as_yaml(suffix: str, tmp_path: Path) -> None:
    """Both read JSON; a key that stands there twice is nobody's intention, and depth is bounded."""
    path = tmp_path / f"requirements.{suffix}"
    text = json.dumps(FULL)
    path.write_text(text, encoding="utf-8")
    assert planned(path).is_answer
    path.write_text(text.replace('"max": 3', '"max": 3, "max": 300'), encoding="utf-8")
    assert "max is written twice" in planned(path).stdout
    path.write_text(text.replace('"max": 3', '"max": ' + "[" * 900 + "]" * 900), encoding="utf-8")
    assert "levels deep" in planned(path).stdout


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/null", "/", "/proc/self/mem", "nowhere.yaml", "a\nb.yaml", "x" * 5000]
)
def test_what_is_no_file_of_text(path: str) -> None:
    assert planned(Path(path)).status == 1


@pytest.mark.parametrize("key", ["$(touch CANARY)", "a[b]", "[key]", "function-after[x]", "", "a.b", "\u202e"])
@pytest.mark.parametrize("section", ["", "model", "serving", "scaling"])
def test_an_unknown_key_is_named_whatever_it_looks_like(section: str, key: str, tmp_path: Path) -> None:
    document: dict[str, Any] = json.loads(json.dumps(FULL))
    (document[section] if section else document)[key] = 1
    path = tmp_path / "requirements.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    found = json.loads(planned(path).stdout)["error"]
    assert (found["message"], found["given"]) == ("unknown key", key)
    assert found["path"] == (f"{section}.{key}" if section else key)


def test_an_error_does_not_steer_the_terminal_that_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "requirements.json"
    path.write_text(json.dumps(FULL | {"\x1b]0;title\x07": 1, "region": "\x1b[2J\u202e"}), encoding="utf-8")
    said = gpufleet("plan", "-f", str(path)).stderr
    assert said.replace("\n", "").isprintable()
    assert "\\x1b[2J\\u202e" in said
