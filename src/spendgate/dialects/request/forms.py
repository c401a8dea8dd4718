"""Forms as the most generous of parsers take them, written anew as plain ones. Pure.

Python's and Go's parsers take names without quotes, headers in any case, lines that end in LF alone, and fields that
come twice; which of two they take differs. A form that is not plainly written is written anew, each field once; what
decodes fields on the way (nested forms, transfer encodings, other charsets) cannot be read at all.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import field
from itertools import zip_longest
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from spendgate.dialects.wire.multipart import MEDIA_TYPE, PARTS_MAX, is_form
from spendgate.dialects.wire.numbers import number_of
from spendgate.dialects.wire.spelling import PLAIN, Said
from spendgate.errors import RequestError
from spendgate.values import dataclass

URLENCODED = "application/x-www-form-urlencoded"
FIELDS_BYTES_MAX = 1024 * 1024
"""Longer fields of a urlencoded form are not read: none of those APIs takes files so."""

_LINE = rb"(?:\r\n|\n|\r(?!\n))"
_BOUNDARY = re.compile(r";\s*boundary\s*=\s*(?:\"([^\"]{1,200})\"|([^\s;]{1,200}))", re.IGNORECASE)
_FIRST_LINE = re.compile(rb"\s*--([^\r\n]{1,200}?)[ \t]*" + _LINE)
_TAIL = re.compile(rb"(--)?[ \t]*(?:(\r\n)|\n|\r|\Z)")
_HEAD_END = re.compile(_LINE + rb"(?:[ \t]*)" + _LINE)
_FOLD = re.compile(_LINE + rb"[ \t]+")
_PARAMETER = re.compile(r";\s*([\w*-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([^;]*))", re.DOTALL)
_PLAIN_HEAD = re.compile(
    rb'(?:[!-9;-~]+:[ \t]?[^\r\n]*\r\n)*?'
    rb'content-disposition:[ \t]?form-data; name="[^"\\\r\n]*"(?:; filename="[^"\r\n]*")?(?:; filename\*=[^\s;]+)?\r\n'
    rb"(?:[!-9;-~]+:[ \t]?[^\r\n]*\r\n)*",
    re.IGNORECASE,
)  # fmt: skip
_PLAIN_CODINGS = ("", "7bit", "8bit", "binary")


@dataclass(slots=True)
class _Field:
    name: str
    content: bytes
    filename: str | None = None
    content_type: str = ""


class _Delimiter(NamedTuple):
    start: int
    end: int
    closes: bool
    plain_start: bool
    """It follows CRLF."""
    plain_end: bool
    """CRLF follows it."""


@dataclass(slots=True)
class Anew:
    """A form that can be read in one way only."""

    body: bytes
    content_type: str
    said: Said
    changed: bool
    fields: list[_Field] = field(default_factory=list)


def begins_as_form(body: bytes) -> bool:
    """Does a body look like a form, whatever its label says?"""
    return body[:256].lstrip()[:2] == b"--"


def read_multipart(body: bytes, content_type: str) -> Anew:
    """Read a form of parts. Raises RequestError."""
    boundary, plain = _boundary(body, content_type)
    fields: list[_Field] = []
    marks = _delimiters(body, b"--" + boundary)
    if not marks:
        raise RequestError("the form has no part; its boundary is not in the body")
    plain = plain and marks[0].start == 0
    closed = False
    for mark, following in zip_longest(marks, marks[1:]):
        closed = mark.closes
        if closed:
            break
        end = following.start if following is not None else len(body)
        plain = plain and mark.plain_end and following is not None and following.plain_start
        part, is_plain = _part(body[mark.end : max(mark.end, end)])
        plain = plain and is_plain
        if part is not None:
            fields.append(part)
    said = Said(loose=not (plain and closed))
    return _finished(body, content_type, _once(fields, said), said)


def read_urlencoded(body: bytes) -> Anew:
    """Read a form as web pages send it. Raises RequestError."""
    if len(body) > FIELDS_BYTES_MAX:
        raise RequestError(f"the form is longer than {FIELDS_BYTES_MAX} bytes; send files as {MEDIA_TYPE}")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=PARTS_MAX
        )
    except ValueError as e:
        raise RequestError(f"the form cannot be read: {e}") from e
    said = Said(loose=True)
    return _finished(body, "", _once([_Field(n, v.encode()) for n, v in pairs], said), said)


def _delimiters(body: bytes, mark: bytes) -> list[_Delimiter]:
    """The lines that part a form, up to the one that closes it. Raises RequestError where there are too many."""
    found: list[_Delimiter] = []
    at = -1
    while (at := body.find(mark, at + 1)) >= 0:
        tail = _TAIL.match(body, at + len(mark))
        if tail is None or not (at == 0 or body[at - 1 : at] in (b"\n", b"\r") or not body[:at].strip()):
            continue
        crlf = body[max(0, at - 2) : at] == b"\r\n"
        start = at - (2 if crlf else min(at, 1)) if body[:at].strip() else 0
        found.append(_Delimiter(start, tail.end(), tail[1] is not None, crlf, tail[2] is not None))
        if tail[1] is not None:
            return found
        if len(found) > PARTS_MAX:
            raise RequestError(f"the form has more than {PARTS_MAX} parts")
    return found


def _finished(body: bytes, content_type: str, fields: list[_Field], said: Said) -> Anew:
    if not (said.loose or said.doubled or said.respelled):
        return Anew(body, content_type, said, changed=False, fields=fields)
    digest = hashlib.sha256(body).hexdigest()[:32]
    boundary = f"spendgate-{digest}"
    pieces: list[bytes] = []
    for part in fields:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(part.name)}"'
        if part.filename is not None:
            head += f'; filename="{_quoted(part.filename)}"'
        if part.content_type:
            head += f"\r\nContent-Type: {part.content_type}"
        pieces += (head.encode("utf-8", "replace"), b"\r\n\r\n", part.content, b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return Anew(b"".join(pieces), f"{MEDIA_TYPE}; boundary={boundary}", said, changed=True, fields=fields)


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").replace("\\", "%5C")


def _boundary(body: bytes, content_type: str) -> tuple[bytes, bool]:
    """The boundary that counts, and whether all parsers see that one."""
    named = (
        {quoted or bare for quoted, bare in _BOUNDARY.findall(content_type)}
        if is_form(content_type)
        else set()
    )
    if len(named) > 1:
        raise RequestError("the form's content type names several boundaries")
    first = _FIRST_LINE.match(body)
    label = named.pop().encode("latin-1", "replace") if named else b""
    if label and b"--" + label in body:
        return label, first is not None and first[1] == label
    if first is None:
        raise RequestError("the form's content type names no boundary")
    return first[1].removesuffix(b"--"), False


def _part(raw: bytes) -> tuple[_Field | None, bool]:
    """A part's field (None where it has no name), and whether it is plainly written."""
    if raw[:1] in (b"\r", b"\n"):
        return None, False  # no headers
    end = _HEAD_END.search(raw)
    if end is None:
        return None, False
    head, content = raw[: end.start()], raw[end.end() :]
    headers: dict[str, str] = {}
    for line in re.split(_LINE, _FOLD.sub(b" ", head)):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    kind = headers.get("content-type", "")
    if kind.lower().startswith("multipart/"):
        raise RequestError("the form holds another form")
    if headers.get("content-transfer-encoding", "").lower() not in _PLAIN_CODINGS:
        raise RequestError("a part of the form has a transfer encoding; send it as it is")
    parameters: dict[str, str] = {}
    for name, quoted, single, bare in _PARAMETER.findall(headers.get("content-disposition", "")):
        value = re.sub(r"\\(.)", r"\1", quoted) or single or bare.strip()
        if name.endswith("*"):
            name, value = name[:-1], unquote(value.split("'", 2)[-1])
        parameters.setdefault(name.lower(), value)
    if "name" not in parameters:
        return None, False
    filename = parameters.get("filename") or None
    if filename is None and not kind.lower().startswith(("application/octet", "audio/", "image/", "video/")):
        _check_text(kind)
    plain = _PLAIN_HEAD.fullmatch(head + b"\r\n") is not None and end[0] == b"\r\n\r\n"
    return _Field(parameters["name"].strip(), content, filename, kind), plain and 'filename=""' not in str(
        head
    )


def _check_text(kind: str) -> None:
    charset = kind.lower().partition("charset=")[2].strip("\"' ;")
    if charset and charset not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise RequestError(f"a field of the form is in charset {charset[:40]!r}; send UTF-8")


def _once(fields: list[_Field], said: Said) -> list[_Field]:
    """The fields with each that matters once: the largest number, the last of other values."""
    out: list[_Field] = []
    at: dict[str, int] = {}
    for part in fields:
        name = PLAIN.name(part.name)
        if name in PLAIN.names:
            said.respelled |= name != part.name
            part.name = name
        if part.filename is not None or name not in PLAIN.names:
            out.append(part)
        elif name not in at:
            at[name] = len(out)
            out.append(part)
        else:
            said.doubled = True
            _merge(name, out[at[name]], part, said)
    return out


def _merge(name: str, kept: _Field, other: _Field, said: Said) -> None:
    old, new = (part.content.decode("utf-8", "replace").strip() for part in (kept, other))
    first, second = number_of(old), number_of(new)
    if first is not None and second is not None:
        kept.content = kept.content if first > second else other.content
        return
    if name == "model" and old and old != new:
        said.models.append(old)
    elif old != new:
        said.spare.append(old)
    if new or name != "model":
        kept.content = other.content
