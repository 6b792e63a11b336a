"""A running emulator for tests: on a free port of loopback, a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

PROJECT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get_json(url: str | urllib.request.Request) -> Any:
    """The JSON at a URL on loopback."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as response:
        return json.load(response)


def isolated_environment(**more: str) -> dict[str, str]:
    """The caller's environment without AWS or Pulumi settings of theirs, except where the engine is installed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PULUMI_")) or k == "PULUMI_HOME"}
    return kept | {"PULUMI_SKIP_UPDATE_CHECK": "true"} | more


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator, as the tests look at it."""

    endpoint: str

    def client(self, service: str, region: str) -> Any:
        """A boto3 client that talks to the emulator only."""
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def control(self, method: str, name: str, document: Any = None) -> Any:
        """The answer to a request below the emulator's private prefix."""
        body = None if document is None else json.dumps(document).encode()
        return get_json(urllib.request.Request(f"{self.endpoint}/_gpufleet/{name}", data=body, method=method))

    def resources(self, region: str) -> dict[str, list[str]]:
        """What exists in a region, by kind."""
        found: dict[str, dict[str, list[str]]] = self.control("GET", "resources")["resources"]
        return found.get(region, {})


@contextlib.contextmanager
def running_emulator(log: Path, port: int | None = None) -> Iterator[Emulator]:
    """The emulator as a process of its own, stopped at the end."""
    port = port or free_port()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gpufleet.emulator", "--port", str(port)],
            cwd=PROJECT,
            env=isolated_environment(),
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}", process, log)
        yield Emulator(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(30)


def wait_until_up(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the emulator's first answer; fail with its log when it ends instead."""
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            get_json(f"{endpoint}/_gpufleet/health")
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the emulator did not answer: {log.read_text()}")
