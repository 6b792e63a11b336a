"""HAProxy under load, while one replica crashes, one drains by its health path, and one is stopped as its unit stops it."""

from __future__ import annotations

import http.client
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import replica_process
from replica_process import answer_to
from sandbox import Instance
from template_plans import LOG_GROUP, STACK, make_plan
from test_proxy import HAPROXY, PATIENCE_SECONDS, free_port, needs_haproxy, on_loopback, until

from gpufleet.planner.plan import Proxy
from templates.render import instance_files, render_proxy_config

CLIENTS = 6


@dataclass
class Process:
    """A replica as a process that comes and goes on one port."""

    directory: Path
    port: int
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        program = [sys.executable, replica_process.__file__, str(self.port), str(self.directory)]
        self.running = subprocess.Popen(program)
        until(self.answers)

    def answers(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
            connection.request("GET", "/health")
            return bool(connection.getresponse().status)
        except OSError:
            return False

    def kill(self) -> None:
        if self.running:
            self.running.kill()
            self.running.wait()

    @property
    def taken(self) -> int:
        """How many requests it has taken so far."""
        path = self.directory / "taken"
        return path.read_text().count("\n") if path.exists() else 0

    def serves(self) -> None:
        """Wait until it gets requests."""
        before = self.taken
        until(lambda: self.taken > before)


@dataclass(frozen=True)
class Failure:
    """A request that was not answered whole, and when it was open."""

    path: str
    began: float
    ended: float
    reason: str


@dataclass
class Load:
    """Clients that ask without a pause, half of them for streams, and hold each answer to what it must be."""

    port: int
    failures: list[Failure] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=lambda: {"answer": 0, "stream": 0})
    numbers: Iterator[int] = field(default_factory=itertools.count)
    is_over: threading.Event = field(default_factory=threading.Event)

    def client(self, kind: str) -> None:
        while not self.is_over.is_set():
            path, began = f"/{kind}/{next(self.numbers)}", time.monotonic()
            reason = self.ask(path)
            if reason:
                self.failures.append(Failure(path, began, time.monotonic(), reason))
            else:
                self.answered[kind] += 1

    def ask(self, path: str) -> str:
        """Why the answer is not whole; empty where it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST", path, b"prompt")
            answer = connection.getresponse()
            body = answer.read()
            return "" if (answer.status, body) == (200, answer_to(path)) else f"{answer.status} {body!r}"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        clients = [
            threading.Thread(target=self.client, args=(kind,), daemon=True)
            for kind in itertools.islice(itertools.cycle(self.answered), CLIENTS)
        ]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self.is_over.set()
            for client in clients:
                client.join(PATIENCE_SECONDS)


@dataclass
class Fleet:
    """One instance: its replicas, the proxy before them, and the scripts of its units."""

    instance: Instance
    replicas: list[Process]
    port: int

    def stop(self, index: int) -> None:
        """What `systemctl stop` of the replica's unit runs; the stand-in of docker kills the process."""
        running = self.replicas[index].running
        assert running
        (self.instance.home / "pids").mkdir(exist_ok=True)
        (self.instance.home / "pids" / f"gpufleet-replica-{index}").write_text(str(running.pid))
        done = self.instance.script("stop", str(index))
        assert done.returncode == 0, done.stderr
        running.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Three replicas that answer, behind HAProxy as a plan configures it."""
    assert HAPROXY
    with ExitStack() as stack:
        replicas = [Process(tmp_path / f"replica-{number}", free_port()) for number in range(3)]
        for replica in replicas:
            stack.callback(replica.kill)
            replica.start()
        port = free_port()
        ports = tuple(replica.port for replica in replicas)
        plan = make_plan(replicas=3, server={"replica_ports": ports, "port": port})
        plan = plan.model_copy(update={"proxy": Proxy(image="haproxy:3.0.6", port=port)})
        instance = Instance(home=tmp_path, removed=frozenset({"sleep"}))
        instance.unpack(instance_files(plan, stack=STACK, log_group=LOG_GROUP))
        run = instance.root / "run/gpufleet"
        run.mkdir(parents=True)
        (instance.root / "var/log").mkdir(parents=True)
        config = tmp_path / "haproxy.cfg"
        config.write_text(on_loopback(render_proxy_config(plan), run))
        proxy = subprocess.Popen([HAPROXY, "-db", "-f", str(config)], cwd=run, stdout=subprocess.DEVNULL)
        stack.callback(proxy.wait, 10)
        stack.callback(proxy.kill)
        until(lambda: not Load(port).ask("/answer/first"))
        yield Fleet(instance, replicas, port)


def settled(count: Callable[[], int]) -> None:
    """Wait until a count stays as it is."""
    seen, since = count(), time.monotonic()
    deadline = since + PATIENCE_SECONDS
    while time.monotonic() - since < 1:
        assert time.monotonic() < deadline, "it never settled"
        time.sleep(0.1)
        if (now := count()) != seen:
            seen, since = now, time.monotonic()


@needs_haproxy
def test_no_request_is_lost_but_those_that_a_crashed_replica_had(fleet: Fleet) -> None:
    first, second, third = fleet.replicas
    load = Load(fleet.port)
    with load.running():
        for replica in fleet.replicas:
            replica.serves()

        (third.directory / "sick").touch()
        before = time.monotonic()
        second.kill()
        after = time.monotonic()
        time.sleep(0.5)
        second.start()
        second.serves()
        settled(lambda: third.taken)
        (third.directory / "sick").unlink()
        third.serves()

        fleet.stop(0)
        at_the_end = first.taken
        time.sleep(0.5)
        assert first.taken == at_the_end
        first.start()
        first.serves()

    lost = [failure for failure in load.failures if failure.began > after or failure.ended < before]
    assert not lost, "only what was open when the replica crashed may be lost"
    assert len(load.failures) <= CLIENTS
    assert all(answered > CLIENTS for answered in load.answered.values()), "this was a load"


@needs_haproxy
def test_a_replica_that_is_stopped_finishes_its_streams_first(fleet: Fleet) -> None:
    load = Load(fleet.port)
    with load.running():
        for index, replica in enumerate(fleet.replicas):
            replica.serves()
            fleet.stop(index)
            replica.start()
            replica.serves()
    assert not load.failures
    assert [call[-1] for call in fleet.instance.calls("docker", "stop")] == [f"gpufleet-replica-{i}" for i in range(3)]
