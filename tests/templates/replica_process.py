"""A stand-in server of a replica, as a process that can be killed: PORT DIRECTORY.

`/health` is 503 while DIRECTORY/sick exists. `/answer/ID` answers after a moment, `/stream/ID` in parts. Each request that it
takes is a line of DIRECTORY/taken.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PARTS = 5
PAUSE_SECONDS = 0.05


def answer_to(path: str) -> bytes:
    """The whole answer to a request."""
    return f"[{path}]".encode() * PARTS


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    directory: Path

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send_response(503 if (self.directory / "sick").exists() else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with (self.directory / "taken").open("a") as taken:
            taken.write(f"{self.path}\n")
        parts = PARTS if self.path.startswith("/stream/") else 1
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        whole = answer_to(self.path)
        size = len(whole) // parts
        for number in range(parts):
            time.sleep(PAUSE_SECONDS)
            self.wfile.write(b"%x\r\n%s\r\n" % (size, whole[number * size : (number + 1) * size]))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    _Handler.directory = Path(sys.argv[2])
    _Server(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
