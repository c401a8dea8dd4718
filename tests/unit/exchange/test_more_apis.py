"""What the gateway knows beside the dialects: unknown and free APIs, deployments, signatures, told bills."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from unit.exchange.driver import Drive, chat, chat_answer, snapshot_of

from spendgate.errors import ConfigurationError
from spendgate.exchange import events as e
from spendgate.records.outcome import Outcome
from spendgate.settings.config import Settings, load_config

SMALL = "{team: ml, monthlyBudgetUSD: 10, defaultModel: gpt-4o-mini}"
EMPTY = "{team: ml, monthlyBudgetUSD: 0}"
STRICT = "{team: ml, monthlyBudgetUSD: 10, unknownApis: reject}"
PRESSED = """
team: ml
monthlyBudgetUSD: 10
defaultModel: gpt-4o-mini
alertThresholds: [{percent: 1, action: alert_and_downgrade}]
"""
SIGNED = {
    "authorization": "AWS4-HMAC-SHA256 Credential=K/20261124/us-east-1/bedrock/aws4_request, "
    "SignedHeaders=content-type;host;x-amz-date;x-llm-team, Signature=abc"
}


def header(action: e.Action, name: str) -> str | None:
    pairs: Any = getattr(action, "set_headers", None) or getattr(action, "headers", ())
    return dict(pairs).get(name)


# -- unknown and free APIs --------------------------------------------------------------------------------


def test_an_unknown_api_passes_and_is_said_to_be_unknown() -> None:
    assert Drive(snapshot_of(SMALL)).send(b"{}", path="/v1/videos") == e.Pass(unknown=True)
    assert Drive(snapshot_of(STRICT)).send(b"", path="/v1/models", method="GET", end=True) == e.Pass()
    assert Drive(snapshot_of(STRICT)).send(b"{}", path="/v1/messages/count_tokens") == e.Pass()


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("policy", [STRICT, SMALL])
def test_a_metered_path_by_another_method_is_refused(method: str, policy: str) -> None:
    action = Drive(snapshot_of(policy)).send(chat(), method=method)
    assert isinstance(action, e.Reject)
    assert (action.status, action.reason) == (403, "unknown_api")


@pytest.mark.parametrize(
    ("policy", "settings", "host", "passes"),
    [
        (SMALL, {}, "gateway.example", True),
        (SMALL, {}, "api.openai.com", False),
        (SMALL, {"upstreams": [{"name": "o", "url": "https://api.openai.com"}]}, "gateway.example", False),
        (SMALL, {"upstreams": [{"name": "o", "url": "http://127.0.0.1:1"}]}, "gateway.example", True),
        (SMALL, {"upstreams": [{"name": "o", "url": "http://a:1", "provider": "azure"}]}, "", False),
        (SMALL, {"unknown_apis": "reject"}, "gateway.example", False),
        (SMALL, {"unknownApis": "pass"}, "api.openai.com", True),
        (STRICT, {"unknown_apis": "pass"}, "gateway.example", False),
        (
            "{team: ml, monthlyBudgetUSD: 10, unknownApis: pass}",
            {"unknown_apis": "reject"},
            "api.openai.com",
            True,
        ),
        ("{team: ml, monthlyBudgetUSD: 10, mode: audit}", {"unknown_apis": "reject"}, "api.openai.com", True),
        ("", {"unknown_apis": "reject"}, "api.openai.com", True),
    ],
)
def test_an_unknown_api_is_refused_where_a_known_provider_answers_or_someone_says_so(
    policy: str, settings: dict[str, object], host: str, passes: bool
) -> None:
    d = Drive(snapshot_of(policy, **settings))
    action = d.send(b"{}", path="/v1/videos", headers={":authority": host})
    assert (action == e.Pass(unknown=True)) is passes
    assert passes or isinstance(action, e.Reject)


def test_a_free_path_is_free_behind_its_upstreams_prefix() -> None:
    prefixed = {"upstreams": [{"name": "o", "url": "https://api.openai.com", "strip_prefix": "/team-a/llm"}]}
    assert Drive(snapshot_of(SMALL, **prefixed)).send(b"{}", path="/team-a/llm/v1/files") == e.Pass()
    assert isinstance(
        Drive(snapshot_of(SMALL, **prefixed)).send(b"{}", path="/team-b/llm/v1/files"), e.Reject
    )


GEMINI = "/v1beta/models/gemini-2.5-pro:generateContent"


@pytest.mark.parametrize(
    ("target", "headers", "named"),
    [
        (f"{GEMINI}?fields=candidates", {}, "fields"),
        (f"{GEMINI}?alt=sse&%24fields=candidates", {}, "$fields"),
        (f"{GEMINI}?%66ields=candidates", {}, "fields"),
        (f"{GEMINI}?alt=proto", {}, "alt=proto"),
        (f"{GEMINI}?$alt=media", {}, "$alt=media"),
        (GEMINI, {"x-goog-fieldmask": "candidates"}, "X-Goog-FieldMask"),
        ("/v1beta/openai/chat/completions?fields=choices", {}, "fields"),
    ],
)
def test_what_switches_usage_off_is_named_and_refused(
    target: str, headers: dict[str, str], named: str
) -> None:
    body = {"model": "gemini-2.5-pro", "contents": [{"parts": [{"text": "hi"}]}], "messages": []}
    action = Drive(snapshot_of(SMALL)).send(body, path=target, headers=headers)
    assert isinstance(action, e.Reject)
    assert (action.status, action.reason) == (400, "unreadable_request")
    assert f"{named} makes the provider leave the usage out" in orjson.loads(action.body)["error"]["message"]
    d = Drive(snapshot_of(""))
    assert d.send(body, path=target, headers=headers) == e.Forward()
    held = d.exchange.decided.held_nanousd
    d.answer()
    d.piece(b'{"candidates": [{"finishReason": "STOP"}]}', end=True)
    assert (d.ending.record.cost_nanousd, d.ending.record.outcome) == (held, Outcome.UNMETERED)
    assert "usage_switched_off" in d.ending.record.flags


@pytest.mark.parametrize("query", ["", "?alt=sse", "?key=x&alt=json", "?prettyPrint=false&$alt=json"])
def test_harmless_parameters_of_google_pass(query: str) -> None:
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    assert Drive(snapshot_of(SMALL)).send(body, path=GEMINI + query) == e.Forward()


def test_a_gemini_stream_that_ends_without_usage_is_charged_its_hold() -> None:
    d = Drive(snapshot_of(""))
    d.send(
        {"contents": [{"parts": [{"text": "hi"}]}]},
        path=f"{GEMINI.replace(':g', ':streamG')}?alt=sse&fields=x",
    )
    held = d.exchange.decided.held_nanousd
    d.answer(content_type="text/event-stream")
    d.piece(b'data: {"candidates": [{"content": {"parts": [{"text": "h"}]}}]}\n\n')
    d.piece(b'data: {"candidates": [{"finishReason": "STOP"}]}\n\n', end=True)
    assert (d.ending.record.cost_nanousd, d.ending.record.outcome) == (held, Outcome.UNMETERED)


def test_an_unknown_api_is_refused_where_the_budget_says_so() -> None:
    d = Drive(snapshot_of(STRICT))
    action = d.send(b"{}", path="/v1/videos")
    assert isinstance(action, e.Reject)
    assert (action.status, action.reason) == (403, "unknown_api")
    error = orjson.loads(action.body)["error"]
    assert (error["code"], "POST /v1/videos" in error["message"]) == ("unknown_api", True)
    assert header(action, "x-should-retry") == "false"
    assert d.endings == []


def test_a_websocket_is_an_unknown_api() -> None:
    action = Drive(snapshot_of(STRICT)).send(
        b"", path="/v1/realtime", method="GET", headers={"upgrade": "WebSocket"}
    )
    assert isinstance(action, e.Reject)


def test_an_audited_budget_and_a_team_without_one_refuse_nothing() -> None:
    audited = "{team: ml, monthlyBudgetUSD: 10, unknownApis: reject, mode: audit}"
    assert Drive(snapshot_of(audited)).send(b"{}", path="/v1/videos") == e.Pass(unknown=True)
    assert Drive(snapshot_of("")).send(b"{}", path="/v1/videos") == e.Pass(unknown=True)


def test_a_free_call_passes_also_an_empty_budget() -> None:
    d = Drive(snapshot_of(EMPTY))
    assert d.send({"input": "x"}, path="/v1/moderations") == e.Forward()
    d.answer()
    d.over()
    assert d.endings == []
    assert isinstance(
        Drive(snapshot_of(EMPTY)).send({"model": "mistral-moderation", "input": "x"}, path="/v1/moderations"),
        e.Reject,
    )


# -- deployments ------------------------------------------------------------------------------------------

AZURE = "/openai/deployments/team-gpt/chat/completions?api-version=1"


def test_a_deployment_that_the_settings_know_goes_by_its_model() -> None:
    limited = "{team: ml, monthlyBudgetUSD: 10, modelLimits: [{modelPattern: gpt-4o, allowedApps: [other]}]}"
    d = Drive(snapshot_of(limited, deployments={"team-gpt": "gpt-4o"}))
    action = d.send(chat(), path=AZURE)
    assert isinstance(action, e.Reject)
    assert action.reason == "app_not_allowed_for_model"
    d = Drive(snapshot_of(SMALL, deployments={"team-gpt": "gpt-4o"}))
    assert d.send(chat(), path=AZURE) == e.Forward()
    d.answer()
    d.piece(chat_answer(model="gpt-4o-2024-08-06"), end=True)
    assert (d.ending.record.model, d.ending.record.cost_nanousd) == ("gpt-4o", 10 * 2_500 + 5 * 10_000)


def test_a_deployment_is_never_changed_for_another_model() -> None:
    d = Drive(snapshot_of(PRESSED, deployments={"team-gpt": "gpt-4o"}))
    d.ledger.committed["ml"]["month"] = 10**9
    assert d.send(chat(), path=AZURE) == e.Forward()
    assert header(d.answer(), "x-spendgate-kept-because") == "dialect"


def test_a_request_that_names_no_model_has_its_upstreams_own() -> None:
    own = {"upstreams": [{"name": "one", "url": "http://127.0.0.1:1", "default_model": "gpt-4o"}]}
    d = Drive(snapshot_of(SMALL, **own))
    assert d.send({"messages": [], "max_tokens": 1000}) == e.Forward()
    assert d.exchange.decided.model == "gpt-4o"
    assert d.exchange.decided.held_nanousd < 1000 * 10_000 + 200_000
    dearest = Drive(snapshot_of(SMALL))
    dearest.send({"messages": [], "max_tokens": 1000})
    assert dearest.exchange.decided.held_nanousd > 1000 * 10_000 * 10
    refusing = "{team: ml, monthlyBudgetUSD: 10, unpricedModels: reject}"
    action = Drive(snapshot_of(refusing)).send({"messages": [], "max_tokens": 1000})
    assert isinstance(action, e.Reject) and action.reason == "unpriced_model"


# -- signatures -------------------------------------------------------------------------------------------


AT_AWS = {":authority": "bedrock-runtime.us-east-1.amazonaws.com"}


def test_a_signature_means_nothing_where_aws_does_not_answer() -> None:
    d = Drive(snapshot_of(PRESSED))
    d.ledger.committed["ml"]["month"] = 10**9
    action = d.send(chat(), headers=SIGNED)
    assert isinstance(action, e.Forward) and action.body is not None
    assert orjson.loads(action.body)["model"] == "gpt-4o-mini"


def test_a_signed_body_takes_no_cap() -> None:
    capped = "{team: ml, monthlyBudgetUSD: 10, outputTokenCap: 100}"
    assert Drive(snapshot_of(capped)).send(chat(), headers=SIGNED | AT_AWS) == e.Forward()


def test_a_signed_request_is_never_changed_and_the_answer_says_why() -> None:
    d = Drive(snapshot_of(PRESSED))
    d.ledger.committed["ml"]["month"] = 10**9
    action = d.send(chat(stream=True, max_tokens=None), headers=SIGNED | AT_AWS)
    assert action == e.Forward()
    answer = d.answer(content_type="text/event-stream")
    assert header(answer, "x-spendgate-kept-because") == "signed"
    assert header(answer, "x-spendgate-model") == "gpt-4o"


def test_a_signed_request_is_bounded_all_the_same() -> None:
    action = Drive(snapshot_of(EMPTY)).send(chat(), headers=SIGNED)
    assert isinstance(action, e.Reject)


def test_a_header_that_the_signature_covers_stays() -> None:
    d = Drive(snapshot_of(SMALL))
    from spendgate.identity.identity import Caller

    base = {"content-type": "application/json", "x-llm-team": "ml", "x-llm-app": "chat"}
    plain = d.exchange.receive(e.RequestHeaders("POST", "/v1/chat/completions", Caller(base)))
    assert isinstance(plain, e.AwaitBody)
    assert {"x-llm-team", "x-llm-app"} <= set(plain.remove)
    d = Drive(snapshot_of(SMALL))
    signed = d.exchange.receive(
        e.RequestHeaders("POST", "/v1/chat/completions", Caller(base | SIGNED | AT_AWS))
    )
    assert isinstance(signed, e.AwaitBody)
    assert "x-llm-team" not in signed.remove
    assert "x-llm-app" in signed.remove


# -- bills that are told, or known by the request ---------------------------------------------------------


def test_what_the_provider_says_it_charges_is_the_bill() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat())
    d.answer()
    body = orjson.loads(chat_answer())
    body["usage"] |= {"cost": 0.00014355, "is_byok": False, "cost_details": {}}
    d.piece(orjson.dumps(body), end=True)
    assert (d.ending.record.cost_nanousd, d.ending.record.tokens) == (143_550, {"input": 10, "output": 5})


def test_spoken_characters_are_billed_without_a_look_at_the_sound() -> None:
    prices = "{team: ml, monthlyBudgetUSD: 10}"
    d = Drive(snapshot_of(prices))
    d.send({"model": "tts-1", "input": "a" * 1000, "voice": "v"}, path="/v1/audio/speech")
    assert d.answer(content_type="audio/mpeg") == e.PassResponse(e.BodyMode.NONE, d_headers(d))
    record = d.ending.record
    assert (record.outcome, record.tokens, record.unmetered) == (Outcome.COMPLETE, {"characters": 1000}, "")


def d_headers(d: Drive) -> tuple[tuple[str, str], ...]:
    return d.exchange.answer_headers


def test_images_are_billed_by_their_number_where_no_usage_is_told() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send({"model": "dall-e-3", "prompt": "x", "n": 2}, path="/v1/images/generations")
    d.answer()
    d.piece(b'{"created":1,"data":[{"url":"u"},{"url":"v"}]}', end=True)
    assert (d.ending.record.outcome, d.ending.record.tokens) == (Outcome.COMPLETE, {"images": 2})


def test_a_batch_is_charged_its_estimate_and_said_to_be_deferred() -> None:
    params = {
        "model": "claude-haiku-4-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "hi"}],
    }
    d = Drive(snapshot_of(SMALL))
    d.send({"requests": [{"custom_id": "a", "params": params}] * 3}, path="/v1/messages/batches")
    held = d.ledger.committed["ml"]["month"]
    d.answer()
    d.piece(b'{"id":"msgbatch_1","processing_status":"in_progress"}', end=True)
    assert (d.ending.record.unmetered, d.ending.record.cost_nanousd) == ("deferred", held)
    assert held > 0


def test_a_batch_of_several_models_is_held_at_the_dearest() -> None:
    def held(*models: str) -> int:
        d = Drive(snapshot_of(SMALL))
        requests = [
            {"custom_id": m, "params": {"model": m, "max_tokens": 100, "messages": []}} for m in models
        ]
        d.send({"requests": requests}, path="/v1/messages/batches")
        return d.ledger.committed["ml"]["month"]

    assert held("claude-haiku-4-5", "claude-opus-4-1") == held("claude-opus-4-1", "claude-haiku-4-5")
    assert held("claude-haiku-4-5", "claude-opus-4-1") > held("claude-haiku-4-5", "claude-haiku-4-5")


# -- the status of refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "path", "status"),
    [("cohere-chat", "/v2/chat", 402), ("bedrock-converse", "/model/m/converse", 400)],
)
def test_a_dialects_refusals_have_the_status_of_the_settings(dialect: str, path: str, status: int) -> None:
    for settings, expected in (({}, 429), ({"reject_status": {dialect: status}}, status)):
        action = Drive(snapshot_of(EMPTY, **settings)).send({"model": "command-r", "messages": []}, path=path)
        assert isinstance(action, e.Reject)
        assert action.status == expected
    other = Drive(snapshot_of(EMPTY, reject_status={dialect: status})).send(chat())
    assert isinstance(other, e.Reject)
    assert other.status == 429


def test_a_403_stays_one() -> None:
    limited = "{team: ml, monthlyBudgetUSD: 10, modelLimits: [{modelPattern: gpt-4o, allowedApps: [other]}]}"
    action = Drive(snapshot_of(limited, reject_status={"openai-chat": 402})).send(chat())
    assert isinstance(action, e.Reject)
    assert action.status == 403


def test_a_status_for_no_dialect_is_a_fault_that_names_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"no dialect 'telepathy'; write app:GLOB, .*cohere-chat"):
        load_config(None, {"SPENDGATE_REJECT_STATUS": "{telepathy: 402}"})
    with pytest.raises(ConfigurationError, match="reject_status"):
        load_config(None, {"SPENDGATE_REJECT_STATUS": "{cohere-chat: 500}"})
    assert load_config(None, {"SPENDGATE_DEPLOYMENTS": "{a: gpt-4o}"}) == Settings(
        deployments={"a": "gpt-4o"}
    )


def test_a_total_that_is_not_the_sum_of_its_parts_is_charged_at_its_larger_reading_and_flagged() -> None:
    d = Drive(snapshot_of(SMALL))
    d.send(chat())
    d.answer()
    body = orjson.loads(chat_answer())
    body["usage"]["total_tokens"] = 40
    d.piece(orjson.dumps(body), end=True)
    assert d.ending.record.tokens == {"input": 10, "output": 30}
    assert d.ending.notes.flags == ("usage_mismatch",)
    fine = Drive(snapshot_of(SMALL))
    fine.send(chat())
    fine.answer()
    fine.piece(chat_answer(), end=True)
    assert fine.ending.notes.flags == ()
