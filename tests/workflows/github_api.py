"""GitHub's REST interface on loopback, as far as the workflows ask it; they ask it with the real `gh`.

`gh` is told that GitHub is `github.localhost`, and that the way to it is a proxy, which is this server.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

REPOSITORY = "acme/fleet"
TOKEN = "token-of-the-job"
BOT = {"login": "github-actions[bot]", "type": "Bot"}
MAX_BODY = 65_536
"""Characters of a comment; GitHub answers 422 to more."""

Query = Mapping[str, str]


class RefusedError(Exception):
    """An answer other than the one that was asked for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class GitHub:
    """One repository's pull requests, comments, artifacts and runs."""

    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    artifacts: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """By run."""
    archives: dict[int, bytes] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    main: str = ""
    """The newest commit of main."""
    proxy: str = ""
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1001))

    def environment(self) -> dict[str, str]:
        """What makes `gh` ask here."""
        return {"GH_HOST": "github.localhost", "http_proxy": self.proxy, "NO_PROXY": "", "no_proxy": ""}

    def open_pull(self, number: int, *, head: str, sha: str, base: str = "main", state: str = "open") -> None:
        """A pull request; `head` is `owner/repository:branch`."""
        repository, _, branch = head.partition(":")
        self.pulls.append(
            {
                "number": number,
                "state": state,
                "base": {"ref": base},
                "head": {"ref": branch, "sha": sha, "repo": {"full_name": repository}},
            }
        )

    def comment(self, number: int, body: str, user: Mapping[str, str] = BOT) -> dict[str, Any]:
        """Somebody's comment on a pull request."""
        if len(body) > MAX_BODY:
            raise RefusedError(422, "Validation Failed: body is too long (maximum is 65536 characters)")
        comment = {"id": next(self._ids), "user": dict(user), "body": body, "html_url": f"https://github.com/{number}"}
        self.comments.setdefault(number, []).append(comment)
        return comment

    def upload(self, run: int, name: str, files: Mapping[str, bytes], *, expired: bool = False) -> None:
        """An artifact of a run."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in files.items():
                archive.writestr(member, content)
        identity = next(self._ids)
        self.archives[identity] = packed.getvalue()
        self.artifacts.setdefault(run, []).append(
            {
                "id": identity,
                "name": name,
                "size_in_bytes": len(packed.getvalue()),
                "expired": expired,
                "created_at": f"2026-01-01T00:00:{identity % 60:02}Z",
            }
        )

    # Answers ------------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: Query, body: Any) -> Any:
        """The answer to a request below `/repos/<repository>/`."""
        routes = (
            ("GET", r"pulls", self._pulls),
            ("GET", r"actions/runs/(\d+)/artifacts", self._artifacts),
            ("GET", r"actions/workflows/deploy\.yml/runs", self._runs),
            ("GET", r"commits/main", lambda _: {"sha": self.main}),
            ("GET", r"issues/(\d+)/comments", lambda q, n: self.comments.get(int(n), [])),
            ("POST", r"issues/(\d+)/comments", lambda _, n: self.comment(int(n), body["body"])),
            ("PATCH", r"issues/comments/(\d+)", lambda _, n: self._edit(int(n), body["body"])),
        )
        for known, pattern, handler in routes:
            found = re.fullmatch(pattern, path)
            if method == known and found:
                return handler(query, *found.groups())
        raise RefusedError(404, f"Not Found: {method} {path}")

    def _pulls(self, query: Query) -> list[dict[str, Any]]:
        owner, _, branch = query["head"].partition(":")
        return [
            pull
            for pull in self.pulls
            if pull["state"] == query["state"]
            and pull["base"]["ref"] == query["base"]
            and pull["head"]["ref"] == branch
            and pull["head"]["repo"]["full_name"].partition("/")[0] == owner
        ]

    def _artifacts(self, query: Query, run: str) -> dict[str, Any]:
        found = [a for a in self.artifacts.get(int(run), []) if a["name"] == query["name"]]
        return {"total_count": len(found), "artifacts": found}

    def _runs(self, query: Query) -> dict[str, Any]:
        wanted = {"head_branch": query["branch"], "event": query["event"], "conclusion": query["status"]}
        found = [run for run in self.runs if wanted.items() <= run.items()]
        return {"total_count": len(found), "workflow_runs": found[: int(query["per_page"])]}

    def _edit(self, identity: int, body: str) -> dict[str, Any]:
        if len(body) > MAX_BODY:
            raise RefusedError(422, "Validation Failed: body is too long (maximum is 65536 characters)")
        for comments in self.comments.values():
            for comment in comments:
                if comment["id"] == identity:
                    comment["body"] = body
                    return comment
        raise RefusedError(404, "Not Found")


class _Handler(BaseHTTPRequestHandler):
    github: GitHub
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        headers: dict[str, str] = {}
        try:
            if url.hostname == "storage.localhost":
                # GitHub's storage refuses a request that brings two kinds of authorisation.
                refused = self.headers.get("Authorization")
                status, content = (400, b"") if refused else (200, self.github.archives[int(url.path.strip("/"))])
            else:
                status, content, headers = self._api(url.path, query, body)
        except RefusedError as refusal:
            status, content = refusal.status, json.dumps({"message": str(refusal)}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _api(self, path: str, query: dict[str, str], body: Any) -> tuple[int, bytes, dict[str, str]]:
        if self.headers.get("Authorization") not in (f"token {TOKEN}", f"Bearer {TOKEN}"):
            raise RefusedError(401, "Bad credentials")
        below = path.removeprefix(f"/repos/{REPOSITORY}/")
        if below == path:
            raise RefusedError(404, f"Not Found: {path}")
        if found := re.fullmatch(r"actions/artifacts/(\d+)/zip", below):
            return 302, b"", {"Location": f"http://storage.localhost/{found[1]}"}
        answer = self.github.answer(self.command, below, query, body)
        headers = {}
        if isinstance(answer, list):
            per_page, page = int(query.get("per_page", 30)), int(query.get("page", 1))
            if len(answer) > page * per_page:
                more = urlencode({**query, "page": page + 1})
                headers["Link"] = f'<http://api.github.localhost{path}?{more}>; rel="next"'
            answer = answer[(page - 1) * per_page : page * per_page]
        return (201 if self.command == "POST" else 200), json.dumps(answer).encode(), headers

    do_GET = do_POST = do_PATCH = _handle  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def running_github() -> Iterator[GitHub]:
    """GitHub, empty."""
    github = GitHub()
    handler = type("Handler", (_Handler,), {"github": github})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    github.proxy = f"http://127.0.0.1:{server.server_port}"
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()
