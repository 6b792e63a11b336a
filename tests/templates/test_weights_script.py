"""weights.sh with the real curl against a Hub on loopback, and against stand-ins of S3."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sandbox import COMMIT, UNWANTED, WEIGHTS, Instance, hub_listing
from template_plans import LOG_GROUP, STACK, make_plan

from templates.render import instance_files

TOKEN = 'hf_"secret\\token'
REVISION = "v1.0"


@dataclass
class Behaviour:
    """What the Hub does wrong, and what it saw."""

    files: dict[str, bytes] = field(default_factory=lambda: WEIGHTS | UNWANTED)
    served: dict[str, bytes] = field(default_factory=dict)
    """Content instead of what the listing says."""
    breaks: dict[str, int] = field(default_factory=dict)
    """How often a file's connection ends in the middle."""
    pauses_seconds: dict[str, float] = field(default_factory=dict)
    """How long a file's connection is silent in the middle."""
    missing: set[str] = field(default_factory=set)
    token: str | None = None
    """What it asks for; None: the model is open to all."""
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    """Paths, with the range that was asked for."""
    commands: list[str] = field(default_factory=list)
    """Command lines of the machine during a transfer."""


class Hub(ThreadingHTTPServer):
    """Hugging Face's API and its files."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        asked, behaviour = urlsplit(self.path), self.server.behaviour
        behaviour.seen.append((asked.path, self.headers["Range"]))
        behaviour.commands += command_lines()
        if behaviour.token is not None and self.headers["Authorization"] != f"Bearer {behaviour.token}":
            self.send_error(401)
        elif asked.path == f"/api/models/Qwen/Qwen3-8B/revision/{REVISION}" and asked.query == "blobs=true":
            self._answer(json.dumps(hub_listing(behaviour.files)).encode())
        elif asked.path.startswith(start := f"/Qwen/Qwen3-8B/resolve/{COMMIT}/"):
            self._file(asked.path.removeprefix(start))
        else:
            self.send_error(404)

    def _file(self, name: str) -> None:
        behaviour = self.server.behaviour
        if name in behaviour.missing:
            self.send_error(404)
            return
        content = (behaviour.files | behaviour.served)[name]
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        breaks = behaviour.breaks.get(name, 0)
        behaviour.breaks[name] = max(0, breaks - 1)
        pause = behaviour.pauses_seconds.get(name, 0.0)
        self._answer(content[start:], start=start, upto=(len(content) - start) // 2 if breaks else None, pause=pause)

    def _answer(self, content: bytes, *, start: int = 0, upto: int | None = None, pause: float = 0) -> None:
        self.send_response(206 if start else 200)
        if start:
            end = start + len(content)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: upto if upto is not None else len(content) // 2])
        if upto is None:
            time.sleep(pause)
            self.wfile.write(content[len(content) // 2 :])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read what it saw."""


def command_lines() -> list[str]:
    """The arguments of every process, as anybody on the machine sees them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue  # it has ended
    return found


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    with Hub(behaviour) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{hub.server_address[1]}"
        hub.shutdown()


def prepared(home: Path, *, source: str, hub: str = "", token: str = "") -> Instance:
    """An instance that has come as far as fetching; its curl is the machine's own."""
    server = {"environment": {"HF_ENDPOINT": hub}} if hub else {}
    plan = make_plan(source=source, server=server)
    instance = Instance(home=home, removed=frozenset({"curl"}) if hub else frozenset())
    instance.unpack(instance_files(plan, stack=STACK, log_group=LOG_GROUP))
    (instance.root / "etc/gpufleet/instance.env").write_text(f"MODELS={home}/models\n")
    for directory in ("run/gpufleet", "var/log"):
        (instance.root / directory).mkdir(parents=True)
    if token:
        (instance.root / "run/gpufleet/secrets.env").write_text(f"OTHER=x\nHF_TOKEN={token}\n")
    return instance


def snapshot(instance: Instance) -> dict[str, bytes]:
    directory = instance.home / "models/huggingface/hub/models--Qwen--Qwen3-8B/snapshots" / COMMIT
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.exists() else {}


def fetch(instance: Instance, address: str = f"hf://Qwen/Qwen3-8B@{REVISION}") -> int:
    return instance.script("weights", address).returncode


def test_what_a_server_needs_is_fetched_and_nothing_else(tmp_path: Path) -> None:
    behaviour = Behaviour()
    with serving(behaviour) as hub:
        instance = prepared(tmp_path, source=f"hf://Qwen/Qwen3-8B@{REVISION}", hub=hub)
        assert fetch(instance) == 0, instance.log()
        assert snapshot(instance) == WEIGHTS
        cache = tmp_path / "models/huggingface/hub/models--Qwen--Qwen3-8B"
        assert {(cache / "refs" / name).read_text() for name in ("main", REVISION)} == {COMMIT}
        asked = len(behaviour.seen)
        assert fetch(instance) == 0
        assert len(behaviour.seen) == asked, "what is whole is not asked for again, not even whether it is"
        next(iter((cache / "snapshots" / COMMIT).glob("*.safetensors"))).unlink()
        assert fetch(instance) == 0
        assert len(behaviour.seen) == asked + 1
    assert snapshot(instance) == WEIGHTS


def test_a_transfer_that_breaks_goes_on_where_it_ended(tmp_path: Path) -> None:
    name = "model-00001-of-00002.safetensors"
    behaviour = Behaviour(breaks={name: 2})
    with serving(behaviour) as hub:
        instance = prepared(tmp_path, source="hf://Qwen/Qwen3-8B", hub=hub)
        assert fetch(instance) == 0, instance.log()
    assert snapshot(instance) == WEIGHTS
    half = len(WEIGHTS[name]) // 2
    quarter = half + (len(WEIGHTS[name]) - half) // 2
    ranges = [asked for path, asked in behaviour.seen if path.endswith(name)]
    assert ranges == [None, f"bytes={half}-", f"bytes={quarter}-"]


