"""The official SDKs as anybody makes them: only the base URL is a gateway's, and headers say whose request it is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parents[1] / "sdks"
KEY = "sk-test"
BEDROCK_MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
MESSAGES = [{"role": "user", "content": "hi"}]


class Raised(NamedTuple):
    """What a call raised: the exception's name, its status, and its text."""

    name: str
    status: int
    text: str


class Call(NamedTuple):
    """One call to make: the SDK's name (`js:…` for JavaScript's), the gateway's URL, the team."""

    sdk: str
    url: str
    team: str


def make(calls: Sequence[Call]) -> list[Raised]:
    """Make all of them at once; what each raised, in their order."""
    ours = [c for c in calls if not c.sdk.startswith("js:")]
    theirs = [c for c in calls if c.sdk.startswith("js:")]
    with ThreadPoolExecutor(8) as pool:
        javascript = pool.submit(_javascript, theirs)
        raised = dict(zip(ours, pool.map(_python, ours), strict=True))
        raised |= dict(zip(theirs, javascript.result(), strict=True))
    return [raised[c] for c in calls]


def _python(call: Call) -> Raised:
    try:
        CALLS[call.sdk](call.url, {"x-llm-team": call.team})
    except Exception as error:
        return _described(error)
    return Raised("nothing", 200, "")


def _described(error: Exception) -> Raised:
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        code = response["Error"]["Code"]
        return Raised(code, response["ResponseMetadata"]["HTTPStatusCode"], str(error))
    status: Any = getattr(error, "status_code", None) or getattr(error, "code", 0)
    return Raised(type(error).__name__, int(status), str(error) + str(getattr(error, "body", "")))


def _javascript(calls: Sequence[Call]) -> list[Raised]:
    modules = FOLDER / "node_modules" / "openai"
    assert modules.is_dir(), f"no {modules}; run scripts/setup_tests.sh (it needs npm)"
    wanted = json.dumps([[c.sdk.removeprefix("js:"), c.url, c.team] for c in calls])
    argv = ["node", str(FOLDER / "call.mjs"), wanted]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [Raised(**told) for told in json.loads(done.stdout)]


def _openai(url: str, headers: dict[str, str]) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, default_headers=headers)


def _groq(url: str, headers: dict[str, str]) -> None:
    import groq

    groq.Groq(base_url=url, api_key=KEY, default_headers=headers).chat.completions.create(
        model="llama-3.3-70b-versatile", messages=MESSAGES
    )


def _anthropic(url: str, headers: dict[str, str]) -> None:
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=KEY, default_headers=headers)
    client.messages.create(model="claude-sonnet-4-5", max_tokens=5, messages=MESSAGES)


def _google(url: str, headers: dict[str, str]) -> None:
    import google.genai as genai

    client = genai.Client(api_key=KEY, http_options={"base_url": url, "headers": headers})
    client.models.generate_content(model="gemini-2.5-flash", contents="hi")


def _mistral(url: str, headers: dict[str, str]) -> None:
    from mistralai.client import Mistral

    Mistral(api_key=KEY, server_url=url).chat.complete(
        model="mistral-large-latest", messages=MESSAGES, http_headers=headers
    )


def _cohere(url: str, headers: dict[str, str]) -> None:
    import cohere

    client = cohere.ClientV2(api_key=KEY, base_url=url)
    client.chat(model="command-a-03-2025", messages=MESSAGES, request_options={"additional_headers": headers})


def _boto3(url: str, headers: dict[str, str]) -> Any:
    import boto3

    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=url, aws_access_key_id="a",
        aws_secret_access_key="b",
    )  # fmt: skip

    def name_team(request: Any, **_: Any) -> None:
        for name, value in headers.items():
            request.headers[name] = value

    client.meta.events.register("before-send", name_team)
    return client


def _converse(url: str, headers: dict[str, str]) -> None:
    messages = [{"role": "user", "content": [{"text": "hi"}]}]
    _boto3(url, headers).converse(modelId=BEDROCK_MODEL, messages=messages)


def _invoke(url: str, headers: dict[str, str]) -> None:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": MESSAGES}
    _boto3(url, headers).invoke_model(modelId=BEDROCK_MODEL, body=json.dumps(body))


def _answers_google(url: str, headers: dict[str, str], stream: bool) -> str:
    import google.genai as genai

    client = genai.Client(api_key=KEY, http_options={"base_url": url, "headers": headers})
    models = client.models  # they do not keep their client
    asked: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": "hi"}
    if stream:
        return "".join(chunk.text or "" for chunk in models.generate_content_stream(**asked))
    return models.generate_content(**asked).text or ""


def _answers_cohere(url: str, headers: dict[str, str], stream: bool) -> str:
    import cohere

    client = cohere.ClientV2(api_key=KEY, base_url=url)
    asked: dict[str, Any] = {"model": "command-r7b-12-2024", "messages": MESSAGES}
    asked["request_options"] = {"additional_headers": headers}
    if stream:
        events = client.chat_stream(**asked)
        return "".join(e.delta.message.content.text for e in events if e.type == "content-delta")
    return client.chat(**asked).message.content[0].text


def _answers_boto3(url: str, headers: dict[str, str], stream: bool) -> str:
    asked = {"modelId": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    if stream:
        events = _boto3(url, headers).converse_stream(**asked)["stream"]
        deltas = [e["contentBlockDelta"] for e in events if "contentBlockDelta" in e]
        return "".join(delta["delta"]["text"] for delta in deltas)
    return str(_boto3(url, headers).converse(**asked)["output"]["message"]["content"][0]["text"])


def _answers_mistral(url: str, headers: dict[str, str], stream: bool) -> str:
    from mistralai.client import Mistral

    chat = Mistral(api_key=KEY, server_url=url).chat
    asked: dict[str, Any] = {"model": "mistral-large-latest", "messages": MESSAGES, "http_headers": headers}
    if stream:
        return "".join(e.data.choices[0].delta.content or "" for e in chat.stream(**asked) if e.data.choices)
    return str(chat.complete(**asked).choices[0].message.content)


ANSWERS: dict[str, Callable[[str, dict[str, str], bool], str]] = {
    "google-genai": _answers_google,
    "cohere": _answers_cohere,
    "boto3": _answers_boto3,
    "mistralai": _answers_mistral,
}
"""SDK → an answer of a mock provider, whole or streamed, as text (`x-mock-` headers say how long)."""

CALLS: dict[str, Callable[[str, dict[str, str]], None]] = {
    "openai": lambda url, h: _openai(url, h).chat.completions.create(model="gpt-4o", messages=MESSAGES),
    "openai.responses": lambda url, h: _openai(url, h).responses.create(model="gpt-4o", input="hi"),
    "anthropic": _anthropic,
    "groq": _groq,
    "google-genai": _google,
    "mistralai": _mistral,
    "cohere": _cohere,
    "boto3": _converse,
    "boto3.invoke": _invoke,
}
