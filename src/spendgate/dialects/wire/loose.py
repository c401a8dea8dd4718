"""JSON as the most generous of parsers take it, written anew as plain JSON. Pure.

Go reads the first document and leaves what follows; protobuf's parser takes bare keys and single quotes; JSON5 takes
comments, trailing commas, hexadecimal and half-written numbers; C and JavaScript readers take control characters
within strings. Who of them will read a request is not known, so all of it is read, and what was read is what is sent
on.
"""

from __future__ import annotations

import re

from spendgate.dialects.wire import json_read as jsonbody
from spendgate.dialects.wire.json_read import NotJson

LOOSE_BYTES_MAX = 1024 * 1024
"""A longer text has to be JSON: rewriting it word by word would take too long."""

_TOKEN = re.compile(
    r"""(?P<space>[\s\ufeff\u00a0\u0000]+)
    |(?P<note>//[^\n\r]*|/\*.*?\*/|\#[^\n\r]*)
    |(?P<mark>[{}\[\],:])
    |"(?P<double>(?:[^"\\]|\\.)*)"
    |'(?P<single>(?:[^'\\]|\\.)*)'
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w$.]))
    |(?P<word>[+-]?[\w$][\w$.\-]*)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|\r\n|.)|([\x00-\x1f\x7f\"])", re.DOTALL)
_WORDS = {"true": "true", "false": "false", "null": "null", "undefined": "null", "none": "null"}
_NUMBERS = {"nan": "NaN", "infinity": "Infinity", "+infinity": "Infinity", "-infinity": "-Infinity"}


def plain(text: str) -> tuple[str, bool]:
    """The text's first document as JSON, and whether something else follows it. Raises NotJson with the line and
    column of what cannot be read."""
    if len(text) > LOOSE_BYTES_MAX:
        raise NotJson(f"longer than {LOOSE_BYTES_MAX} characters, and not strictly JSON")
    out: list[str] = []
    open_marks: list[str] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise NotJson(f"nothing that can be read at {_place(text, position)}")
        kind, token = found.lastgroup, found[0]
        position = found.end()
        if kind in ("space", "note"):
            continue
        if kind == "mark":
            _mark(token, out, open_marks)
        else:
            key = bool(open_marks) and open_marks[-1] == "{" and out[-1] in "{,"
            try:
                out.append(_value(kind or "", found, key))
            except NotJson as e:
                raise NotJson(f"{e} at {_place(text, found.start())}") from e
        if not open_marks:
            break
    if open_marks or not out:
        raise NotJson(f"the document does not end (line {text.count(chr(10)) + 1})")
    return "".join(out), follows(text, position)


def follows(text: str, position: int) -> bool:
    """Does more than white space follow?"""
    return bool(text[position:].strip(" \t\r\n\x00\ufeff"))


def _mark(token: str, out: list[str], open_marks: list[str]) -> None:
    if token in "{[":
        open_marks.append(token)
    elif token in "}]":
        if not open_marks or (open_marks.pop() == "{") != (token == "}"):
            raise NotJson(f"a {token} that closes nothing")
        if out[-1] == ",":
            out.pop()  # a comma before the end
    out.append(token)


def _value(kind: str, found: re.Match[str], key: bool) -> str:
    token = found[kind]
    if kind in ("double", "single"):
        return f'"{_ESCAPES.sub(_escaped, token)}"'
    if key:
        return jsonbody.dumps(token)
    if kind == "number":
        return _number(token)
    word = token.lower()
    if word in _WORDS:
        return _WORDS[word]
    if word in _NUMBERS:
        return _NUMBERS[word]
    raise NotJson(f"the bare word {token[:40]!r} is no value")


def _escaped(found: re.Match[str]) -> str:
    escape, raw = found[1], found[2]
    if raw is not None:
        return '\\"' if raw == '"' else f"\\u{ord(raw):04x}"
    if escape[0] == "u" and len(escape) == 5:
        return f"\\{escape}"
    if escape[0] == "x" and len(escape) == 3:
        return f"\\u00{escape[1:]}"
    if escape in ("\n", "\r", "\r\n"):
        return ""  # a line that goes on
    if escape in '"\\/bfnrt':
        return f"\\{escape}"
    return jsonbody.dumps({"v": "\v", "0": "\0"}.get(escape, escape))[1:-1]


def _number(token: str) -> str:
    sign = "-" if token.startswith("-") else ""
    digits = token.lstrip("+-")
    if digits[:2].lower() == "0x":
        return f"{sign}{int(digits[:40], 16)}"
    whole, _, power = digits.lower().partition("e")
    before, _, after = whole.partition(".")
    fraction = f".{after}" if after else ""
    return f"{sign}{before.lstrip('0') or '0'}{fraction}{'e' + power if power else ''}"


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    return f"line {line}, column {position - text.rfind(chr(10), 0, position)}"
