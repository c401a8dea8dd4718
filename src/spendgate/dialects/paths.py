"""Which requests belong to a dialect: paths as the most generous of servers read them. Pure.

Servers differ: some match without regard to case, some decode twice, some resolve dots, drop `;parameters`, take a
backslash for a slash, or end a path at a zero byte. What any of them may take for a metered path is one. Requests go on
byte for byte as they came; this is for matching alone.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

DECODED_MAX = 4
"""So often is a path decoded; nobody decodes it more often."""

_USUAL = re.compile(r"(?:/[A-Za-z0-9_~@$:-][A-Za-z0-9_.~@$:-]*(?<![.]))+")
"""What needs no second look."""
_END = re.compile("[\x00?#]")


@lru_cache(maxsize=64)  # every dialect asks for the same path in turn
def plain(path: str) -> str:
    """A path (without query) as servers route it: decoded, slashes merged, dots resolved, parameters and blanks taken
    off, none at its end. Its case stays: it may hold a model's name."""
    if _USUAL.fullmatch(path):
        return path
    for _ in range(DECODED_MAX):
        if "%" not in path:
            break
        path = unquote(path)
    end = _END.search(path)
    path = (path[: end.start()] if end is not None else path).replace("\\", "/")
    out: list[str] = []
    for segment in path.split("/"):
        segment = segment.partition(";")[0].strip()
        if segment == "..":
            del out[-1:]
        elif segment := segment.rstrip(". "):
            out.append(segment)
    return "/" + "/".join(out) if out else ""


def is_call(method: str) -> bool:
    """A POST, whatever it says it carries: providers read the body, not the label, so a wrong label must be no way
    around the meter."""
    return method.upper() == "POST"
