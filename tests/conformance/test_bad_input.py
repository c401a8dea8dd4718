"""Bad input, from clients and from providers: traffic passes as it would without us; what could not be
metered is settled at the estimate, counted and logged once; nothing of ours breaks."""

from __future__ import annotations

import http.client
import json
from decimal import Decimal
from typing import Any

import pytest
from support.calls import chat, who
from support.gateway import Gateway
from support.policy import budget, policy
from support.provider import Provider
from support.raw_http import JSON, Answer, send
from support.raw_upstream import JSON as IS_JSON
from support.raw_upstream import SSE, RawUpstream, Reply, fixed, pieces

RAW_POLICY = POLICY = policy(budget("bounded", 1000), budget("spent", 0))
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MIB = 1024 * 1024
GOOD = (
    b'{"object":"chat.completion","model":"gpt-4o","choices":[],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}'
)
MESSAGE = [{"role": "user", "content": "hi"}]


def ask(**more: object) -> bytes:
    return json.dumps({"model": "gpt-4o", "max_tokens": 50, "messages": MESSAGE, **more}).encode()


def post(gateway: Gateway, body: bytes, team: str, target: str = CHAT, **headers: str) -> Answer:
    return send(gateway.url, "POST", target, {**JSON, **who(team), **headers}, body)


# -- requests -----------------------------------------------------------------------------------------------