def test_slow_transfers_go_on_side_by_side(tmp_path: Path) -> None:
    pauses = dict.fromkeys(WEIGHTS, 2.0)
    with serving(Behaviour(pauses_seconds=pauses)) as hub:
        instance = prepared(tmp_path, source="hf://Qwen/Qwen3-8B", hub=hub)
        started = time.monotonic()
        assert fetch(instance) == 0, instance.log()
    assert snapshot(instance) == WEIGHTS
    assert time.monotonic() - started < sum(pauses.values())


@pytest.mark.parametrize(
    ("name", "served", "message"),
    [
        ("model-00001-of-00002.safetensors", b"FIRST half " * 100, "has the digest"),
        ("config.json", b"[]", "has the digest"),
        ("tokenizer.json", b"{}", "has 2 bytes instead of"),
    ],
    ids=["large", "small", "short"],
)
def test_a_file_that_is_not_what_the_hub_lists_is_not_served(
    tmp_path: Path, name: str, served: bytes, message: str
) -> None:
    with serving(Behaviour(served={name: served})) as hub:
        instance = prepared(tmp_path, source="hf://Qwen/Qwen3-8B", hub=hub)
        assert fetch(instance) != 0
    assert message in instance.log()
    assert f"error: {name} cannot be fetched whole" in instance.log()
    assert name not in snapshot(instance)


def test_a_missing_file_fails_the_boot(tmp_path: Path) -> None:
    with serving(Behaviour(missing={"config.json"})) as hub:
        instance = prepared(tmp_path, source="hf://Qwen/Qwen3-8B", hub=hub)
        assert fetch(instance) != 0
    assert "error: config.json cannot be fetched whole" in instance.log()


@pytest.mark.parametrize("token", ["", "hf_of_somebody_else"])
def test_a_gated_model_without_its_token_says_what_is_needed(tmp_path: Path, token: str) -> None:
    with serving(Behaviour(token=TOKEN)) as hub:
        instance = prepared(tmp_path, source="hf://Qwen/Qwen3-8B", hub=hub, token=token)
        assert fetch(instance) != 0
    assert "a gated model needs HF_TOKEN" in instance.log()


def test_the_token_is_used_and_never_shown(tmp_path: Path) -> None:
    behaviour = Behaviour(token=TOKEN)
    with serving(behaviour) as hub:
        instance = prepared(tmp_path, source="hf://Qwen/Qwen3-8B", hub=hub, token=TOKEN)
        done = instance.script("weights", f"hf://Qwen/Qwen3-8B@{REVISION}")
        assert done.returncode == 0, instance.log()
    assert snapshot(instance) == WEIGHTS
    assert any("--config" in line for line in behaviour.commands), "the transfers were seen"
    assert not [line for line in behaviour.commands if "secret" in line and "curl" in line]
    assert "secret" not in instance.log() + done.stdout + done.stderr


def test_a_repository_without_safetensors_gives_what_it_has(tmp_path: Path) -> None:
    files = {"pytorch_model.bin": b"weights" * 50, "config.json": b"{}", "original.pth": b"x"}
    with serving(Behaviour(files=files)) as hub:
        instance = prepared(tmp_path, source="hf://Qwen/Qwen3-8B", hub=hub)
        assert fetch(instance) == 0, instance.log()
    assert set(snapshot(instance)) == {"pytorch_model.bin", "config.json"}


def test_a_repository_without_weights_is_refused(tmp_path: Path) -> None:
    with serving(Behaviour(files={"config.json": b"{}"})) as hub:
        instance = prepared(tmp_path, source="hf://Qwen/Qwen3-8B", hub=hub)
        assert fetch(instance) != 0
    assert "holds no weights" in instance.log()


HASHED = "model-00001-of-00002.safetensors"
ETAG = '"0123456789abcdef0123456789abcdef"'
SHA256 = "cHnodY4T0A0AXBKSyKrHpaAjUSwlgjzO6SKgDSaYAaU="


@pytest.mark.parametrize(
    ("head", "is_taken"),
    [
        (f"None None None {ETAG}", False),
        (f"None None AES256 {ETAG}", False),
        (f"FULL_OBJECT {SHA256} aws:kms {ETAG}", False),
        (f"None None aws:kms {ETAG}", True),
        (f"COMPOSITE {SHA256}-3 AES256 {ETAG[:-1]}-3{ETAG[-1]}", True),
    ],
    ids=["MD5", "MD5, AES", "SHA-256", "no MD5 under KMS", "of parts"],
)
def test_an_object_is_held_to_the_digest_that_s3_has_of_it(tmp_path: Path, head: str, is_taken: bool) -> None:
    instance = prepared(tmp_path, source="s3://weights/qwen3-8b/")
    instance.run("true")  # the stand-ins are there
    (tmp_path / "store/heads/qwen3-8b" / HASHED).write_text(head.replace(" ", "\t") + "\n")
    assert (fetch(instance, "s3://weights/qwen3-8b/") == 0) == is_taken, instance.log()
    held = tmp_path / "models/Qwen/Qwen3-8B"
    assert (held / HASHED).exists() == is_taken
    assert is_taken == ("cannot be fetched whole" not in instance.log())


def test_an_object_of_another_size_is_not_taken(tmp_path: Path) -> None:
    instance = prepared(tmp_path, source="s3://weights/qwen3-8b/")
    instance.run("true")
    (tmp_path / "store/qwen3-8b/config.json").write_bytes(b"{} ")
    assert fetch(instance, "s3://weights/qwen3-8b/") != 0
    assert "has 3 bytes instead of 2" in instance.log()
