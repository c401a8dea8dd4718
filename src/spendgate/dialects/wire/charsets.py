"""The charset of a request's text: told by a byte order mark, by JSON's own pattern of zeros, or by the content type.

Servers differ in which of the three they look at. What the bytes themselves say counts first: text that is UTF-8 is
read as such whatever its label says. A charset whose bytes below 128 are not ASCII, or that switches its meaning on
the way (UTF-7, HZ, ISO 2022), could make two readers see two requests, so it is not read at all. Pure.
"""

from __future__ import annotations

import codecs
import re
from encodings.aliases import aliases

from spendgate.errors import RequestError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf_32_le"),
    (codecs.BOM_UTF32_BE, "utf_32_be"),
    (codecs.BOM_UTF16_LE, "utf_16_le"),
    (codecs.BOM_UTF16_BE, "utf_16_be"),
)  # UTF-32's little mark begins with UTF-16's
_ZEROS = {
    (True, True, True, False): "utf_32_be",
    (False, True, True, True): "utf_32_le",
    (True, False, True, False): "utf_16_be",
    (False, True, False, True): "utf_16_le",
}
"""Which of the first four bytes are zero where a text begins with two characters of ASCII (RFC 4627, section 3)."""
_LABEL = re.compile(r"charset\s*=\s*[\"']?([^\s;\"',]+)", re.IGNORECASE)
_UTF_8 = "utf_8"
_WIDE = frozenset(f"utf_{bits}{order}" for bits in (16, 32) for order in ("", "_le", "_be"))
_ONE_BYTE = frozenset(
    (
        "ascii", "latin_1", *(f"iso8859_{n}" for n in (*range(2, 12), *range(13, 17))),
        *(f"cp{n}" for n in range(1250, 1259)), "koi8_r", "koi8_u", "mac_roman",
    )
)  # fmt: skip
"""One byte a character, ASCII as its lower half."""
_READ = {name: name for name in (_UTF_8, *_WIDE, *_ONE_BYTE)}
_CODECS = {
    **{alias: codec for alias, codec in aliases.items() if codec in _READ},
    **_READ,
    **{name.replace("_", ""): name for name in _WIDE},
    "utf_8_sig": _UTF_8,
}
"""Python's codec by each name of a charset that is read. (Asking `codecs` would remember whatever a client sends.)"""


def label_of(content_type: str) -> str:
    """The charset that a content type names, as Python calls it; `` where it names none. Raises RequestError for
    one that is not read, and for two: servers differ in which of them counts."""
    name = ""
    for given in _LABEL.findall(content_type) if "=" in content_type else ():
        found = _CODECS.get(given.lower().replace("-", "_"), "")
        if not found:
            raise RequestError(f"the content type's charset {given[:40]!r} is not read here; send UTF-8")
        if name not in ("", found):
            raise RequestError(f"the content type names two charsets, {name} and {found}; send UTF-8")
        name = found
    return name


def to_utf8(body: bytes, content_type: str) -> tuple[bytes, str]:
    """The same text in UTF-8 without a byte order mark, and the charset it came in where that was another (``
    where the bytes are as they were, or only lost their mark). Raises RequestError."""
    if body.isascii() and b"\x00" not in body[:4]:
        label_of(content_type)
        return body, ""
    if body.startswith(codecs.BOM_UTF8):
        return body, ""
    found = next((name for mark, name in _MARKS if body.startswith(mark)), "") or _by_zeros(body)
    if found:
        return _decoded(body, found).encode("utf-8", "surrogatepass"), found
    label = label_of(content_type)
    if not label or label == _UTF_8 or _is_utf8(body):
        return body, ""
    return _decoded(body, label).encode("utf-8", "surrogatepass"), label


def _by_zeros(body: bytes) -> str:
    if len(body) < 4:
        return ""
    return _ZEROS.get((body[0] == 0, body[1] == 0, body[2] == 0, body[3] == 0), "")


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset, "surrogatepass" if charset in _WIDE else "strict").removeprefix("\ufeff")
    except UnicodeDecodeError as e:
        raise RequestError(f"the body is not {charset} at byte {e.start}") from e
