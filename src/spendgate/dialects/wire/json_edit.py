"""Edits of a JSON object that leave every other byte as it was.

Providers take the last of duplicate keys, others the first: so every occurrence is replaced. A key may be
spelled with escapes (`mod\\u0065l`) and is found all the same. A key that stands only once in the body is
found by a search for its bytes. Else the top level is scanned by compiled patterns: a value is skipped as a
whole up to `_NESTED_MAX` levels of nesting, and by brackets beyond, so that neither size nor depth costs a
Python step a character or a stack frame.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from itertools import pairwise
from typing import NamedTuple

from spendgate.dialects.wire import json_read
from spendgate.errors import RequestError

Value = bytes | Callable[[bytes], bytes]
"""The new value as JSON, or a function from the old value's bytes to the new."""

_NESTED_MAX = 5
_HITS_MAX = 16
_GAP_MAX = 64
_ESCAPED_LETTER = b"\\u00"
_BOM = b"\xef\xbb\xbf"
_WS = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = rb'(?:[^"{}\[\]]++|' + _STRING + rb")"


def _container(levels: int) -> bytes:
    inner = _FLAT if levels == 1 else rb"(?:" + _FLAT + rb"|" + _container(levels - 1) + rb")"
    return rb"[{\[]" + inner + rb"*+[}\]]"


_OPEN = re.compile(_WS + rb"\{" + _WS, re.DOTALL)
_KEY = re.compile(rb"(" + _STRING + rb")" + _WS + rb":" + _WS, re.DOTALL)
_SIMPLE = re.compile(_STRING + rb'|[^"{}\[\],\s]++', re.DOTALL)
_SHALLOW = re.compile(_container(_NESTED_MAX), re.DOTALL)
_BRACKET = re.compile(_FLAT + rb"*+([{}\[\]])", re.DOTALL)
_COLON = re.compile(_WS + rb":" + _WS)
_NEXT = re.compile(_WS + rb"([,}])" + _WS, re.DOTALL)


class Member(NamedTuple):
    """A member of the top level: its key as read, where its value lies, and where its key begins."""

    key: str
    start: int
    end: int
    begin: int = 0


def members(body: bytes) -> tuple[int, list[Member]]:
    """Scan the top level of a valid JSON object. Returns where a first member would be inserted, and the
    members. Raises RequestError where it is none."""
    found: list[Member] = []
    position = _opening(body)
    if body[position : position + 1] == b"}":
        return body.index(b"{") + 1, found
    while True:
        key = _KEY.match(body, position)
        if key is None:
            raise RequestError(f"the body is not a JSON object: no key at byte {position}")
        end = _value_end(body, key.end())
        found.append(Member(_key_text(key[1]), key.end(), end, key.start(1)))
        following = _NEXT.match(body, end)
        if following is None:
            raise RequestError(f"the body is not a JSON object: no comma or end at byte {end}")
        if following[1] == b"}":
            return body.index(b"{") + 1, found
        position = following.end()


def edit(body: bytes, changes: dict[str, Value]) -> bytes:
    """Set top-level keys: the value of every occurrence is replaced; a key that is absent is inserted right
    after the opening brace (a function is then given b"null").

    Raises RequestError where the body is no JSON object, or the outcome does not read back as meant.
    """
    spans = _sole_spans(body, changes)
    edited = None if spans is None else _apply(body, changes, spans)
    if edited is None:
        spans = [member for member in members(body)[1] if member.key in changes]
        edited = _apply(body, changes, spans)
    if edited is None:
        raise RequestError("the body is not JSON, or a value does not read back as written")
    return edited


def without(body: bytes, keys: Collection[str]) -> bytes:
    """Take top-level members out, every occurrence of them; all other bytes stay. Raises RequestError where the body is
    no JSON object."""
    if not any(json.dumps(key).encode() in body for key in keys) and _ESCAPED_LETTER not in body:
        return body
    found = members(body)[1]
    kept = [member for member in found if member.key not in keys]
    if len(kept) == len(found):
        return body
    if not kept:
        return body[: found[0].begin] + body[found[-1].end :]
    pieces = [body[: found[0].begin]]
    for member in kept:
        pieces += (body[member.begin : member.end], b",")
    return b"".join(pieces[:-1]) + body[found[-1].end :]


