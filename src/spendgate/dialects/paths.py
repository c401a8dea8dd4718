"""Which requests belong to a dialect."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

_SLASHES = re.compile("//+")


@lru_cache(maxsize=64)  # every dialect asks for the same path in turn
def plain(path: str) -> str:
    """The path as servers route it: percent-decoded, slashes merged, none at its end."""
    path = unquote(path) if "%" in path else path
    return (_SLASHES.sub("/", path) if "//" in path else path).rstrip("/")


def is_call(method: str) -> bool:
    """A POST, whatever it says it carries: providers read the body, not the label, so a wrong label must be no way
    around the meter."""
    return method.upper() == "POST"
