"""The emulator's server: moto's dispatcher behind a private prefix of our own, on loopback only.

Owns the process and the paths below `/_gpufleet/`:
- `GET health`: `{"emulator": "gpufleet", "bootId", "pid"}`; the boot id is another one after each start.
- `GET resources`: `{"count", "resources"}`, see `inventory`.
- `GET calls`: `{"calls": [{"service", "action", "times"}]}`, the AWS actions asked for, see `calls`; `DELETE calls`.
- `GET faults`, `POST faults` (one fault as JSON, see `faults.Fault`), `DELETE faults`.
- `POST quotas` (vCPUs by code), `DELETE quotas`: what the account allows, see `quotas`.
- `POST standins`: what a stack file names and the empty account lacks, see `standins.Standins`.
Leaves AWS itself to moto and to the modules named after its services.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import ipaddress
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from gpufleet.emulator.calls import CALL, CALLS
from gpufleet.emulator.faults import DROPPED, FAULTS, Fault

PREFIX = "/_gpufleet/"
BOOT_ID = str(uuid4())

WSGIApp = Callable[[dict[str, Any], Any], Iterable[bytes]]
Answer = tuple[int, dict[str, Any]]


def build_app() -> WSGIApp:
    """Moto with our additions installed, as a WSGI application. To be called once per process."""
    os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from gpufleet.emulator import autoscaling, calls, ec2, faults, gaps, quotas, repeats, ssm

    for module in (ssm, ec2, autoscaling, quotas, repeats, faults, calls, gaps):
        module.install()
    return with_drops(one_at_a_time(with_control(DomainDispatcherApplication(create_backend_app))))


def one_at_a_time(app: WSGIApp) -> WSGIApp:
    """The application with one request answered after the other: moto's models are not made for threads, and a request
    that failed half-way is sent again by the SDK, which then finds its own half."""
    lock = threading.Lock()

    def locked(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with lock:
            return list(app(environ, start_response))

    return locked


def with_drops(app: WSGIApp) -> WSGIApp:
    """The application without the answers whose connection a fault drops; `main`'s handler then closes it."""

    def heard(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer = app(environ, start_response)
        if environ.get(DROPPED):
            raise ConnectionResetError("a fault drops the connection")
        return answer

    return heard


def with_control(aws: WSGIApp) -> WSGIApp:
    """The application with the private paths answered here and everything else passed on."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(PREFIX):
            return aws(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status, answer = control(environ["REQUEST_METHOD"], path.removeprefix(PREFIX), body)
        start_response(f"{status} -", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    return app


def control(method: str, name: str, body: bytes) -> Answer:
    """Answer one request below the prefix."""
    match method, name:
        case "GET", "health":
            return 200, {"emulator": "gpufleet", "bootId": BOOT_ID, "pid": os.getpid()}
        case "GET", "resources":
            from gpufleet.emulator.inventory import resources

            found = resources()
            count = sum(len(ids) for kinds in found.values() for ids in kinds.values())
            return 200, {"count": count, "resources": found}
        case "GET", "calls":
            return 200, {"calls": CALLS.made()}
        case "DELETE", "calls":
            CALLS.clear()
            return 200, {}
        case "GET", "faults":
            return 200, {"faults": [dataclasses.asdict(fault) for fault in FAULTS.pending()]}
        case "POST", "faults":
            try:
                FAULTS.add(Fault.from_json(json.loads(body)))
            except ValueError as error:
                return 400, {"error": str(error)}
            return 201, {}
        case "DELETE", "faults":
            FAULTS.clear()
            return 200, {}
        case "POST", "quotas":
            from gpufleet.emulator.quotas import set_quotas

            try:
                set_quotas(json.loads(body))
            except ValueError as error:
                return 400, {"error": str(error)}
            return 201, {}
        case "DELETE", "quotas":
            from gpufleet.emulator.quotas import QUOTAS

            QUOTAS.clear()
            return 200, {}
        case "POST", "standins":
            from gpufleet.emulator.standins import Standins

            try:
                Standins.from_json(json.loads(body)).make()
            except ValueError as error:
                return 400, {"error": str(error)}
            return 201, {}
    return 404, {"error": f"no {method} {PREFIX}{name}"}


def loopback(host: str) -> str:
    """The host if it is on loopback; anything else would offer an open, faked AWS to the network."""
    try:
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{host} is not a loopback address; use 127.0.0.1")


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m gpufleet.emulator", description="AWS on loopback, for tests.")
    parser.add_argument("--host", type=loopback, default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ["MOTO_PORT"] = str(arguments.port)

    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    class RequestHandler(MotoRequestHandler):
        """Moto's, which says what was asked for, and closes a connection that a fault drops instead of waiting for its
        next request."""

        # Head and body go in one piece. The SDK for Go closes a request's body as soon as the answer's head is there; when
        # its transport still holds that body, it drops the connection, and what it has not read of the answer is lost.
        wbufsize = -1

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            environ = getattr(self, "environ", {})  # a request that cannot be read has none
            asked = environ.get(CALL) or ascii(self.requestline)
            self.log("info", "%s: %s %s", asked, code, environ.get("HTTP_AMZ_SDK_REQUEST", ""))

        def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
            self.close_connection = True

    app = build_app()
    try:
        server = make_server(arguments.host, arguments.port, app, threaded=True, request_handler=RequestHandler)
    except SystemExit:  # werkzeug has said that the port is taken
        sys.exit(1)
    print(f"emulator on http://{arguments.host}:{server.server_port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
