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
_TURNS = re.compile(r"(?:^|[/\\])[\s.]*\.\.[\s.]*(?:[;/\\]|$)|[\x00?#].*[/\\]", re.DOTALL)
"""Segments that lead back, and ends that are none to who splits a path at its slashes first."""


@lru_cache(maxsize=64)  # every dialect asks for the same path in turn
def plain(path: str) -> str:
    """A path (without query) as servers route it: decoded, slashes merged, dots resolved, parameters and blanks taken
    off, none at its end. Its case stays: it may hold a model's name."""
    if _USUAL.fullmatch(path):
        return path
    path = _decoded(path)
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


def uncut(path: str) -> str:
    """A path (without query) as a server routes it to whom an encoded `?`, `#` or zero byte ends nothing."""
    return path if _USUAL.fullmatch(path) is not None else _END.sub("_", _decoded(path))


def turns(path: str) -> bool:
    """Does a path (without query) lead back, or seem to end before its last segment? Where it leads then depends on
    who decodes, merges slashes and takes parameters off before or after it resolves dots; so it may be any path. No
    honest client sends one."""
    return _USUAL.fullmatch(path) is None and _TURNS.search(_decoded(path)) is not None


def _decoded(path: str) -> str:
    for _ in range(DECODED_MAX):
        if "%" not in path:
            break
        path = unquote(path)
    return path


def is_call(method: str) -> bool:
    """A POST, whatever it says it carries: providers read the body, not the label, so a wrong label must be no way
    around the meter."""
    return method.upper() == "POST"
