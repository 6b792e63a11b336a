"""What is installed: locked with hashes, under licences of the list, and looked up for vulnerabilities."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt", "policies/requirements.txt")
HASH = "--hash=sha256:"


def entries(lock: str) -> list[str]:
    """The requirements of a lock file, each with its hashes."""
    text = (PROJECT / lock).read_text(encoding="utf-8")
    return [e for e in re.split(r"\n(?=[a-z0-9])", re.sub(r"(?m)^ *#.*\n", "", text)) if e.strip()]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_one_version_with_hashes_for_every_package(lock: str) -> None:
    assert len(entries(lock)) > 10
    for entry in entries(lock):
        assert re.match(r"[a-z0-9._-]+==\S+ \\\n", entry), entry
        assert HASH in entry, entry


def test_the_locks_have_what_the_project_asks_for() -> None:
    with (PROJECT / "pyproject.toml").open("rb") as file:
        asked = tomllib.load(file)["project"]["dependencies"]
    policies = (PROJECT / "policies/requirements.in").read_text(encoding="utf-8")
    for lock, pins in (
        ("requirements.txt", asked),
        ("requirements-dev.txt", asked),
        ("policies/requirements.txt", re.findall(r"(?m)^[^#\s]+", policies)),
    ):
        locked = {entry.split()[0] for entry in entries(lock)}
        assert {pin.lower() for pin in pins} <= locked


def test_nothing_is_installed_without_its_hash() -> None:
    installs = re.findall(r"\binstall (.*)", (PROJECT / "Makefile").read_text(encoding="utf-8"))
    assert len(installs) >= 4
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-deps --no-build-isolation --editable ." in arguments


# Licences


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[str], Path]:
    """An environment with one package of the given licence; its Python."""

    def make(licence: str) -> Path:
        venv.create(tmp_path / "env", with_pip=False)
        (packages,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
        directory = packages / "thing-1.0.dist-info"
        directory.mkdir()
        metadata = f"Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n{licence}\n"
        (directory / "METADATA").write_text(metadata, encoding="utf-8")
        (directory / "RECORD").write_text("", encoding="utf-8")
        return tmp_path / "env" / "bin" / "python"

    return make


def licences(python: Path | str) -> subprocess.CompletedProcess[str]:
    """As `make licenses` asks."""
    return subprocess.run(
        [Path(sys.prefix, "bin", "pip-licenses"), "--python", python, "--summary"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "AGPL-3.0-or-later", "LicenseRef-Commercial"])
def test_a_package_of_another_licence_fails(licence: str, environment: Callable[[str], Path]) -> None:
    done = licences(environment(f"License-Expression: {licence}"))
    assert done.returncode == 1
    assert f"license {licence} not in allow-only licenses" in done.stderr
    assert "thing" in done.stderr


def test_a_package_without_a_licence_fails(environment: Callable[[str], Path]) -> None:
    done = licences(environment("Summary: nothing said"))
    assert done.returncode == 1
    assert "UNKNOWN" in done.stderr


def test_a_package_of_a_licence_in_the_list_passes(environment: Callable[[str], Path]) -> None:
    assert licences(environment("License-Expression: Apache-2.0")).returncode == 0


def test_everything_installed_here_is_in_the_list() -> None:
    done = licences(sys.executable)
    assert done.returncode == 0, done.stderr


# Vulnerabilities, as an index on loopback knows them


class Index(http.server.BaseHTTPRequestHandler):
    """Answers as OSV does: one vulnerability in jinja2."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.server.known.get(asked["package"]["name"], [])  # type: ignore[attr-defined]
        body = json.dumps({"vulns": known} if known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the test's output."""


@contextmanager
def index(**known: list[dict[str, Any]]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        server.known = known  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


def audit(url: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"jinja2==3.1.6 {HASH}{'0' * 64}\nclick==8.5.1 {HASH}{'0' * 64}\n", encoding="utf-8")
    return subprocess.run(
        [sys.executable, PROJECT / "tools" / "audit.py", lock],
        env={
            **os.environ,
            "NO_PROXY": "127.0.0.1",
            "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
            "PIP_AUDIT_OSV_URL": url,
            "XDG_CACHE_HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
    )


def test_a_known_vulnerability_fails_and_says_what_to_do(tmp_path: Path) -> None:
    vulnerability = {
        "id": "GHSA-aaaa-bbbb-cccc",
        "published": "2026-01-01T00:00:00Z",
        "summary": "Escapes",
        "affected": [
            {
                "package": {"name": "jinja2", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.7"}]}],
            }
        ],
    }
    with index(jinja2=[vulnerability]) as url:
        done = audit(url, tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout == (
        "jinja2 3.1.6: GHSA-aaaa-bbbb-cccc, fixed in 3.1.7. Raise it in the lock (make lock), or leave it out.\n"
    )


def test_nothing_known_passes(tmp_path: Path) -> None:
    with index() as url:
        done = audit(url, tmp_path)
    assert (done.returncode, done.stdout) == (0, "2 packages: no vulnerability is known\n"), done.stderr


def test_an_index_that_does_not_answer_is_no_pass(tmp_path: Path) -> None:
    done = audit("http://127.0.0.1:1/v1/query", tmp_path)
    assert done.returncode == 3
    assert done.stdout.startswith("not audited: ")
