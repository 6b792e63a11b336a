"""HAProxy's configuration, checked and run by HAProxy itself, in front of small servers on loopback."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from template_plans import PLANS, make_plan

from gpufleet.planner.plan import DeploymentPlan, Proxy
from templates.render import render_proxy_config

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")

PATIENCE_SECONDS = 40.0


class Replica(ThreadingHTTPServer):
    """A server that says its number, is healthy or not, and holds a request open until it is let go.

    `/stream` answers in two parts, the second when it is let go; `/die` gets no answer.
    """

    daemon_threads = True

    def __init__(self, number: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.number = number
        self.healthy = True
        self.let_go = threading.Event()
        self.held = threading.Semaphore(0)
        self.received: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Replica

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        if self.path != "/health":
            self.server.received.append(self.path)
        if self.path == "/die":
            return
        if self.path == "/stream":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"first")
            self.server.let_go.wait(PATIENCE_SECONDS)
            self.wfile.write(b"last")
            return
        if self.path == "/hold":
            self.server.held.release()
            self.server.let_go.wait(PATIENCE_SECONDS)
        healthy = self.path != "/health" or self.server.healthy
        body = str(self.server.number).encode()
        self.send_response(200 if healthy else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read answers, not logs."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def get(port: int, path: str, body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("POST" if body else "GET", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def status(port: int) -> int:
    """The status of the health path; 0 while nobody listens."""
    try:
        return get(port, "/health")[0]
    except OSError:
        return 0


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "not reached in time"
        time.sleep(0.1)


@contextmanager
def fleet(directory: Path, *, healthy: tuple[bool, ...]) -> Iterator[tuple[int, list[Replica]]]:
    """HAProxy as a plan configures it, and its replicas; all are gone afterwards."""
    assert HAPROXY
    with ExitStack() as stack:
        replicas = [stack.enter_context(Replica(number)) for number in range(len(healthy))]
        for replica, is_healthy in zip(replicas, healthy, strict=True):
            replica.healthy = is_healthy
            threading.Thread(target=replica.serve_forever, daemon=True).start()
            stack.callback(replica.shutdown)
            stack.callback(replica.let_go.set)
        port = free_port()
        ports = tuple(int(replica.server_address[1]) for replica in replicas)
        plan = make_plan(replicas=len(replicas), server={"replica_ports": ports, "port": port})
        plan = plan.model_copy(update={"proxy": Proxy(image="haproxy:3.0.6", port=port)})
        config = directory / "haproxy.cfg"
        config.write_text(on_loopback(render_proxy_config(plan), directory))
        proxy = subprocess.Popen(
            [HAPROXY, "-db", "-f", str(config)],
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(proxy.wait, 10)
        stack.callback(proxy.kill)
        yield port, replicas


def on_loopback(config: str, directory: Path) -> str:
    """The configuration for a HAProxy that runs in a directory of a test; the path of a socket has at most 107 bytes."""
    (directory / "proxy").mkdir(exist_ok=True)
    return config.replace("bind :", "bind 127.0.0.1:").replace("/run/gpufleet/", "unix@proxy/")


def lines(plan: DeploymentPlan) -> list[str]:
    return [line.strip() for line in render_proxy_config(plan).splitlines()]


@needs_haproxy
@pytest.mark.parametrize("name", [name for name, plan in PLANS.items() if plan.proxy])
def test_haproxy_takes_the_configuration(name: str, tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(on_loopback(render_proxy_config(PLANS[name]), tmp_path))
    done = subprocess.run([str(HAPROXY), "-c", "-f", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"WARNING|ALERT", done.stderr)


def test_the_configuration_holds_the_plans_ports_and_times() -> None:
    plan = make_plan(replicas=3, health_path="/v1/ready", longest_request_seconds=444)
    found = lines(plan)
    assert f"bind :{plan.server.port}" in found
    assert "balance leastconn" in found
    assert "monitor-uri /v1/ready" in found
    assert "http-check send meth GET uri /v1/ready" in found
    servers = [line.split()[1:] for line in found if line.startswith("server ")]
    assert servers == [[f"replica-{i}", f"127.0.0.1:{port}"] for i, port in enumerate(plan.server.replica_ports)]
    times = dict(line.split()[1:] for line in found if line.startswith("timeout "))
    assert {times[name] for name in ("client", "server", "queue")} == {"444s"}


@pytest.fixture(scope="module")
def three_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, list[Replica]]]:
    """Three healthy replicas, which HAProxy has seen."""
    with fleet(tmp_path_factory.mktemp("proxy"), healthy=(True, True, True)) as (port, replicas):
        until(lambda: status(port) == 200)
        yield port, replicas


@pytest.fixture
def idle(three_up: tuple[int, list[Replica]]) -> tuple[int, list[Replica]]:
    """The same three, with nothing received and nothing let go."""
    for replica in three_up[1]:
        replica.let_go = threading.Event()
        replica.received.clear()
    return three_up


@needs_haproxy
def test_requests_go_to_the_replica_with_the_fewest_open_ones(idle: tuple[int, list[Replica]]) -> None:
    port, replicas = idle
    with ThreadPoolExecutor(6) as pool:
        held = [pool.submit(get, port, "/hold") for _ in range(6)]
        for replica in replicas:
            for _ in range(2):
                assert replica.held.acquire(timeout=PATIENCE_SECONDS), "two of six for each of three"
        replicas[1].let_go.set()
        until(lambda: sum(request.done() for request in held) == 2)
        assert {get(port, "/answer") for _ in range(6)} == {(200, "1")}
        for replica in replicas:
            replica.let_go.set()


@needs_haproxy
def test_an_answer_in_parts_is_passed_on_as_it_comes(idle: tuple[int, list[Replica]]) -> None:
    port, replicas = idle
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        assert answer.read(5) == b"first", "before the second part is there"
        for replica in replicas:
            replica.let_go.set()
        assert answer.read() == b"last"


@needs_haproxy
def test_a_request_that_a_replica_has_received_is_never_repeated(idle: tuple[int, list[Replica]]) -> None:
    port, replicas = idle
    assert get(port, "/die", b"prompt")[0] == 502
    assert [path for replica in replicas for path in replica.received] == ["/die"]


@needs_haproxy
def test_a_replica_that_is_gone_loses_no_request(tmp_path: Path) -> None:
    with fleet(tmp_path, healthy=(True, True)) as (port, replicas):
        until(lambda: status(port) == 200)
        replicas[0].shutdown()
        replicas[0].server_close()
        assert {get(port, "/answer", b"prompt") for _ in range(20)} == {(200, "1")}


@needs_haproxy
def test_the_instance_is_healthy_while_half_of_its_replicas_answer(tmp_path: Path) -> None:
    seen: list[int] = []

    def is_now(port: int, wanted: int) -> bool:
        seen.append(status(port))
        return seen[-1] == wanted

    with fleet(tmp_path, healthy=(False, False)) as (port, replicas):
        until(lambda: is_now(port, 503))
        waited_until = time.monotonic() + 10  # longer than the configuration's own start
        until(lambda: is_now(port, 200) or time.monotonic() > waited_until)
        assert 200 not in seen, "none answers"
        replicas[1].healthy = True
        until(lambda: is_now(port, 200))
        assert get(port, "/answer") == (200, "1"), "one that starts anew does not cost the other"
        replicas[1].healthy = False
        until(lambda: is_now(port, 503))
