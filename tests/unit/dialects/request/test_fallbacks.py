"""Lists of models that may answer in the asked one's stead: read, and taken out where another model is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.dialects import registry
from spendgate.dialects.base import RequestFacts
from spendgate.dialects.request import fallbacks
from spendgate.dialects.wire import json_edit
from spendgate.errors import RequestError

DEAR = "anthropic/claude-opus-4-1"


MESSAGES = [{"role": "user", "content": "hi"}]
PLACES = [
    ("/v1/chat/completions", {"messages": MESSAGES}),
    ("/v1/responses", {"input": "hi"}),
    ("/v1/completions", {"prompt": "hi"}),
    ("/v1/embeddings", {"input": "hi"}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 9}),
    ("/v2/chat", {"messages": MESSAGES}),
]


@pytest.mark.parametrize(
    ("fields", "models"),
    [
        ({"models": ["m", DEAR]}, (DEAR,)),
        ({"models": [{"model": DEAR}, "n"]}, (DEAR, "n")),
        ({"fallbacks": [{"model": DEAR, "max_tokens": 9}]}, (DEAR,)),
        ({"fallbacks": [DEAR, "n"]}, (DEAR, "n")),
        ({"fallbacks": [{"m": [DEAR, "n"]}]}, (DEAR, "n")),
        ({"fallbacks": DEAR}, (DEAR,)),
        ({"fallbacks": "default"}, ("*",)),
        ({"fallbacks": "off"}, ()),
        ({"fallbacks": []}, ()),
        ({"fallback_models": [DEAR]}, (DEAR,)),
        ({"fallback": {"model": DEAR}}, (DEAR,)),
        ({"context_window_fallbacks": [{"m": [DEAR]}]}, (DEAR,)),
        ({"content_policy_fallbacks": [{"m": [DEAR]}]}, (DEAR,)),
        ({"config": {"targets": [{"override_params": {"model": DEAR}}]}}, (DEAR,)),
        ({"plugins": [{"id": "auto-router", "allowed_models": [DEAR]}]}, (DEAR,)),
        ({"route": "fallback"}, ("*",)),
        ({"preset": "ravenel"}, ("*",)),
        ({"preset": "ravenel", "models": [DEAR]}, (DEAR, "*")),
        ({"model": f"m,{DEAR} , n"}, (DEAR, "n")),
        ({"model": ["m", DEAR]}, (DEAR,)),
        ({"model": f"m,{DEAR},m,m,{DEAR}"}, (DEAR, "m", "m", DEAR)),
        ({"provider": {"order": ["a"], "allow_fallbacks": True}}, ()),
        ({}, ()),
    ],
    ids=str,
)
def test_every_list_of_models_is_read(fields: dict[str, Any], models: tuple[str, ...]) -> None:
    assert fallbacks.read(fields, "m") == models


@pytest.mark.parametrize(("path", "fields"), [PLACES[i] for i in (0, 1, 2, 3, 5)], ids=lambda v: str(v)[:30])
def test_several_models_are_all_asked_and_all_billed(path: str, fields: dict[str, Any]) -> None:
    dialect = registry.find("POST", path, "application/json")
    assert dialect is not None

    def read(model: str) -> RequestFacts:
        return dialect.read_request(json.dumps({"model": model, **fields}).encode(), path)

    facts = read(f"a, {DEAR},a")
    assert (facts.model, facts.fallbacks, facts.fallbacks_add, facts.answers) == ("a", (DEAR, "a"), True, 3)
    one = read("a")
    assert (one.model, one.fallbacks, one.fallbacks_add, one.answers) == ("a", (), False, 0)
    with pytest.raises(RequestError):
        read(",".join("m" * (fallbacks.MODELS_MAX + 1)))


@pytest.mark.parametrize(
    "router",
    [
        "openrouter/auto",
        "auto",
        "@preset/x",
        "openai/gpt-4o@preset/x",
        "model-router",
        "arn:aws:bedrock:eu:1:default-prompt-router/a:1",
    ],
)
def test_a_router_may_answer_with_any_model(router: str) -> None:
    assert fallbacks.read({}, router) == ("*",)


def test_a_list_too_long_to_be_read_counts_as_any_model() -> None:
    found = fallbacks.read({"models": [f"m{i}" for i in range(100)]})
    assert len(found) == fallbacks.MODELS_MAX + 1 and found[-1] == "*"


@pytest.mark.parametrize(("path", "fields"), PLACES, ids=lambda v: str(v)[:30])
def test_another_model_that_is_written_takes_the_list_out(path: str, fields: dict[str, Any]) -> None:
    dialect = registry.find("POST", path, "application/json")
    assert dialect is not None
    body = json.dumps({"models": ["a", DEAR], "model": "a", **fields, "route": "fallback"}).encode()
    facts = dialect.read_request(body, path)
    assert facts.fallbacks == (DEAR,)
    written = dialect.rewrite(body, facts, model="cheap", output_cap=None, ask_usage=False)
    assert json.loads(written) == {"model": "cheap", **fields}
    kept = dialect.rewrite(body, facts, model=None, output_cap=5, ask_usage=False)
    assert json.loads(kept)["models"] == ["a", DEAR]


def test_members_are_taken_out_and_every_other_byte_stays() -> None:
    assert json_edit.without(b'{ "a": 1, "b": [1,{"a":2}] ,"c":3 }', {"b"}) == b'{ "a": 1,"c":3 }'
    assert json_edit.without(b'{"a":1,"b":2}', {"a"}) == b'{"b":2}'
    assert json_edit.without(b'{"a":1,"b":2}', {"b"}) == b'{"a":1}'
    assert json_edit.without(b'{"a":1}', {"a"}) == b"{}"
    assert json_edit.without(b'{"\\u0061":1,"b":2}', {"a"}) == b'{"b":2}'
    assert json_edit.without(b'{"x":{"a":1}}', {"a"}) == b'{"x":{"a":1}}'


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.recursive(st.integers(), st.lists, max_leaves=4))),
    st.sets(st.sampled_from("abcd")),
)
def test_what_is_left_is_the_object_without_its_members(
    members: list[tuple[str, Any]], keys: set[str]
) -> None:
    body = "{" + " , ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in members) + "}"
    left = json.loads(json_edit.without(body.encode(), keys))
    assert left == {k: v for k, v in json.loads(body).items() if k not in keys}


@pytest.mark.parametrize(("path", "fields"), PLACES[:2], ids=lambda v: str(v)[:30])
def test_a_list_alone_names_the_model_that_is_asked_first(path: str, fields: dict[str, Any]) -> None:
    dialect = registry.find("POST", path, "application/json")
    assert dialect is not None
    facts = dialect.read_request(json.dumps({"models": ["a", DEAR], **fields}).encode(), path)
    assert (facts.model, facts.fallbacks) == ("a", (DEAR,))


@pytest.mark.parametrize("named", [{"preset": "x"}, {"model": "@preset/x"}, {"model": "a@preset/x"}])
@pytest.mark.parametrize(("path", "fields"), [PLACES[i] for i in (0, 1, 2, 4)], ids=lambda v: str(v)[:30])
def test_what_is_stored_at_the_provider_is_unseen_input(
    path: str, fields: dict[str, Any], named: dict[str, str]
) -> None:
    dialect = registry.find("POST", path, "application/json")
    assert dialect is not None
    assert dialect.read_request(json.dumps({"model": "a", **fields, **named}).encode(), path).unseen_input
    assert not dialect.read_request(json.dumps({"model": "a", **fields}).encode(), path).unseen_input
