"""Tags: read from headers, claims and W3C baggage; what is absurd is as if it were not there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spendgate.identity.identity import Caller
from spendgate.identity.tags import BAGGAGE_BYTES_MAX, TagSource, members, tags_of
from spendgate.settings.config import Settings

SOURCES = (
    TagSource("project", baggage="project"),
    TagSource("centre", header="x-cost-centre"),
    TagSource("grade", claim="hr.grade"),
)


def tags(headers: dict[str, str], *claims: dict[str, object]) -> dict[str, str]:
    return dict(tags_of(Caller(headers, claims=claims), SOURCES))


def test_each_is_read_where_the_settings_say() -> None:
    headers = {"baggage": "userId=alice,project=beta%20two;ttl=30 , x = 1", "x-cost-centre": " 4711 "}
    assert tags(headers, {"hr": {"grade": 7}}) == {"project": "beta two", "centre": "4711", "grade": "7"}


def test_of_several_tokens_the_first_that_says_it_counts() -> None:
    assert tags({}, {"sub": "x"}, {"hr.grade": "b"}, {"hr": {"grade": "c"}}) == {"grade": "b"}


@pytest.mark.parametrize("value", ["", "  ", "x" * 129, "a%0Ab", "%00", "a%80b\ud800", "a%09b"])
def test_what_is_absurd_is_not_there(value: str) -> None:
    assert "project" not in tags({"baggage": f"project={value}"})
    assert tags({}, {"hr": {"grade": True}}) == tags({}, {"hr": {"grade": ["a"]}}) == {}


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("a=1,b=2", {"a": "1", "b": "2"}),
        ("a = 1 ; secret = x ; y , b=2;z", {"a": "1", "b": "2"}),
        ("a=1,a=2", {"a": "1"}),
        ("a=b=c", {"a": "b=c"}),
        ("=1,,;,a,b=", {"b": ""}),
        ("a=%C3%A9%2C%3D", {"a": "é,="}),
        ("a=" + "x" * BAGGAGE_BYTES_MAX, {}),
        (",".join(f"k{n}={n}" for n in range(70)), {f"k{n}": str(n) for n in range(64)}),
    ],
)
def test_baggage_is_read_as_its_recommendation_says(header: str, found: dict[str, str]) -> None:
    assert members(header) == found


@given(st.text(max_size=300))
def test_no_baggage_breaks_it(header: str) -> None:
    for value in tags({"baggage": header, "x-cost-centre": header}).values():
        assert value.isprintable() and len(value) <= 128


def test_settings_name_where_each_tag_stands() -> None:
    settings = Settings.model_validate(
        {"tags": {"project": {"baggage": "project"}, "centre": {"header": "X-Centre"}}}
    )
    assert settings.tag_sources() == (
        TagSource("project", baggage="project"), TagSource("centre", header="x-centre"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tags_", "problem"),
    [
        ({"project": {}}, "one of header, claim, baggage"),
        ({"project": {"header": "a", "claim": "b"}}, "one of header, claim, baggage"),
        ({"Pro ject": {"header": "a"}}, "pattern"),
        ({f"t{n}": {"header": "a"} for n in range(17)}, "name at most 16"),
    ],
)
def test_what_is_wrong_with_them_is_said(tags_: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"tags": tags_})
    assert problem in str(caught.value)
