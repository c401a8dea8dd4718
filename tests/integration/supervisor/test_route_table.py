"""Several providers behind one address: each with its own key, paths and models, through a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.gateway import Gateway
from support.keyed_provider import KeyedProvider
from support.policy import budget, policy, thresholds
from support.ports import free_port
from support.processes import Command, until

PRICES = "models: {llama-3-8b: {input: 0.05, output: 0.08}, gemini-2.0-flash: {input: 0.1, output: 0.4}}\n"
POLICY = policy(
    budget("plain", 10),
    budget("routed", 10, costRouting={
        "enabled": True, "cheapModel": "llama-3-8b", "expensiveModel": "gpt-4o", "complexityThreshold": 50,
    }),
    budget("pressed", 0.002, defaultModel="llama-3-8b",
           alertThresholds=thresholds((1, "alert_and_downgrade"), (100, "reject"))),
    budget("nowhere", 10, costRouting={"enabled": True, "cheapModel": "mistral-small", "complexityThreshold": 50}),
)  # fmt: skip
CHAT = "/v1/chat/completions"


@dataclass
class House:
    """The gateway and the providers behind it."""

    gateway: Gateway
    openai: KeyedProvider
    groq: KeyedProvider
    google: KeyedProvider
    anthropic: KeyedProvider

    def ask(self, model: str, team: str = "plain", path: str = CHAT, text: str = "hi") -> httpx.Response:
        return httpx.post(
            f"{self.gateway.url}{path}",
            json={"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 5},
            headers={"x-llm-team": team, "x-llm-app": "a", "authorization": "Bearer of-the-client",
                     "x-api-key": "of-the-client"},
            trust_env=False, timeout=60,
        )  # fmt: skip

    def requests(self) -> dict[str, int]:
        """How many requests each provider has seen."""
        return {n: len(getattr(self, n).seen) for n in ("openai", "groq", "google", "anthropic")}

    def reached(self, model: str, team: str = "plain", path: str = CHAT, text: str = "hi") -> str:
        """The one provider that a request reached."""
        before = self.requests()
        answer = self.ask(model, team, path, text)
        assert answer.status_code == 200, answer.text
        after = self.requests()
        [name] = [n for n in after if after[n] != before[n]]
        assert after[name] == before[name] + 1
        return name


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("routes")
    (folder / "groq.key").write_text("sk-groq\n")
    with (
        KeyedProvider("Bearer sk-openai", paths=(CHAT, "/v1/models")) as openai,
        KeyedProvider("Bearer sk-groq", paths=("/openai" + CHAT,)) as groq,
        KeyedProvider("sk-google", "x-goog-api-key", ("/v1beta/openai/chat/completions",)) as google,
        KeyedProvider("sk-anthropic", "x-api-key", ("/v1/messages", CHAT)) as anthropic,
    ):
        config: dict[str, Any] = {
            "upstreams": [
                {"name": "groq", "url": groq.url, "models": ["llama-*"], "dialects": ["openai-chat"],
                 "path_prefix": "/openai", "authority": "api.groq.example",
                 "credential": {"file": str(folder / "groq.key")}},
                {"name": "google", "url": google.url, "models": ["gemini-*"], "dialects": ["openai-chat"],
                 "strip_prefix": "/v1", "path_prefix": "/v1beta/openai",
                 "credential": {"env": "GOOGLE_KEY", "header": "x-goog-api-key"}},
                {"name": "anthropic", "url": anthropic.url, "models": ["claude-*"],
                 "credential": {"env": "ANTHROPIC_KEY", "header": "x-api-key"}},
                {"name": "openai", "url": openai.url, "models": ["gpt-*", "o*"], "default": True,
                 "credential": {"env": "OPENAI_KEY"}},
            ]
        }  # fmt: skip
        env = {"GOOGLE_KEY": "sk-google", "ANTHROPIC_KEY": "sk-anthropic", "OPENAI_KEY": "sk-openai"}
        with Gateway(folder / "g", "", POLICY, config=config, prices=PRICES, workers=1, env=env) as gateway:
            yield House(gateway, openai, groq, google, anthropic)


def test_each_model_reaches_its_provider_with_that_providers_key_and_path(house: House) -> None:
    assert house.reached("gpt-4o") == "openai"
    assert house.reached("llama-3-8b") == "groq"
    assert house.reached("gemini-2.0-flash") == "google"
    assert house.reached("claude-3-5-haiku-latest", path="/v1/messages") == "anthropic"
    assert house.reached("claude-3-5-haiku-latest") == "anthropic"
    assert [x["upstream"] for x in house.gateway.lines("plain", 5)] == [
        "openai", "groq", "google", "anthropic", "anthropic",
    ]  # fmt: skip


def test_a_provider_sees_its_own_key_and_host_and_no_other(house: House) -> None:
    house.reached("llama-3-8b")
    seen = house.groq.seen[-1]
    assert seen.headers["authorization"] == "Bearer sk-groq"
    assert seen.headers["host"] == "api.groq.example"
    assert "of-the-client" not in str(seen.headers)
    assert not {"x-api-key", "x-goog-api-key"} & set(seen.headers)
    assert not {n for n in seen.headers if n.startswith(("x-envoy-", "x-spendgate-"))}


def test_the_rest_of_the_path_and_the_query_stay_byte_for_byte(house: House) -> None:
    assert house.reached("gemini-2.0-flash", path=f"{CHAT}?a=%2Fv1%2F&b=/v1/") == "google"
    assert house.google.seen[-1].path == "/v1beta/openai/chat/completions?a=%2Fv1%2F&b=/v1/"


def test_a_routed_model_reaches_the_provider_that_serves_it(house: House) -> None:
    assert house.reached("gpt-4o", team="routed") == "groq"
    assert b'"llama-3-8b"' in house.groq.seen[-1].body
    assert house.reached("gpt-4o", team="routed", text="word " * 200) == "openai"


def test_a_downgraded_model_reaches_the_provider_that_serves_it(house: House) -> None:
    assert house.reached("gpt-4o", team="pressed") in ("openai", "groq")
    house.gateway.settled("pressed", 1)
    assert house.reached("gpt-4o", team="pressed") == "groq"
    [line] = house.gateway.lines("pressed", 2)[1:]
    assert (line["decision"], line["model"], line["upstream"]) == ("downgrade", "llama-3-8b", "groq")


def test_an_unknown_model_and_an_unmetered_path_go_to_the_default(house: House) -> None:
    assert house.reached("davinci-of-tomorrow") == "openai"
    line = until(
        lambda: [x for x in house.gateway.usage("plain") if x["model"] == "davinci-of-tomorrow"],
        bool,
        "its usage line",
    )
    assert line[0]["upstream"] == "openai"
    listed = httpx.get(f"{house.gateway.url}/v1/models", trust_env=False, timeout=60)
    assert listed.status_code == 200
    assert house.openai.seen[-1].headers["authorization"] == "Bearer sk-openai"


def test_a_model_that_no_provider_serves_is_never_routed_to(house: House) -> None:
    answer = house.ask("gpt-4o", team="nowhere")
    assert answer.headers["x-spendgate-model"] == "gpt-4o"
    assert answer.headers["x-spendgate-kept-because"] == "upstream"


def test_a_client_can_not_choose_the_provider(house: House) -> None:
    before = house.requests()
    for path in (CHAT, "/v1/models"):
        httpx.request(
            "POST" if path == CHAT else "GET",
            f"{house.gateway.url}{path}",
            content=b'{"model":"gpt-4o","messages":[],"max_tokens":5}' if path == CHAT else None,
            headers={"x-spendgate-cluster": "groq", "x-llm-team": "plain"},
            trust_env=False, timeout=60,
        )  # fmt: skip
    assert house.requests()["groq"] == before["groq"]


def test_up_says_which_providers_key_is_missing_and_starts_nothing(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "upstreams: [{name: openai, url: 'https://api.openai.com', credential: {env: NO_SUCH_KEY}}]\n"
    )
    port = free_port()
    command = Command(
        tmp_path, ["up", "--config", str(config), "--listen", f"127.0.0.1:{port}",
                   "--admin", f"127.0.0.1:{free_port()}", "--data-dir", str(tmp_path / "d")],
    )  # fmt: skip
    assert command.process.wait(60) == 1
    assert command.stderr.strip() == (
        "spendgate: upstream openai: environment variable NO_SUCH_KEY is not set; set it, or take `credential` away"
    )
