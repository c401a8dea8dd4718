"""A request as it can be read: its codings and charset taken off, and what could be read in two ways made one. Pure.

What goes on to the provider is decided elsewhere: its own bytes, as long as nothing is rewritten and every parser
makes the same of them; else the body as it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import Dialect, RequestFacts
from spendgate.dialects.request import forms
from spendgate.dialects.wire import charsets, content_coding, spelling
from spendgate.dialects.wire.json_read import NotJson, parse
from spendgate.dialects.wire.multipart import is_form
from spendgate.dialects.wire.spelling import Said
from spendgate.errors import BodyTooLarge, RequestError
from spendgate.values import dataclass

JSON_TYPE = "application/json"
DIGESTS = ("content-md5", "content-digest", "repr-digest", "digest")
"""Headers that are no longer true of a body that was rewritten."""
_UNTRUE = ("content-encoding", *DIGESTS)
_FLAGS = (
    ("followed", "trailing_text"),
    ("loose", "loose_grammar"),
    ("doubled", "doubled_names"),
    ("respelled", "other_spelling"),
)


@dataclass(frozen=True, slots=True)
class Readable:
    """A body in plain UTF-8 that every parser reads alike."""

    body: bytes
    ambiguous: bool = False
    """Parsers differ in what they make of the client's own bytes: this body is to be sent instead."""
    content_type: str = ""
    """What the content type has to say of this body, where that is not what the client's says."""
    remove: tuple[str, ...] = ()
    """Headers that are not true of it."""


def read(
    dialect: Dialect, body: bytes, path: str, headers: Mapping[str, str], bytes_max: int
) -> tuple[RequestFacts, Readable]:
    """Read a request. Raises RequestError with what is wrong and where, BodyTooLarge where it decodes to more than
    `bytes_max`."""
    coding = headers.get("content-encoding", "")
    plain = _decoded(body, coding, bytes_max) if coding else body
    label = headers.get("content-type", "")
    remove = tuple([n for n in _UNTRUE if n in headers])
    if dialect.takes_forms and forms.begins_as_form(plain):
        return _read_form(dialect, forms.read_multipart(plain, label), path, headers, remove)
    text, charset = charsets.to_utf8(plain, label)
    if label == JSON_TYPE and not charset:  # most say it in these very words
        own, kind = headers, ""
    else:
        own = headers if not is_form(label) else {**headers, "content-type": JSON_TYPE}
        kind = _content_type(label, charset)
    try:
        return dialect.read_request(text, path, own), Readable(text, False, kind, remove)
    except RequestError as problem:
        wrong = problem
    try:
        anew, said = spelling.write_anew(text.decode("utf-8", "replace"), dialect.spelling)
    except NotJson as e:
        if dialect.takes_forms and is_form(label):
            return _read_form(dialect, forms.read_multipart(plain, label), path, headers, remove)
        if dialect.takes_forms and _is_urlencoded(label):
            return _read_form(dialect, forms.read_urlencoded(plain), path, headers, remove)
        raise RequestError(f"the body is not JSON: {e}" if plain.strip() else str(wrong)) from e
    facts = dialect.read_request(anew, path, own)
    flags = () if _is_utf8(text) else ("not_utf8",)
    return _told(facts, said, flags), Readable(anew, True, kind, remove)


def _read_form(
    dialect: Dialect, form: forms.Anew, path: str, headers: Mapping[str, str], remove: tuple[str, ...]
) -> tuple[RequestFacts, Readable]:
    facts = dialect.read_request(form.body, path, {**headers, "content-type": form.content_type})
    kind = form.content_type if form.changed else ""
    return _told(facts, form.said), Readable(form.body, form.changed, kind, remove)


def _told(facts: RequestFacts, said: Said, flags: tuple[str, ...] = ()) -> RequestFacts:
    """The facts with what was odd, and with what another reader would have made of it."""
    flags += tuple(name for attribute, name in _FLAGS if getattr(said, attribute))
    others = tuple(dict.fromkeys(m for m in (*facts.other_models, *said.models) if m != facts.model))
    spare = sum(len(text.encode("utf-8", "surrogatepass")) for text in said.spare)
    return replace(
        facts,
        flags=(*facts.flags, *flags),
        other_models=others,
        extra_input_tokens=facts.extra_input_tokens + spare,
    )


def _decoded(body: bytes, coding: str, bytes_max: int) -> bytes:
    if not content_coding.codings(coding):
        return body
    try:
        plain = content_coding.decode(body, coding, bytes_max)
    except content_coding.TooLarge as e:
        raise BodyTooLarge(str(e)) from e
    except content_coding.EncodingError as e:
        if _is_json(body):
            return body  # the label is wrong, and everybody who reads it at all reads this
        raise RequestError(str(e)) from e
    if _is_json(body):
        raise RequestError("the body is JSON as it is, and another when it is decoded")
    return plain


def _is_json(body: bytes) -> bool:
    if body.lstrip()[:1] != b"{":
        return False
    try:
        parse(body)
    except NotJson:
        return False
    return True


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_urlencoded(label: str) -> bool:
    return label.partition(";")[0].strip().lower() == forms.URLENCODED


def _content_type(label: str, charset: str) -> str:
    """What a label has to say of JSON in UTF-8, `` where it already does."""
    if not label:
        return ""
    media = label.partition(";")[0].strip().lower()
    if is_form(label) or media == forms.URLENCODED:
        return JSON_TYPE
    return media if charset or "charset" in label.lower() else ""
