"""Reading of JSON as generously as providers do, and of numbers as strictly as money needs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import orjson

from spendgate.dialects.wire import scan
from spendgate.dialects.wire.scan import CONTAINER, WORK_MAX, is_too_much
from spendgate.usage import COUNT_MAX

JsonObject = dict[str, Any]
_DIGITS = re.compile(r"\s*\+?(\d{1,15})(?:\.0*)?\s*", re.ASCII)
TOO_MUCH = f"has too many parts: more than {WORK_MAX:,} values, or {WORK_MAX // CONTAINER:,} objects"


class NotJson(ValueError):
    """The bytes are no JSON, nested too deep, or too many values to be read."""


def parse(body: bytes) -> Any:
    """Parse JSON; of duplicate keys the last wins. What orjson refuses but many servers accept (a byte order
    mark, lone surrogates, NaN, nesting over 1024) is read by the slower standard parser. Raises NotJson, also
    for what would be too much work."""
    global _ahead
    ahead = _ahead  # another thread may look ahead meanwhile: of what it finds nothing is this body's
    if body is ahead[0]:
        _ahead = _NOTHING
        return ahead[1]
    if is_too_much(body):
        raise NotJson(TOO_MUCH)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise NotJson(f"not UTF-8 at byte {e.start}") from e
    except RecursionError as e:
        raise NotJson("nested too deep") from e
    except ValueError as e:
        raise NotJson(str(e)) from e


_NOTHING: tuple[bytes | None, Any] = None, None
_ahead = _NOTHING
"""What `is_light` parsed last, and made of it: for who parses the same bytes next, once."""


def is_light(body: bytes) -> bool:
    """Is it read in a moment, so that a thread for it would cost more than it gives? What is not JSON to the letter is
    read word by word (loose.py), in some hundred times the time."""
    global _ahead
    if scan.is_short(body):
        return True
    if not scan.has_few_parts(body) or (len(body) > scan.LIGHT_BYTES and is_too_much(body)):
        return False
    try:
        _ahead = body, orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def first_pairs(text: str, hook: Callable[[list[tuple[str, Any]]], Any]) -> tuple[Any, int]:
    """Parse the document that a text begins with, each object given to `hook` as its pairs. Returns it and where it
    ends. Control characters may stand within strings. Raises NotJson."""
    if is_too_much(text.encode("utf-8", "surrogatepass")):
        raise NotJson(TOO_MUCH)
    try:
        decoder = json.JSONDecoder(strict=False, object_pairs_hook=hook)
        return decoder.raw_decode(text, len(text) - len(text.lstrip(" \t\r\n\ufeff")))
    except RecursionError as e:
        raise NotJson("nested too deep") from e
    except ValueError as e:
        raise NotJson(str(e)) from e


def dumps_bytes(value: Any) -> bytes:
    """Serialise compactly, whatever is in its strings and numbers. Raises NotJson where nested too deep."""
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        pass
    try:
        return json.dumps(value, separators=(",", ":")).encode()
    except RecursionError as e:
        raise NotJson("nested too deep") from e


def dumps_sorted(value: Any) -> bytes:
    """Serialise in one form, whatever the order of names was."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def dumps(value: Any) -> str:
    """Serialise compactly, as a provider would before it tokenises. Raises NotJson where nested too deep."""
    try:
        return orjson.dumps(value).decode()
    except (TypeError, orjson.JSONEncodeError):
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError as e:
        raise NotJson("nested too deep") from e


def clean(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


def utf8_length(text: str) -> int:
    """The bytes of a text in UTF-8, lone surrogates counted as if they could be encoded."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def count_of(value: object) -> int | None:
    """Read a count as a provider writes it: an integer, a float without fraction (Cohere writes those), or its digits
    as a text (protobuf's JSON), from 0 to `COUNT_MAX`. None for all else."""
    if type(value) is int:
        return value if 0 <= value <= COUNT_MAX else None
    if type(value) is str:
        found = _DIGITS.fullmatch(value)
        return count_of(int(found[1])) if found is not None else None
    if type(value) is float and math.isfinite(value) and 0 <= value <= COUNT_MAX and value.is_integer():
        return int(value)
    return None


def object_of(value: object) -> JsonObject:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []
