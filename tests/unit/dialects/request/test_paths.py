"""Paths as the most generous of servers read them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.dialects.test_every_dialect import EACH

from spendgate.dialects import registry
from spendgate.dialects.base import Dialect
from spendgate.dialects.request import paths

SPELLINGS: dict[str, Callable[[str], str]] = {
    "case": str.upper,
    "slashes": lambda path: path.replace("/", "//"),
    "trailing slash": lambda path: path + "/",
    "dot before the last": lambda path: "/./".join(path.rsplit("/", 1)),
    "dot at the end": lambda path: path + "/.",
    "back and forth": lambda path: "/x/.." + path,
    "encoded dots": lambda path: "/x/%2e%2E" + path,
    "encoded slashes": lambda path: path[0] + path[1:].replace("/", "%2F"),
    "twice encoded": lambda path: path.replace("e", "%2565"),
    "parameter": lambda path: path + ";a=b",
    "parameters": lambda path: path[0] + path[1:].replace("/", ";v=1/"),
    "dots with a parameter": lambda path: "/x/..;y" + path,
    "blank": lambda path: path + "%20",
    "tab": lambda path: path + "%09",
    "full stop": lambda path: path + ".",
    "backslash": lambda path: path[0] + path[1:].replace("/", "\\"),
    "encoded backslash": lambda path: path[0] + path[1:].replace("/", "%5c"),
    "zero byte": lambda path: path + "%00.png",
    "encoded query": lambda path: path + "%3Fa=b",
    "fragment": lambda path: path + "%23a",
    "prefix": lambda path: "/some/prefix" + path,
}


@EACH
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_metered_path_is_metered_however_it_is_spelled(dialect: Dialect, spelling: str) -> None:
    path = SPELLINGS[spelling](dialect.paths[0])
    found = registry.find("POST", path, "")
    assert found is dialect
    assert found.read_request(b'{"requests":[{}]}', path).model


@given(st.text(alphabet="/.%2eEfF;a :\\\x00?", max_size=30))
def test_what_is_plain_stays(path: str) -> None:
    once = paths.plain(path)
    assert once == "" or once.startswith("/")
    assert "//" not in once and "/./" not in once and ";" not in once
    if "%" not in once:
        assert paths.plain(once) == once


def test_a_models_own_name_keeps_its_case() -> None:
    assert paths.plain("/v1/models/MyTuned-Model:generateContent").count("MyTuned-Model") == 1


@pytest.mark.parametrize("piece", ["/", "/..", "/.", "%25", "/;", "/a;", "/a.", " /", "\\"])
def test_a_hostile_path_costs_no_more_than_its_length(piece: str) -> None:
    assert registry.find("POST", piece * (60_000 // len(piece)), "") is None
