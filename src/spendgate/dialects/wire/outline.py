"""Large answers: what of them tells the usage, without what fills them (embeddings are millions of numbers). Pure."""

from __future__ import annotations

from typing import Any

from spendgate.dialects.wire import json_edit, json_read
from spendgate.dialects.wire.scan import is_too_much
from spendgate.errors import RequestError

MEMBER_BYTES_MAX = 64 * 1024
"""A longer member of the top level is left out."""
CONTAINERS_MAX = 100_000
"""Of so many objects and arrays at most the end of a member is looked for."""


def parse(body: bytes) -> Any:
    """Parse an answer. One of too many parts is parsed without its long members. Raises NotJson."""
    if not is_too_much(body):
        return json_read.parse(body)
    if body.count(b"{") + body.count(b"[") > CONTAINERS_MAX:
        raise json_read.NotJson("has too many parts")
    try:
        members = json_edit.members(body)[1]
    except RequestError as e:
        raise json_read.NotJson(str(e)) from e
    return {
        m.key: json_read.parse(body[m.start : m.end]) for m in members if m.end - m.start <= MEMBER_BYTES_MAX
    }
