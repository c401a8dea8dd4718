"""The dialects that are spoken, and which one a request is in."""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from importlib import import_module

import spendgate.dialects
from spendgate.dialects.base import Dialect
from spendgate.dialects.request import paths

FIRST = "openai"
"""The family that most copy: what is in nobody's words is told in its."""


def _families() -> list[str]:
    """The folders beside this module whose `__init__` lists dialects; the one that most copy comes first."""
    folders = [m.name for m in pkgutil.iter_modules(spendgate.dialects.__path__) if m.ispkg]
    return sorted(folders, key=lambda name: (name != FIRST, name))


DIALECTS: tuple[Dialect, ...] = tuple(
    dialect
    for family in _families()
    for dialect in getattr(import_module(f"spendgate.dialects.{family}"), "DIALECTS", ())
)
_BY_NAME = {dialect.name: dialect for dialect in DIALECTS}

KNOWN_PATH_MAX = 256
"""Longer paths are not remembered, so that a client cannot fill the memory with them."""


def find(method: str, path: str, content_type: str) -> Dialect | None:
    """The dialect of a request (path without query), None where no API is known that costs money."""
    media_type = content_type.partition(";")[0]
    return (_known if len(path) <= KNOWN_PATH_MAX else _search)(method, path, media_type)


def claims(path: str) -> bool:
    """Would a POST with a body to this path (without query) be metered, or may some server take it for one that is?"""
    if _owned(path) or paths.turns(path):
        return True
    uncut = paths.uncut(path)
    return uncut != path and _owned(uncut)


def _owned(path: str) -> bool:
    dialect = find("POST", path, "")
    return dialect is not None and dialect.owns_path


def _search(method: str, path: str, media_type: str) -> Dialect | None:
    return next((d for d in DIALECTS if d.matches(method, path, media_type)), None)


_known = lru_cache(maxsize=2048)(_search)  # asking every dialect for its pattern costs up to 0.1 ms


def nearest(path: str) -> Dialect:
    """The dialect whose errors a client of this path most likely reads: by what a path has in common with
    those of its family, else OpenAI's, which most copy."""
    place = paths.plain(path).lower()
    marked = (d for d in DIALECTS if any(mark in place for mark in d.path_marks))
    return next(marked, DIALECTS[0])


def by_name(name: str) -> Dialect:
    """The dialect of this name. Raises KeyError, which names those there are."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    raise KeyError(f"no dialect {name!r}; there are {', '.join(_BY_NAME)}")


def provider_of(name: str) -> str:
    """Who must be asked in the dialect of this name, `` where many speak it, or where it is none."""
    dialect = _BY_NAME.get(name)
    return dialect.provider if dialect is not None and not dialect.copied else ""
