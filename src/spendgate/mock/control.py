"""How a request tells the mock provider what to do: headers that start with `x-mock-`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from spendgate.values import dataclass

PREFIX = b"x-mock-"
WORDS = {
    "reset": ("", "before", "mid"),
    "usage": ("", "none", "negative", "string", "huge"),
    "body": ("", "not-json", "truncated", "empty"),
    "encoding": ("", "gzip", "br", "zstd", "deflate"),
}


class BadControl(ValueError):
    """A control header that the mock provider does not know, or a value that it cannot take."""


@dataclass(frozen=True, slots=True)
class Control:
    """What one request asks the mock to do. Each field is the header `x-mock-<field with dashes>`.

    Tokens: `output_tokens` is the answer's wished length (20 where None), cut by the request's own cap;
    `reasoning` comes before it out of the same cap; `cached`, `cache_write`, `cache_write_1h` and `audio` are
    parts of the prompt, which counts as long as they are together where it is shorter.
    `status` other than 0 answers that error; with `fail_times` only the first that many requests of the same
    `fail_key`. `size` pads the answer to so many bytes. `model` is the model that the answer names.
    """

    output_tokens: int | None = None
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    audio: int = 0
    delay_ms: int = 0
    chunk_ms: int = 0
    status: int = 0
    size: int = 0
    fail_times: int = 0
    fail_key: str = ""
    model: str = ""
    reset: str = ""
    usage: str = ""
    body: str = ""
    encoding: str = ""


DEFAULT = Control()
_TEXTS = ("fail_key", "model")
_NAMES = tuple(f.name for f in fields(Control))


def read(headers: Iterable[tuple[bytes, bytes]]) -> Control:
    """Read the control headers (names in lower case). Raises BadControl naming the header."""
    values: dict[str, int | str] = {}
    for raw_name, raw_value in headers:
        if not raw_name.startswith(PREFIX):
            continue
        header = raw_name.decode("latin-1")
        name = header[len(PREFIX) :].replace("-", "_")
        value = raw_value.decode("latin-1").strip()
        if name not in _NAMES:
            known = ", ".join("x-mock-" + n.replace("_", "-") for n in _NAMES)
            raise BadControl(f"{header}: not a control header; known are {known}")
        values[name] = _value(header, name, value)
    if not values:
        return DEFAULT
    control = Control(**values)  # type: ignore[arg-type]
    if control.status and not 400 <= control.status <= 599:
        raise BadControl(f"x-mock-status: {control.status} is no error; give 400 to 599")
    return control


def _value(header: str, name: str, value: str) -> int | str:
    if name in _TEXTS:
        return value
    if name in WORDS:
        if value not in WORDS[name]:
            raise BadControl(f"{header}: {value!r} is not one of {', '.join(WORDS[name][1:])}")
        return value
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise BadControl(f"{header}: {value!r} is not a whole number")
    return int(value)