UNREADABLE = {
    "empty": b"",
    "blank": b" \n",
    "truncated": b'{"model": "gpt-4o", "messages": [{"ro',
    "not-utf-8": b'{"model": "gpt-4o", "messages": [{"role":"user","content":"\xff\xfe\xfa"}]}',
    "lone-nul": b"\x00",
    "array": b'[{"model":"gpt-4o"}]',
    "string": b'"gpt-4o"',
    "number": b"1e999",
    "null": b"null",
    "nan": b'{"model": NaN}',
    "bom": b'\xef\xbb\xbf{"model":"gpt-4o","messages":[]}',
    "two-documents": b'{"model":"gpt-4o"}{"model":"gpt-4o"}',
    "deeply-nested-array": b"[" * 100_000,
    "deeply-nested": b'{"model":"gpt-4o","messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "nested-in-content": b'{"model":"gpt-4o","messages":[{"role":"user","content":'
    + b'[{"a":' * 400 + b"1" + b"}]" * 400 + b"}]}",
    "duplicate-keys": b'{"model":"gpt-4o-mini","model":"gpt-4o","messages":[],"messages":'
    b'[{"role":"user","content":"x"}]}',
    "no-model": b'{"messages":[{"role":"user","content":"hi"}]}',
    "huge-number": b'{"model":"gpt-4o","messages":[],"max_tokens":' + b"9" * 400 + b"}",
}  # fmt: skip
WRONG: dict[str, Any] = {
    "model": [None, 5, [], {}, "", "x" * 5000, "\u0000", "g\ud800"],
    "messages": [
        None,
        5,
        "hi",
        {},
        [5],
        [None],
        [[]],
        [{}],
        [{"role": 5, "content": 7}],
        [{"content": [{}]}],
    ],
    "max_tokens": ["5", -1, 0, 1.5, [], {}, True, 10**30],
    "n": ["2", 0, -3, 10**9, 1.5, []],
    "stream": ["true", 1, [], {}],
    "stream_options": [5, "x", [], {"include_usage": "yes"}, {"include_usage": 1}],
    "tools": [5, "x", {}, [5], [{"type": 7}]],
    "max_completion_tokens": [{}, "x", -5],
    "user": [5, [], {}, "u" * 10_000],
    "system": [5, {}, [5]],
    "thinking": [5, {"type": "enabled", "budget_tokens": "x"}, {"budget_tokens": -1}],
}
WRONG_FIELDS = [(field, i) for field, values in WRONG.items() for i in range(len(values))]


@pytest.mark.parametrize("target", [CHAT, MESSAGES])
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_body_that_we_can_not_read_reaches_the_provider_as_it_is(
    raw_gateway: Gateway, upstream: RawUpstream, name: str, target: str
) -> None:
    refused = b'{"error":{"message":"we do not understand"}}'
    upstream.reply = fixed(refused, IS_JSON, status="400 Bad Request")
    answer = post(raw_gateway, UNREADABLE[name], f"unreadable-{name}", target)
    assert (answer.status, answer.body) == (400, refused)
    assert upstream.last.body == UNREADABLE[name]
    assert raw_gateway.quiet(f"unreadable-{name}")["settled_usd"] == "0.00"


@pytest.mark.parametrize(("field", "i"), WRONG_FIELDS, ids=[f"{f}-{i}" for f, i in WRONG_FIELDS])
def test_a_field_of_the_wrong_type_is_for_the_provider_to_judge(
    raw_gateway: Gateway, upstream: RawUpstream, field: str, i: int
) -> None:
    document = {"model": "gpt-4o", "max_tokens": 50, "messages": MESSAGE, field: WRONG[field][i]}
    body = json.dumps(document).encode()
    refused = b'{"error":{"message":"wrong type"}}'
    for target in (CHAT, MESSAGES):
        upstream.reply = fixed(refused, IS_JSON, status="422 Unprocessable")
        answer = post(raw_gateway, body, "wrong-type", target)
        assert (answer.status, answer.body) == (422, refused)
        arrived = json.loads(upstream.last.body)
        if document.get("stream") in (True, 1, "true"):
            arrived.pop("stream_options", None)
        assert arrived == document
    assert raw_gateway.quiet("wrong-type")["settled_usd"] == "0.00"


@pytest.mark.parametrize("name", ["truncated", "array", "duplicate-keys", "no-model", "huge-number"])
def test_an_unreadable_request_that_the_provider_answers_is_metered_all_the_same(
    raw_gateway: Gateway, upstream: RawUpstream, name: str
) -> None:
    upstream.reply = fixed(GOOD, IS_JSON)
    team = f"answered-{name}"
    assert post(raw_gateway, UNREADABLE[name], team).body == GOOD
    row = raw_gateway.settled(team, 1)
    assert row["tokens"] == {"input": 9, "output": 4}
    assert Decimal(row["settled_usd"]) > 0


def test_other_content_types_and_none_are_metered_too(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    upstream.reply = fixed(GOOD, IS_JSON)
    for n, kind in enumerate(
        ("text/plain", "", "application/json;charset=\xfc", "x", "application/x-www-form"), 1
    ):
        answer = send(raw_gateway.url, "POST", CHAT, {"content-type": kind, **who("typed")}, ask())
        assert (answer.status, answer.body) == (200, GOOD)
        assert raw_gateway.settled("typed", n)["requests"] == n


def test_a_missing_team_is_unattributed_and_metered(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    upstream.reply = fixed(GOOD, IS_JSON)
    before = raw_gateway.row("unattributed")["requests"]
    assert send(raw_gateway.url, "POST", CHAT, JSON, ask()).status == 200
    row = raw_gateway.settled("unattributed", before + 1)
    assert "unattributed" in row["apps"]


ABSURD = ["", " ", "x" * 129, "x" * 20_000, "\xff\xfe", "a\tb", "caf\xe9"]


@pytest.mark.parametrize("i", range(len(ABSURD)))
@pytest.mark.parametrize(
    "header", ["x-llm-team", "x-llm-app", "x-llm-user", "x-llm-run", "x-require-model", "traceparent"]
)
def test_absurd_header_values_break_nothing(
    raw_gateway: Gateway, upstream: RawUpstream, header: str, i: int
) -> None:
    upstream.reply = fixed(GOOD, IS_JSON)
    headers = {**JSON, **who("absurd"), header: ABSURD[i]}
    answer = send(raw_gateway.url, "POST", CHAT, headers, ask())
    assert (answer.status, answer.body) == (200, GOOD)


def test_absurd_teams_make_no_series_and_no_rows(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    upstream.reply = fixed(GOOD, IS_JSON)
    before = {r["team"] for r in raw_gateway.rows()}
    for team in ("x" * 129, "x" * 5000, "a\tb"):
        send(raw_gateway.url, "POST", CHAT, {**JSON, "x-llm-team": team}, ask())
    assert {r["team"] for r in raw_gateway.rows()} <= {*before, "unattributed"}


def test_hostile_names_are_kept_apart_in_ledger_and_metrics(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = fixed(GOOD, IS_JSON)
    teams = [
        "{x}",
        "a}b{c",
        "a:b:c",
        "a*",
        'quo"te',
        "back\\slash",
        "../up",
        "%s%n",
        "team with spaces",
        "a=b;c",
    ]
    for team in teams:
        assert post(raw_gateway, ask(), team).status == 200
    for team in teams:
        assert raw_gateway.settled(team, 1)["requests"] == 1
        assert raw_gateway.metric("llm_cost_usd_total", team=team) > 0


def test_a_name_with_a_comma_is_two_headers_and_names_nobody(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = fixed(GOOD, IS_JSON)
    before = raw_gateway.quiet("unattributed")["requests"]
    assert post(raw_gateway, ask(), "a,b").status == 200
    raw_gateway.settled("unattributed", before + 1)
    assert raw_gateway.row("a,b")["requests"] == raw_gateway.row("a")["requests"] == 0


# -- answers ------------------------------------------------------------------------------------------------

CUT_STREAM = b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"The"}}]}\n\ndata: {"mod'


def _with_usage(usage: object) -> bytes:
    return json.dumps(
        {"object": "chat.completion", "model": "gpt-4o", "choices": [], "usage": usage}
    ).encode()


ANSWERS: dict[str, tuple[Reply, bytes]] = {}
for _name, _body in {
    "not-json": b"<html>oops</html>",
    "empty": b"",
    "truncated": GOOD[:-20],
    "array": b"[]",
    "null": b"null",
    "not-utf-8": b'{"usage":"\xff\xfe"}',
    "deeply-nested": b"[" * 200_000,
    "no-usage": b'{"object":"chat.completion","choices":[]}',
    "usage-null": _with_usage(None),
    "usage-string": _with_usage("9"),
    "usage-list": _with_usage([9]),
    "usage-negative": _with_usage({"prompt_tokens": -9, "completion_tokens": 4, "total_tokens": -5}),
    "usage-float": _with_usage({"prompt_tokens": 9.5, "completion_tokens": 4}),
    "usage-bool": _with_usage({"prompt_tokens": True, "completion_tokens": 4}),
    "usage-huge": _with_usage(
        {"prompt_tokens": 10**18, "completion_tokens": 10**18, "total_tokens": 2 * 10**18}
    ),
    "usage-beyond-64-bits": _with_usage({"prompt_tokens": 10**30, "completion_tokens": 1}),
}.items():
    ANSWERS[_name] = (fixed(_body, IS_JSON), _body)
ANSWERS["no-json-type"] = (fixed(b"<p>hi</p>", "content-type: text/html"), b"<p>hi</p>")
ANSWERS["unknown-coding"] = (fixed(GOOD, IS_JSON, "content-encoding: x-odd"), GOOD)
ANSWERS["lying-gzip"] = (fixed(GOOD, IS_JSON, "content-encoding: gzip"), GOOD)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_can_not_be_metered_passes_and_costs_the_estimate(
    raw_gateway: Gateway, upstream: RawUpstream, name: str
) -> None:
    upstream.reply, body = ANSWERS[name]
    team = f"odd-{name}"
    before = raw_gateway.metric("spendgate_unmetered_total")
    answer = post(raw_gateway, ask(), team)
    assert (answer.status, answer.body) == (200, body)
    line = raw_gateway.line(team)
    assert line["outcome"] == "unmetered"
    assert line["cost_usd"] == line["estimate_usd"] == raw_gateway.settled(team, 1)["settled_usd"]
    assert Decimal(line["cost_usd"]) > 0
    assert raw_gateway.metric("spendgate_unmetered_total") == before + 1
    assert raw_gateway.metric("spendgate_unmetered_total", reason=line["unmetered"]) >= 1
    assert len([x for x in raw_gateway.logged("unmetered") if line["exchange_id"] in x]) == 1


def test_counts_as_texts_are_counts(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    body = _with_usage({"prompt_tokens": "9", "completion_tokens": "4"})
    upstream.reply = fixed(body, IS_JSON)
    assert post(raw_gateway, ask(), "counts-as-texts").body == body
    line = raw_gateway.line("counts-as-texts")
    assert (line["outcome"], line["tokens"]) == ("complete", {"input": 9, "output": 4})


STREAMS = {
    "no-usage": b'data: {"model":"gpt-4o","choices":[]}\n\ndata: [DONE]\n\n',
    "garbage": b"\x00\xff\n\n:\n\ndata\n\ndata: {]\n\nevent: \xff\n\n" + b"data: [DONE]\n\n",
    "negative": b'data: {"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":-1}}\n\ndata: [DONE]\n\n',
    "huge": b'data: {"choices":[],"usage":{"prompt_tokens":1'
    + b"0" * 17
    + b',"completion_tokens":1}}\n\ndata: [DONE]\n\n',
    "strings": b'data: {"choices":[],"usage":{"prompt_tokens":"1","completion_tokens":"1"}}\n\ndata: [DONE]\n\n',
    "one-endless-line": b"data: " + b"x" * MIB,
    "empty": b"",
}


@pytest.mark.parametrize("asked", [True, False], ids=["usage-asked", "usage-hidden"])
@pytest.mark.parametrize("name", STREAMS)
def test_an_odd_stream_passes_and_leaves_no_hold(
    raw_gateway: Gateway, upstream: RawUpstream, name: str, asked: bool
) -> None:
    wire = STREAMS[name]
    upstream.reply = pieces([wire[i : i + 40_000] for i in range(0, len(wire), 40_000)], SSE)
    more = {"stream_options": {"include_usage": True}} if asked else {}
    team = f"stream-{name}-{asked}"
    answer = post(raw_gateway, ask(stream=True, **more), team)
    assert answer.status == 200
    if asked or name in ("no-usage", "garbage", "one-endless-line", "empty"):
        assert answer.body == wire
    line = raw_gateway.line(team)
    if name == "strings":
        assert (line["outcome"], line["tokens"]) == ("complete", {"input": 1, "output": 1})
    elif name == "no-usage":
        assert (line["outcome"], line["charged_by"]) == ("complete", "counted")
    else:
        assert line["outcome"] in ("unmetered", "failed")
    if name in ("garbage", "negative", "huge"):
        assert line["outcome"] == "unmetered"
        assert line["cost_usd"] == line["estimate_usd"]
    assert raw_gateway.quiet(team)["reserved_usd"] == "0.00"


@pytest.mark.parametrize("usage", ["none", "negative", "string", "huge"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_sdk_gets_its_answer_whatever_usage_the_provider_reports(
    gateway: Gateway, usage: str, stream: bool
) -> None:
    team = f"{usage}-{stream}"
    if stream:
        chunks = gateway.openai.chat.completions.create(
            model="gpt-4o",
            messages=MESSAGE,
            max_tokens=8,
            stream=True,
            extra_headers=who(team, usage=usage, output_tokens=8),
        )
        assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) == 8
    else:
        assert chat(gateway, team, max_tokens=8, usage=usage).answer.choices
    line = gateway.line(team)
    if stream and line["outcome"] == "aborted":  # the SDK hung up at [DONE], before the stream's own end came
        assert 0 < Decimal(line["cost_usd"]) <= Decimal(line["estimate_usd"])
    elif usage in ("none", "string"):
        by = {"none": "counted", "string": "usage"}[usage]
        assert (line["outcome"], line["charged_by"]) == ("complete", by)
        assert line["tokens"]["output"] == 8
    else:
        assert (line["outcome"], line["cost_usd"]) == ("unmetered", line["estimate_usd"])


# -- answers that end too early -----------------------------------------------------------------------------


def test_a_json_answer_that_is_cut_costs_the_estimate(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    # cut once its headers were surely seen: Envoy tells nothing of an answer that breaks before
    upstream.reply = fixed(GOOD[:40], IS_JSON, length=len(GOOD), pause_s=0.5)
    try:
        status = post(raw_gateway, ask(), "cut-json").status
    except (http.client.HTTPException, ConnectionError):
        status = 0  # cut for the client as it was for us
    assert status == 0 or status >= 500
    line = raw_gateway.line("cut-json")  # what a provider resets looks as if the client had left
    assert (line["outcome"], line["charged_by"], line["cost_usd"]) == (
        "aborted",
        "hold",
        line["estimate_usd"],
    )
    assert raw_gateway.settled("cut-json", 1)["reserved_usd"] == "0.00"


def test_a_spent_budget_is_no_way_around_by_odd_bodies(gateway: Gateway, provider: Provider) -> None:
    bill = provider.billed()
    odd = UNREADABLE["duplicate-keys"]
    for target in (CHAT, "/v1/chat/completions/", "//v1/chat//completions", "/v1/chat/completion%73"):
        assert post(gateway, odd, "spent", target).status in (404, 429)
    assert post(gateway, b"", "spent").status == 403
    assert bill.requests() == 0
