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


def is_call(method: str, content_type: str) -> bool:
    """A POST that may carry JSON, whatever it says it carries: providers read the body, not the label, so a
    wrong label must be no way around the meter. Only a form is surely none."""
    media_type = content_type.partition(";")[0].strip().lower()
    return method.upper() == "POST" and media_type != "multipart/form-data"