def _sole_spans(body: bytes, changes: dict[str, Value]) -> list[Member] | None:
    """Where each key stands, if each stands at most once at any depth and none is spelled with escapes."""
    if _ESCAPED_LETTER in body:
        return None
    spans: list[Member] = []
    for key in changes:
        hits = _hits(body, key)
        if hits is None or len(hits) > 1:
            return None
        spans += hits
    spans.sort(key=lambda member: member.start)
    overlap = any(later.start < span.end for span, later in pairwise(spans))
    return None if overlap else spans


def _apply(body: bytes, changes: dict[str, Value], spans: list[Member]) -> bytes | None:
    """Write the new values. None where the outcome does not read back so."""
    opened = _opening(body)
    written: dict[str, bytes] = {}
    pieces: list[bytes] = []
    position = insert_at = body.index(b"{") + 1
    for span in spans:
        written[span.key] = _value(changes[span.key], body[span.start : span.end])
        pieces += (body[position : span.start], written[span.key])
        position = span.end
    pieces.append(body[position:])
    new = {key: _value(change, b"null") for key, change in changes.items() if key not in written}
    head = b",".join(json.dumps(key).encode() + b":" + value for key, value in new.items())
    empty = body[opened : opened + 1] == b"}"
    edited = body[:insert_at] + head + (b"," if new and not empty else b"") + b"".join(pieces)
    try:
        after = json_read.parse(edited)
    except json_read.NotJson:
        return None
    wanted = (written | new).items()
    return edited if all(key in after and after[key] == json_read.parse(raw) for key, raw in wanted) else None


def _opening(body: bytes) -> int:
    opened = _OPEN.match(body, len(_BOM) if body.startswith(_BOM) else 0)
    if opened is None:
        raise RequestError("the body is not a JSON object")
    return opened.end()


def _hits(body: bytes, key: str) -> list[Member] | None:
    """The members with this key at any depth; None where a search for its bytes does not settle it.

    In valid JSON a `"` after `{`, `,` or whitespace opens or closes a string, and no letter follows a
    closing one. So `{"key":` and `,"key":` stand nowhere but at a key. (Whether it is one of the top level
    shows when the edit is read back.)
    """
    quoted = json.dumps(key).encode()
    found: list[Member] = []
    hit = -1
    for _ in range(_HITS_MAX):
        hit = body.find(quoted, hit + 1)
        if hit < 0:
            return found
        colon = _COLON.match(body, hit + len(quoted))
        if colon is None:
            continue
        if body[max(0, hit - _GAP_MAX) : hit].rstrip(b" \t\n\r")[-1:] not in (b"{", b","):
            return None
        found.append(Member(key, colon.end(), _value_end(body, colon.end())))
    return None


def _value(change: Value, old: bytes) -> bytes:
    return change if isinstance(change, bytes) else change(old)


def _key_text(quoted: bytes) -> str:
    if b"\\" not in quoted:
        return quoted[1:-1].decode("utf-8", "replace")
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:-1].decode("utf-8", "replace")


def _value_end(body: bytes, start: int) -> int:
    if body[start : start + 1] not in (b"{", b"["):
        simple = _SIMPLE.match(body, start)
        if simple is None:
            raise RequestError(f"the body is not a JSON object: no value at byte {start}")
        return simple.end()
    shallow = _SHALLOW.match(body, start)
    if shallow is not None:
        return shallow.end()
    depth = 0
    position = start
    while True:
        bracket = _BRACKET.match(body, position)
        if bracket is None:
            raise RequestError(f"the body is not a JSON object: the value at byte {start} does not end")
        position = bracket.end()
        depth += 1 if bracket[1] in (b"{", b"[") else -1
        if depth == 0:
            return position
