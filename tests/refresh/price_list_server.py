"""AWS's price list on loopback: GetProducts over recorded products, in pages, with an error first where one is asked for.

The protocol is the service's own (JSON 1.1, the action in X-Amz-Target); `PriceList` is a list of strings of JSON, as in the
answer that AWS documents (AWS Price List, API reference, GetProducts).
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PRODUCTS = json.loads((Path(__file__).parents[1] / "data" / "price_list" / "products.json").read_bytes())
PAGE = 2
"""Fewer than anybody asks for, so that there are pages."""


@dataclass
class PriceList:
    """A running price list. `failures` are (status, code) that the next calls get, whatever they ask."""

    endpoint: str
    products: list[Any] = field(default_factory=lambda: list(PRODUCTS))
    failures: list[tuple[int, str]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    pages: int = 0

    def answer(self, action: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer."""
        self.actions.append(action)
        if self.failures:
            status, code = self.failures.pop(0)
            return status, {"__type": code, "message": f"{code} for the test"}
        assert action == "GetProducts"
        found = [p for p in self.products if self._is_meant(p, request)]
        first = int(request.get("NextToken") or 0)
        self.pages += first > 0
        following = {"NextToken": str(first + PAGE)} if first + PAGE < len(found) else {}
        listed = [json.dumps(product) for product in found[first : first + PAGE]]
        return 200, {"FormatVersion": "aws_v1", "PriceList": listed, **following}

    @staticmethod
    def _is_meant(product: dict[str, Any], request: dict[str, Any]) -> bool:
        known = {"productFamily": product["product"].get("productFamily"), **product["product"]["attributes"]}
        assert all(wanted["Type"] == "TERM_MATCH" for wanted in request["Filters"])
        return product["serviceCode"] == request["ServiceCode"] and all(
            known.get(wanted["Field"]) == wanted["Value"] for wanted in request["Filters"]
        )


@contextlib.contextmanager
def running_price_list() -> Iterator[PriceList]:
    """The server in a thread, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = price_list.answer(self.headers["X-Amz-Target"].rpartition(".")[2], body)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    price_list = PriceList(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield price_list
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
