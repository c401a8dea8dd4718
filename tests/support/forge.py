"""Doubles of GitHub's and GitLab's REST APIs: the published paths, fields, headers and refusals that matter to
a client that opens a request.

GitHub: https://docs.github.com/rest/pulls/pulls, GitLab: https://docs.gitlab.com/api/merge_requests/.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "forge-token"
Answer = tuple[int, Any]


@dataclass
class Books:
    """What a forge knows."""

    repo: str
    branches: set[str] = field(default_factory=lambda: {"main"})
    users: dict[str, int] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    comments: list[tuple[int, str]] = field(default_factory=list)
    reviewers: list[tuple[int, list[Any]]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


def github(books: Books, method: str, path: str, query: dict[str, str], headers: Any, body: Any) -> Answer:
    """GitHub's answers."""
    if headers.get("authorization") != f"Bearer {TOKEN}":
        return 401, {"message": "Bad credentials"}
    if not path.startswith(f"/repos/{books.repo}/"):
        return 404, {"message": "Not Found"}
    rest = path.removeprefix(f"/repos/{books.repo}")
    if (method, rest) == ("POST", "/pulls"):
        faults = [f for f in ("title", "head", "base") if not isinstance(body.get(f), str)]
        if faults:
            return 422, {
                "message": "Validation Failed",
                "errors": [{"field": f, "code": "missing"} for f in faults],
            }
        if any(p["head"] == body["head"] and p["state"] == "open" for p in books.requests):
            return 422, {
                "message": "Validation Failed",
                "errors": [{"message": f"A pull request already exists for {body['head']}."}],
            }
        if body["head"] not in books.branches:
            return 422, {"message": "Validation Failed", "errors": [{"field": "head", "code": "invalid"}]}
        number = len(books.requests) + 1
        made = {
            **body,
            "number": number,
            "state": "open",
            "html_url": f"https://github.test/{books.repo}/pull/{number}",
        }
        books.requests.append(made)
        return 201, made
    if (method, rest) == ("GET", "/pulls"):
        head = query["head"].partition(":")[2]
        return 200, [
            p for p in books.requests if p["head"] == head and p["state"] == query.get("state", "open")
        ]
    found = re.fullmatch(r"/(issues|pulls)/(\d+)/(comments|requested_reviewers)", rest)
    if method == "POST" and found:
        number = int(found.group(2))
        if found.group(3) == "comments":
            books.comments.append((number, body["body"]))
            return 201, {"id": 1}
        unknown = [r for r in body["reviewers"] if r not in books.users]
        if unknown:
            return 422, {"message": "Reviews may only be requested from collaborators."}
        books.reviewers.append((number, [*body["reviewers"], *body["team_reviewers"]]))
        return 201, {"number": number}
    return 404, {"message": "Not Found"}


def gitlab(books: Books, method: str, path: str, query: dict[str, str], headers: Any, body: Any) -> Answer:
    """GitLab's answers."""
    if headers.get("private-token") != TOKEN:
        return 401, {"message": "401 Unauthorized"}
    if (method, path) == ("GET", "/users"):
        name = query["username"]
        return 200, [{"id": books.users[name], "username": name}] if name in books.users else []
    found = re.fullmatch(r"/projects/([^/]+)/merge_requests(?:/(\d+)/notes)?", path)
    if not found or unquote(found.group(1)) != books.repo:
        return 404, {"message": "404 Project Not Found"}
    if method == "POST" and found.group(2):
        books.comments.append((int(found.group(2)), body["body"]))
        return 201, {"id": 1}
    if method == "GET":
        return 200, [r for r in books.requests if r["source_branch"] == query["source_branch"]]
    for needed in ("source_branch", "target_branch", "title"):
        if not body.get(needed):
            return 400, {"error": f"{needed} is missing"}
    if any(r["source_branch"] == body["source_branch"] for r in books.requests):
        return 409, {"message": ["Another open merge request already exists for this source branch: !1"]}
    number = len(books.requests) + 1
    made = {
        **body,
        "iid": number,
        "state": "opened",
        "web_url": f"https://gitlab.test/{books.repo}/-/merge_requests/{number}",
    }
    books.requests.append(made)
    books.reviewers.append((number, body.get("reviewer_ids", [])))
    return 201, made


@contextmanager
def serve(kind: Any, books: Books) -> Iterator[str]:
    """Run a double; gives its API's base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            split = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(split.query).items()}
            books.calls.append(f"{self.command} {split.path}")
            status, document = kind(
                books, self.command, split.path, query, self.headers, json.loads(raw) if raw else {}
            )
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
