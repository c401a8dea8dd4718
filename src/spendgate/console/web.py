"""What the pages' handlers share: what went wrong, forms, static files."""

from __future__ import annotations

from importlib.resources import files
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

FORM_MAX = 1024 * 1024
_STATIC = {"console.css": "text/css", "console.js": "text/javascript"}


class Wrong(Exception):
    """Asked for something that is not there, or not so."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


async def plain_fault(_: Request, problem: Exception) -> Response:
    """A fault outside of a page."""
    return PlainTextResponse(f"{problem}\n", status_code=getattr(problem, "status", 500))


async def static(request: Request) -> Response:
    """The style, and the script that keeps an open page up to date."""
    name = request.path_params["name"]
    if name not in _STATIC:
        return PlainTextResponse("not found\n", status_code=404)
    data = (files("spendgate.console") / "static" / name).read_bytes()
    return Response(data, media_type=_STATIC[name], headers={"cache-control": "max-age=300"})


async def form_of(request: Request) -> dict[str, str]:
    """A form that was sent. Raises Wrong for one without a length, or a very long one."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > FORM_MAX:
        raise Wrong(413, "A form is at most 1 MB long and says its content-length.")
    body = await request.body()
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def inside(path: str) -> str:
    """A path of ours to go back to, never another site."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def number_of(value: str) -> int:
    """A page's number, 1 for anything else."""
    return int(value) if value.isascii() and value.isdigit() and 0 < len(value) < 9 else 1
