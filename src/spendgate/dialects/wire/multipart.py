"""Reading of `multipart/form-data` (RFC 7578) where its bytes stand, and the edit of one field. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from spendgate.errors import RequestError

MEDIA_TYPE = "multipart/form-data"
PARTS_MAX = 200
"""No API of those read here takes as many; more are left unread."""

_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILENAME = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)


class Part(NamedTuple):
    """A field: its name, whether it is a file, and where its content lies in the body."""

    name: str
    is_file: bool
    start: int
    end: int


def is_form(content_type: str) -> bool:
    """Does this content type say that the body is a form?"""
    return content_type.partition(";")[0].strip().lower() == MEDIA_TYPE


def parts(body: bytes, content_type: str) -> list[Part]:
    """The parts of a form. Raises RequestError where it is none."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise RequestError("the form's content type names no boundary")
    mark = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    out: list[Part] = []
    at = body.find(mark)
    if at < 0:
        raise RequestError("the form has no part; its boundary is not in the body")
    while len(out) < PARTS_MAX:
        head = at + len(mark)
        if body[head : head + 2] == b"--":
            break
        start = body.find(b"\r\n\r\n", head)
        following = body.find(b"\r\n" + mark, head)
        if start < 0 or following < 0:
            break
        disposition = body[head:start]
        name = _NAME.search(disposition)
        if name is not None and start + 4 <= following:
            is_file = _FILENAME.search(disposition) is not None
            out.append(Part(name[1].decode("utf-8", "replace"), is_file, start + 4, following))
        at = following + 2
    return out


def texts(body: bytes, found: list[Part]) -> dict[str, str]:
    """The fields that are texts, by name; of several of one name the last."""
    return {p.name: body[p.start : p.end].decode("utf-8", "replace") for p in found if not p.is_file}


def edit(body: bytes, content_type: str, name: str, value: str) -> bytes:
    """Set every field of this name; the body as it is where there is none. Raises RequestError."""
    pieces: list[bytes] = []
    at = 0
    for part in parts(body, content_type):
        if part.name == name and not part.is_file:
            pieces += (body[at : part.start], value.encode())
            at = part.end
    return b"".join((*pieces, body[at:]))
