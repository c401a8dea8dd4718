"""Which status a refusal has, by who gets it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.exchange.driver import NOW_MS, Drive, chat, snapshot_of

from spendgate.budget.ask import PlannedRefusal
from spendgate.dialects.registry import DIALECTS
from spendgate.errors import ConfigurationError
from spendgate.exchange import events as e
from spendgate.exchange.rejections import RejectionFormat, planned_refusal
from spendgate.identity.identity import Identity
from spendgate.settings.agents import AGENTS, agent_of
from spendgate.settings.config import load_config
from spendgate.settings.reject_status import PASSING, Sender, Statuses

EMPTY = "{team: ml, monthlyBudgetUSD: 0}"
OTHERS = "{team: ml, monthlyBudgetUSD: 10, modelLimits: [{modelPattern: '*', allowedApps: [nobody]}]}"
STRICT = "{team: ml, monthlyBudgetUSD: 10, unknownApis: reject}"
CODEX = "codex_exec/0.171.0 (Debian 12.0.0; x86_64) unknown (codex_exec; 0.171.0)"
GEMINI = "GeminiCLI-tui/0.61.0/gemini-2.5-flash (linux; x64; terminal)"
ASKED: dict[str, object] = {"contents": [{"parts": [{"text": "hi"}]}]}
CALLS: dict[str, tuple[str, dict[str, object]]] = {
    "openai-responses": ("/v1/responses", {"model": "gpt-4o", "input": "hi"}),
    "gemini": ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", ASKED),
    "anthropic-messages": (
        "/v1/messages",
        {"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
    ),
    "openai-chat": ("/v1/chat/completions", chat()),
}


def refused(
    policy: str, dialect: str, user_agent: str, app: str = "chat", entries: dict[str, int] | None = None
) -> e.Reject:
    """What a program gets that asks for more than the policy allows. `entries`: of `reject_status`."""
    path, body = CALLS[dialect]
    action = Drive(snapshot_of(policy, reject_status=entries or {})).send(
        body, path=path, headers={"user-agent": user_agent, "x-llm-app": app}
    )
    assert isinstance(action, e.Reject)
    return action


@pytest.mark.parametrize(
    ("dialect", "user_agent", "status"),
    [
        ("openai-responses", CODEX, 400),
        ("openai-responses", "codex_cli_rs/0.98.0 (Mac OS 15.0.0; arm64) iTerm.app/3.5", 400),
        ("openai-responses", "codex-tui/0.171.0 (Debian 12.0.0; x86_64) unknown", 400),
        ("openai-responses", "OpenAI/Python 2.20.0", 429),
        ("openai-chat", CODEX, 429),  # that it speaks was not measured
        ("gemini", GEMINI, 400),
        ("gemini", "GeminiCLI/0.30.0/gemini-3-pro (darwin; arm64)", 400),
        ("gemini", "google-genai-sdk/1.30.0 gl-python/3.11", 429),
        ("gemini", "my-geminicli/1.0", 429),
        ("anthropic-messages", "claude-cli/2.1.197 (external, sdk-cli)", 429),
        ("openai-chat", "aider/0.86.2", 400),
        ("anthropic-messages", "aider/0.86.2", 400),
        (
            "openai-responses",
            "opencode/1.18.33 (linux 6.18; x64) ai-sdk/provider-utils/4.0.40 runtime/bun",
            400,
        ),
        ("anthropic-messages", "opencode/1.18.33 ai-sdk/provider-utils/4.0.46 runtime/bun/1.3.14", 400),
        ("openai-chat", "ai-sdk/provider-utils/4.0.23 runtime/bun/1.3.14", 429),
        ("openai-chat", "", 429),
    ],
)
def test_an_agent_of_the_table_gets_the_status_it_takes_as_final(
    dialect: str, user_agent: str, status: int
) -> None:
    action = refused(EMPTY, dialect, user_agent)
    assert action.status == status
    assert action.reason == "monthly_budget_exceeded"
    error = json.loads(action.body)["error"]
    assert error["message"].startswith("Team ml has used $0.00 of its $0.00 LLM budget")


def test_an_agents_status_stands_for_every_final_refusal() -> None:
    assert refused(OTHERS, "openai-responses", CODEX).status == 400
    assert refused(OTHERS, "openai-responses", "OpenAI/Python 2.20.0").status == 403
    large = {"content-length": "99000000", "user-agent": CODEX}
    action = Drive(snapshot_of(EMPTY)).send(CALLS["openai-responses"][1], path="/v1/responses", headers=large)
    assert isinstance(action, e.Reject)
    assert (action.status, action.reason) == (400, "request_too_large")


def test_google_hears_of_a_precondition_that_failed_not_of_a_bad_argument() -> None:
    error = json.loads(refused(EMPTY, "gemini", GEMINI).body)["error"]
    assert (error["code"], error["status"]) == (400, "FAILED_PRECONDITION")
    assert error["details"][0]["reason"] == "MONTHLY_BUDGET_EXCEEDED"


def test_an_app_that_cannot_be_told_by_its_program_has_an_entry_of_its_own() -> None:
    sdk = "OpenAI/Python 2.20.0"
    assert refused(EMPTY, "openai-chat", sdk, "aider", {"app:aider": 400}).status == 400
    assert refused(EMPTY, "openai-chat", sdk, "chat", {"app:aider": 400}).status == 429
    assert refused(OTHERS, "openai-chat", sdk, "aider", {"app:aider": 400}).status == 400


def test_entries_count_in_the_documented_order() -> None:
    def status(*keys: str) -> int:
        every = {"openai-responses": 402, "user-agent:codex*": 403, "app:night*": 429}
        return refused(EMPTY, "openai-responses", CODEX, "night-run", {k: every[k] for k in keys}).status

    assert status("openai-responses", "user-agent:codex*", "app:night*") == 429  # the app's entry: as it is
    assert status("openai-responses", "user-agent:codex*") == 403
    assert status("openai-responses") == 400  # the shipped table
    other = refused(EMPTY, "openai-responses", "OpenAI/Python 2.20.0", entries={"openai-responses": 402})
    assert other.status == 402


def test_a_dialects_entry_replaces_429_alone() -> None:
    assert refused(OTHERS, "openai-chat", "OpenAI/Python 2.20.0", entries={"openai-chat": 402}).status == 403


SENDERS = st.builds(
    Sender,
    st.sampled_from([d.name for d in DIALECTS]),
    st.sampled_from(["", "aider", "chat"]),
    st.sampled_from(["", CODEX, GEMINI, "aider/1", "OpenAI/Python 2.20.0"]),
)
ENTRIES = st.dictionaries(
    st.sampled_from(
        ["openai-responses", "gemini", "app:aider", "app:*", "user-agent:*", "user-agent:codex*"]
    ),
    st.sampled_from([400, 402, 403, 429]),
)


@given(SENDERS, ENTRIES)
def test_what_passes_by_itself_stays_a_429_for_everybody(sender: Sender, entries: dict[str, int]) -> None:
    for reason in PASSING:
        assert Statuses(entries).of(sender, reason, 429) == 429


@given(SENDERS, ENTRIES, st.sampled_from([400, 401, 404, 426, 503]))
def test_what_is_no_final_refusal_keeps_its_status(
    sender: Sender, entries: dict[str, int], status: int
) -> None:
    assert Statuses(entries).of(sender, "too_busy", status) == status


def test_held_budgets_invite_to_ask_again() -> None:
    for reason, again in (("budget_held", "true"), ("monthly_budget_exceeded", "false")):
        voice = RejectionFormat(next(d for d in DIALECTS if d.name == "openai-responses"), user_agent=CODEX)
        refusal = PlannedRefusal(429, reason, "gpt-4o", {})
        action = planned_refusal(voice, Identity("ml", "chat"), None, refusal, NOW_MS)
        assert dict(action.headers)["x-should-retry"] == again
        assert action.status == (429 if again == "true" else 400)


def test_a_long_user_agent_costs_nothing() -> None:
    assert agent_of("openai-responses", "codex" + "/" * 100_000) is not None
    assert agent_of("openai-responses", "c" * 100_000) is None


def test_no_two_agents_of_the_table_share_a_name() -> None:
    assert len({a.name for a in AGENTS}) == len(AGENTS)
    dialects = {d.name for d in DIALECTS} | {"*"}
    assert all(a.dialect in dialects and a.user_agent == a.user_agent.lower() for a in AGENTS)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            "{telepathy: 402}",
            r"reject_status: no dialect 'telepathy'; write app:GLOB, user-agent:GLOB, or one of",
        ),
        ("{'app:': 400}", r"reject_status: 'app:' names nothing; write app:NAME or a glob"),
        ("{'user-agent: ': 400}", r"names nothing; write user-agent:NAME or a glob"),
        ("{'app:aider': 418}", r"reject_status\.app:aider: Input should be 400, 402, 403 or 429"),
    ],
)
def test_a_wrong_entry_is_a_fault_that_says_what_to_write(entry: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_config(None, {"SPENDGATE_REJECT_STATUS": entry})
