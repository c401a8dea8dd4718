"""What odd answers of providers and proxies cost, byte for byte: who answered, what was told, what is counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest
from unit.exchange.driver import Drive, chat, policy_of, snapshot_of

from spendgate.exchange import events as e
from spendgate.exchange.snapshot import Snapshot, snapshot
from spendgate.finops.backfill import repriced_nanousd
from spendgate.money import usd_to_nano
from spendgate.pricing.load import table
from spendgate.pricing.price import Price
from spendgate.records.outcome import ChargedBy, Outcome
from spendgate.records.record import UsageRecord
from spendgate.settings.config import Settings

SPEC = "{team: ml, monthlyBudgetUSD: 100}"
SSE = "text/event-stream"
WORDS = [{"role": "user", "content": "Add up these numbers, please. " * 20}]


def served_by(provider: str, **more: object) -> Snapshot:
    upstream = {"name": "u", "url": "http://127.0.0.1:9", "provider": provider, **more}
    return snapshot_of(SPEC, upstreams=[upstream])


def house(model: str, **upstream: object) -> Snapshot:
    """A snapshot with a model that the operator prices."""
    rates = {"input": 1_000_000, "output": 4_000_000}
    prices = replace(table(), prices={model: Price(model, rates)})
    upstreams = [{"name": "u", "url": "http://127.0.0.1:9", **upstream}]
    return snapshot(policy_of(SPEC), prices, Settings.model_validate({"upstreams": upstreams}))


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def delta(model: str, finish: str | None = None, **made: object) -> bytes:
    return event(model=model, choices=[{"index": 0, "delta": made, "finish_reason": finish}])


def streamed(
    snap: Snapshot, body: Mapping[str, object], pieces: list[bytes], path: str = "/v1/chat/completions", *,
    leaves: bool = False, label: str = SSE,
) -> UsageRecord:  # fmt: skip
    d = Drive(snap)
    d.send({**body, "stream": True}, path=path)
    d.answer(content_type=label)
    for piece in pieces:
        d.piece(piece)
    if leaves:
        d.over()
    else:
        d.piece(b"", end=True)
    return d.ending.record


def answered(snap: Snapshot, body: Mapping[str, object], document: object, path: str) -> UsageRecord:
    d = Drive(snap)
    d.send(body, path=path)
    d.answer()
    d.piece(json.dumps(document).encode(), end=True)
    return d.ending.record


def costs(record: UsageRecord, usd: str) -> bool:
    return record.cost_nanousd == usd_to_nano(Decimal(usd))


# -- what is counted ------------------------------------------------------------------------------------------


def spoken(model: str) -> list[bytes]:
    return [delta(model, content=" one") for _ in range(50)] + [delta(model, "stop"), b"data: [DONE]\n\n"]


def test_a_house_model_that_finishes_without_usage_is_counted() -> None:
    record = streamed(house("lab-7b"), chat(model="lab-7b", messages=WORDS), spoken("lab-7b"))
    assert (record.charged_by, record.flags) == (ChargedBy.COUNTED, ("counted",))
    assert record.tokens["output"] == 50
    assert 100 < record.tokens["input"] < 200


@pytest.mark.parametrize(
    ("snap", "asked", "names"),
    [
        (house("lab-7b"), "who-knows", "who-knows"),  # nobody's: no price
        (house("lab-7b"), "lab-7b", "o3"),  # it says itself that it is another
        (house("lab-7b", provider="azure"), "lab-7b", "lab-7b"),  # a deployment of a vendor's model
        (house("o3"), "o3", "o3"),
    ],
)
def test_what_may_have_reasoned_unseen_finishes_at_its_hold(snap: Snapshot, asked: str, names: str) -> None:
    record = streamed(snap, chat(model=asked, messages=WORDS), spoken(names))
    assert (record.charged_by, record.unmetered) == (ChargedBy.HOLD, "no_usage")


def test_a_house_model_that_is_seen_to_reason_finishes_at_its_hold() -> None:
    pieces = [delta("lab-7b", reasoning_content="hm"), *spoken("lab-7b")]
    record = streamed(house("lab-7b"), chat(model="lab-7b"), pieces)
    assert record.charged_by is ChargedBy.HOLD


@pytest.mark.parametrize("stream", [False, True])
def test_input_that_a_usage_leaves_out_is_counted(stream: bool) -> None:
    last = {"model": "llama3", "done": True, "eval_count": 9}
    message = {"message": {"content": "nine"}}
    body = {"model": "llama3", "messages": WORDS, "stream": stream}
    if stream:
        lines = [json.dumps(x).encode() + b"\n" for x in ({"model": "llama3", **message}, last)]
        record = streamed(house("llama3"), body, lines, "/api/chat", label="application/x-ndjson")
    else:
        record = answered(house("llama3"), body, {**last, **message}, "/api/chat")
    assert record.flags == ("input_missing",)
    assert record.tokens["output"] == 9
    assert 100 < record.tokens["input"] < 200
    assert record.outcome is Outcome.COMPLETE


def test_a_proxy_that_loses_the_input_does_not_make_it_free() -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": 9, "total_tokens": 9}
    document = {"model": "gpt-4o", "choices": [{"message": {"content": "nine"}}], "usage": usage}
    record = answered(snapshot_of(SPEC), chat(messages=WORDS), document, "/v1/chat/completions")
    assert record.flags == ("input_missing",)
    assert record.tokens["input"] > 100


# -- told costs -----------------------------------------------------------------------------------------------


def told(tokens: int, usd: float) -> bytes:
    usage = {"prompt_tokens": 30, "completion_tokens": tokens, "cost": {"total_cost": usd}}
    choices = [{"index": 0, "delta": {"content": "w "}, "finish_reason": None}]
    return event(model="sonar-pro", choices=choices, usage=usage)


def test_a_told_cost_is_the_bill_of_a_stream_that_ends_cleanly_without_a_finish() -> None:
    pieces = [told(1, 0.005), told(40, 0.0056), told(80, 0.00625)]
    record = streamed(served_by("perplexity"), chat(model="sonar-pro"), pieces, "/chat/completions")
    assert costs(record, "0.00625")
    assert (record.charged_by, record.tokens["output"]) == (ChargedBy.TOLD, 80)


def test_a_told_cost_is_no_bill_while_the_answer_goes_on() -> None:
    record = streamed(served_by("perplexity"), chat(model="sonar-pro"), [told(1, 0.005)], "/chat/completions",
                      leaves=True)  # fmt: skip
    assert record.charged_by is ChargedBy.HOLD


# -- who answered ---------------------------------------------------------------------------------------------

LIST = chat(
    model="openai/gpt-4o-mini", models=["openai/gpt-4o-mini", "anthropic/claude-opus-5"], max_tokens=4000
)


def left(pieces: list[bytes], **more: object) -> UsageRecord:
    path = "/api/v1/chat/completions"
    return streamed(served_by("openrouter"), {**LIST, **more}, pieces, path, leaves=True)


def test_a_client_that_leaves_a_fallback_pays_what_flowed_at_its_price() -> None:
    record = left([delta("anthropic/claude-opus-5", content="word ")] * 100)
    assert (record.charged_by, record.model_answered) == (ChargedBy.COUNTED, "anthropic/claude-opus-5")
    tokens = record.tokens
    assert record.cost_nanousd == tokens["input"] * 5_000 + tokens["output"] * 25_000


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (delta("anthropic/claude-opus-5", reasoning="hm"), {}),
        (delta("anthropic/claude-opus-5", reasoning_details=[{"type": "reasoning.encrypted"}]), {}),
        (delta("anthropic/claude-opus-5", role="assistant"), {"include_reasoning": False}),
        (delta("openai/o3", role="assistant"), {"models": ["openai/o3"]}),
    ],
)
def test_where_a_reasoning_was_or_is_hidden_it_pays_the_hold(first: bytes, more: dict[str, object]) -> None:
    model = json.loads(first[6:])["model"]
    record = left([first, delta(model, content="word ")], **more)
    assert (record.charged_by, record.unmetered) == (ChargedBy.HOLD, "aborted")


def test_the_parts_of_an_answer_are_priced_by_their_own_models() -> None:
    draw = {"input_tokens": 100, "input_tokens_details": {"text_tokens": 100}, "output_tokens": 1000,
            "output_tokens_details": {"image_tokens": 1000}}  # fmt: skip
    document = {
        "object": "response", "status": "completed", "model": "gpt-5.4-2026-03-05",
        "output": [{"type": "image_generation_call", "status": "completed", "result": ""}],
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "usage": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        "tool_usage": {"image_gen": draw},
    }  # fmt: skip
    body = {
        "model": "gpt-5.4",
        "input": "Draw",
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
    }
    record = answered(snapshot_of(SPEC), body, document, "/v1/responses")
    assert costs(record, "0.0345")  # 1000 x 2.5 + 100 x 15; 100 x 5 + 1000 x 30


# -- Azure's data sources -------------------------------------------------------------------------------------


def test_what_azures_data_sources_bring_in_is_counted_as_the_answer_shows_it() -> None:
    body = chat(messages=WORDS, data_sources=[{"type": "azure_search", "parameters": {}}])
    pieces = [delta("gpt-4o", context={"citations": [{"content": "gross margin " * 100}]}), *spoken("gpt-4o")]
    record = streamed(served_by("azure"), body, pieces)
    assert (record.charged_by, record.tokens["output"]) == (ChargedBy.COUNTED, 50)
    assert 100 < record.tokens["input"] < 200
    assert 150 < record.tokens["tool_input"] < 300


def test_a_client_that_leaves_them_pays_the_hold() -> None:
    body = chat(messages=WORDS, data_sources=[{"type": "azure_search", "parameters": {}}])
    record = streamed(served_by("azure"), body, spoken("gpt-4o")[:9], leaves=True)
    assert record.charged_by is ChargedBy.HOLD


# -- routers and systems of models ----------------------------------------------------------------------------

ROUTED = "/openai/deployments/{}/chat/completions?api-version=2025-04-01-preview"


def chosen(model: str, prompt: int, completion: int, cached: int = 0) -> dict[str, object]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
             "prompt_tokens_details": {"cached_tokens": cached}}  # fmt: skip
    return {"model": model, "choices": [{"message": {"content": "Yes."}}], "usage": usage}


@pytest.mark.parametrize("name", ["model-router", "model_router", "model-router-2025-11-18"])
def test_a_router_costs_its_fee_beside_the_model_that_it_chose(name: str) -> None:
    document = chosen("gpt-4o-2024-08-06", 7, 3, 2)
    record = answered(served_by("azure"), chat(model=name), document, ROUTED.format(name))
    # 5 x 2.50 + 2 x 1.25 + 3 x 10 + 7 x 0.14 USD a million tokens
    assert record.cost_nanousd == 12_500 + 2_500 + 30_000 + 980
    assert record.tokens == {"input": 5, "cached_input": 2, "output": 3}
    assert repriced_nanousd(record, table()) == record.cost_nanousd
    assert record.estimate_nanousd >= record.cost_nanousd


def test_a_model_is_no_router_and_another_providers_router_has_another_fee() -> None:
    path = "/v1/chat/completions"
    for snap, model in ((served_by("azure"), "gpt-4o"), (served_by("openrouter"), "model-router")):
        record = answered(snap, chat(model=model), chosen("gpt-4o", 1000, 0), path)
        assert costs(record, "0.0025")


def system(*asked: tuple[str, int, int], **more: object) -> dict[str, object]:
    models = [
        {"model": m, "usage": {"prompt_tokens": p, "completion_tokens": c, "total_tokens": p + c}}
        for m, p, c in asked
    ]
    return {**chosen("groq/compound", 1, 1), "usage_breakdown": {"models": models}, **more}


BREAKDOWN = (("llama-3.3-70b-versatile", 100, 50), ("openai/gpt-oss-120b", 1000, 400))


def test_a_system_of_models_costs_what_each_of_them_used() -> None:
    document = system(*BREAKDOWN)
    record = answered(served_by("groq"), chat(model="groq/compound"), document, "/openai/v1/chat/completions")
    assert [(p.model, p.tokens) for p in record.parts] == [
        (m, {"input": p, "output": c}) for m, p, c in BREAKDOWN
    ]
    assert record.cost_nanousd == 59_000 + 39_500 + 150_000 + 240_000
    assert record.tokens["input"] == 1100


def test_its_stream_tells_the_same_in_groqs_own_field() -> None:
    whole = {"prompt_tokens": 1100, "completion_tokens": 450}
    last = {"usage": whole, "usage_breakdown": system(*BREAKDOWN)["usage_breakdown"]}
    pieces = [
        delta("groq/compound", content="Yes."),
        event(
            model="groq/compound", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], x_groq=last
        ),
        b"data: [DONE]\n\n",
    ]
    record = streamed(served_by("groq"), chat(model="groq/compound"), pieces, "/openai/v1/chat/completions")
    assert record.cost_nanousd == 59_000 + 39_500 + 150_000 + 240_000


def test_what_the_breakdown_leaves_out_and_searches_are_the_systems_own() -> None:
    document = system(
        *BREAKDOWN, choices=[{"message": {"executed_tools": [{"type": "search"}, {"type": "python"}]}}]
    )
    document["usage"] = {"prompt_tokens": 1200, "completion_tokens": 450}
    record = answered(served_by("groq"), chat(model="groq/compound"), document, "/openai/v1/chat/completions")
    assert record.cost_nanousd == 59_000 + 39_500 + 150_000 + 240_000 + 59_000 + 8_000_000
    assert not record.priced_by.unpriced


# -- more APIs ------------------------------------------------------------------------------------------------

TALK = {
    "model": "mistral-medium-latest",
    "inputs": "Which river is longer?",
    "tools": [{"type": "web_search"}],
}
TALKED = {
    "object": "conversation.response",
    "outputs": [{"type": "message.output", "model": "mistral-medium-latest", "content": "The Nile."}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 2110, "connector_tokens": 2000,
              "connectors": {"web_search": 2, "code_interpreter": 1}},
}  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/v1/conversations", "/v1/conversations/conv_1", "/v1/conversations/conv_1/restart"]
)
def test_mistrals_conversations_are_metered_with_what_their_tools_read_and_cost(path: str) -> None:
    record = answered(served_by("mistral"), TALK, TALKED, path)
    assert record.tokens == {"input": 100, "tool_input": 2000, "output": 10, "searches": 2, "code_runs": 1}
    assert record.cost_nanousd == 2100 * 1500 + 10 * 7500 + 3 * 30_000_000
    assert not record.priced_by.unpriced
    assert record.estimate_nanousd >= record.cost_nanousd


def test_their_streams_tell_it_in_their_last_event() -> None:
    pieces = [
        event(type="conversation.response.started", conversation_id="c"),
        event(type="message.output.delta", model="mistral-medium-latest", content="The Nile."),
        event(type="conversation.response.done", usage=TALKED["usage"]),
    ]
    record = streamed(served_by("mistral"), TALK, pieces, "/v1/conversations")
    assert record.cost_nanousd == 2100 * 1500 + 10 * 7500 + 3 * 30_000_000
    assert record.outcome is Outcome.COMPLETE


def test_openais_stored_conversations_stay_free() -> None:
    for body in ({}, {"metadata": {"topic": "x"}}, {"items": [{"type": "message"}], "metadata": {}}):
        d = Drive(served_by("openai"))
        assert d.send(body, path="/v1/conversations") == e.Forward()
        assert d.endings == []
    d = Drive(served_by("openai"))
    assert d.send(b"", path="/v1/conversations/conv_1", method="GET", end=True) == e.Pass()


def test_an_agent_is_held_for_what_it_may_read_and_charged_by_the_model_that_it_is() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    body = {"agent_id": "ag:1", "messages": WORDS}
    snap = snapshot_of(
        "{team: ml, monthlyBudgetUSD: 1000}", upstreams=list(served_by("mistral").settings.upstreams)
    )
    record = answered(snap, body, {**chosen("mistral-medium-latest", 0, 0), "usage": usage},
                      "/v1/agents/completions")  # fmt: skip
    assert (record.dialect, record.model, record.model_answered) == (
        "openai-chat",
        "ag:1",
        "mistral-medium-latest",
    )
    assert costs(record, "0.0015")
    assert record.estimate_nanousd > 100 * record.cost_nanousd


def test_other_publishers_on_vertex_are_metered() -> None:
    path = "/v1/projects/p/locations/us-central1/publishers/mistralai/models/mistral-small-2503:{}"
    document = chosen("mistral-small-2503", 1000, 100)
    record = answered(
        snapshot_of(SPEC), {"model": "other", "messages": WORDS}, document, path.format("rawPredict")
    )
    assert (record.dialect, record.model) == ("vertex-publishers", "mistral-small-2503")
    assert record.tokens == {"input": 1000, "output": 100}
    assert 0 < record.cost_nanousd <= record.estimate_nanousd * 20
    d = Drive(snapshot_of(SPEC))
    action = d.send({"model": "m", "messages": WORDS, "stream": True}, path=path.format("streamRawPredict"))
    assert action == e.Forward()  # nothing is asked of a closed schema


def test_perplexitys_asynchronous_requests_are_read_in_their_envelope_and_held() -> None:
    body = {"request": {"model": "sonar-deep-research", "messages": WORDS}}
    document = {"id": "r1", "model": "sonar-deep-research", "status": "CREATED", "response": None}
    record = answered(served_by("perplexity"), body, document, "/async/chat/completions")
    assert (record.model, record.unmetered) == ("sonar-deep-research", "deferred")
    assert record.cost_nanousd == record.estimate_nanousd > 0


def test_a_web_search_costs_what_its_host_takes() -> None:
    document = {
        "object": "response", "status": "completed", "model": "gpt-5.4", "output": [{"type": "web_search_call"}],
        "usage": {"input_tokens": 1, "output_tokens": 0, "total_tokens": 1},
    }  # fmt: skip
    body = {"model": "gpt-5.4", "input": "News?", "tools": [{"type": "web_search"}]}
    for provider, usd in (("openai", 10_000_000), ("azure", 14_000_000)):
        record = answered(served_by(provider), body, document, "/openai/v1/responses")
        assert record.cost_nanousd - usd == 2_500


def test_a_conversations_model_and_cap_are_written() -> None:
    spec = "{team: ml, monthlyBudgetUSD: 1000, outputTokenCap: 300}"
    snap = snapshot_of(spec, upstreams=list(served_by("mistral").settings.upstreams))
    for given, cap in (({}, 300), ({"completion_args": {"max_tokens": 200, "top_p": 1}}, 200)):
        action = Drive(snap).send(
            {"model": "mistral-medium-latest", "inputs": "hi", **given}, path="/v1/conversations",
            headers={"x-require-model": "mistral-small-latest"},
        )  # fmt: skip
        assert isinstance(action, e.Forward)
        body = json.loads(action.body or b"{}")
        assert (body["model"], body["completion_args"]["max_tokens"]) == ("mistral-small-latest", cap)


@pytest.mark.parametrize("stream", [False, True])
def test_fireworks_tells_cached_tokens_in_a_header(stream: bool) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    d = Drive(served_by("fireworks"))
    d.send(chat(model="accounts/fireworks/models/glm-5p2", stream=stream))
    d.answer(
        content_type=SSE if stream else "application/json", headers={"fireworks-cached-prompt-tokens": "900"}
    )
    document = {"model": "accounts/fireworks/models/glm-5p2", "choices": [], "usage": usage}
    body = event(**document) + b"data: [DONE]\n\n" if stream else json.dumps(document).encode()
    d.piece(body, end=True)
    assert d.ending.record.tokens == {"input": 100, "cached_input": 900, "output": 10}
