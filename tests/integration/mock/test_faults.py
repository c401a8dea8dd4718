"""What the mock breaks on request, over a plain HTTP client."""

import hashlib
import signal
import socket
import subprocess
from typing import Any

import httpx
import orjson
import pytest
from support.mock_command import COMMAND

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
CLAUDE = {"model": "claude-opus", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


def chat(http: httpx.Client, body: dict[str, Any] = CHAT, **control: str) -> httpx.Response:
    headers = {f"x-mock-{k.replace('_', '-')}": v for k, v in control.items()}
    path = "/v1/messages" if body["model"].startswith("claude") else "/v1/chat/completions"
    return http.post(path, json=body, headers=headers)


def line(http: httpx.Client, model: str = "gpt-4o") -> dict[str, Any]:
    return http.get("/mock/invoice").json()["models"][model]


@pytest.mark.parametrize("body", [CHAT, STREAM, CLAUDE, {**CLAUDE, "stream": True}])
def test_a_reset_before_the_answer_bills_nothing(http: httpx.Client, body: dict[str, Any]) -> None:
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        chat(http, body, reset="before")
    assert http.get("/mock/invoice").json() == {"models": {}, "errors": 0, "resets": 1}


@pytest.mark.parametrize("body", [STREAM, {**CLAUDE, "stream": True}])
def test_a_stream_reset_midway_bills_what_was_sent(http: httpx.Client, body: dict[str, Any]) -> None:
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        chat(http, body, reset="mid")
    got = line(http, body["model"])
    assert (got["aborted"], got["tokens"]["output"]) == (1, 10)


def test_a_json_answer_reset_midway_is_billed_whole(http: httpx.Client) -> None:
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        chat(http, reset="mid")
    assert line(http)["tokens"]["output"] == 20


def test_a_client_that_leaves_a_stream_is_billed_for_what_flowed(http: httpx.Client) -> None:
    headers = {"x-mock-chunk-ms": "20", "x-mock-output-tokens": "500"}
    with http.stream("POST", "/v1/chat/completions", json=STREAM, headers=headers) as answer:
        for text in answer.iter_text():
            if text.count('"delta"') and '"content":" is"' in text:
                break
    for _ in range(500):
        if "gpt-4o" in (known := http.get("/mock/invoice").json()["models"]):
            break
    got = known["gpt-4o"]
    assert got["aborted"] == 1
    assert 2 <= got["tokens"]["output"] < 500


@pytest.mark.parametrize(("how", "seen"), [("negative", -21), ("string", "20"), ("huge", 10**18)])
@pytest.mark.parametrize("body", [CHAT, CLAUDE])
def test_a_false_usage_is_reported_but_the_books_stay_true(
    http: httpx.Client, body: dict[str, Any], how: str, seen: object
) -> None:
    usage = chat(http, body, usage=how).json()["usage"]
    assert seen in (usage.get("completion_tokens"), usage.get("output_tokens"))
    assert line(http, body["model"])["tokens"]["output"] == 20


@pytest.mark.parametrize("body", [CHAT, CLAUDE, STREAM, {**CLAUDE, "stream": True}])
def test_usage_none_leaves_it_out(http: httpx.Client, body: dict[str, Any]) -> None:
    assert "usage" not in chat(http, body, usage="none").text


def test_a_body_can_be_broken(http: httpx.Client) -> None:
    for how in ("not-json", "truncated"):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(_broken(http, CHAT, how))
    assert _broken(http, CHAT, "empty") == b""
    assert _broken(http, STREAM, "empty") == b""
    assert _broken(http, STREAM, "not-json") == b"data: {oops\n\n"
    assert b"[DONE]" not in _broken(http, STREAM, "truncated")


def _broken(http: httpx.Client, body: dict[str, Any], how: str) -> bytes:
    return http.post("/v1/chat/completions", json=body, headers={"x-mock-body": how}).content


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_an_answer_can_be_compressed(http: httpx.Client, coding: str, body: dict[str, Any]) -> None:
    got = chat(http, body, encoding=coding)
    assert got.headers["content-encoding"] == coding
    assert '"completion_tokens":20' in got.text


@pytest.mark.parametrize("body", [CHAT, CLAUDE, STREAM, {**CLAUDE, "stream": True}])
def test_an_answer_can_be_padded_to_a_size(http: httpx.Client, body: dict[str, Any]) -> None:
    got = chat(http, body, size="100000")
    assert len(got.content) == 100_000
    if "stream" not in body:
        assert got.json()["usage"]


def test_the_first_failures_of_each_key_are_counted_apart(http: httpx.Client) -> None:
    statuses = [chat(http, fail_times="2", fail_key=k).status_code for k in "aaabbb"]
    assert statuses == [503, 503, 200] * 2


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ({"x-mock-cachd": "1"}, "x-mock-cachd: not a control header; known are"),
        ({"x-mock-cached": "many"}, "x-mock-cached: 'many' is not a whole number"),
        ({"x-mock-reset": "later"}, "x-mock-reset: 'later' is not one of before, mid"),
        ({"x-mock-status": "200"}, "x-mock-status: 200 is no error"),
        ({"x-mock-cache-write-1h": "1"}, "x-mock-cache-write-1h: this API has no such tokens"),
    ],
)
def test_a_wrong_control_header_is_a_clear_error(
    http: httpx.Client, control: dict[str, str], said: str
) -> None:
    got = http.post("/v1/chat/completions", json=CHAT, headers=control)
    assert got.status_code == 400
    assert said in got.json()["error"]["message"]


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"{}", b'{"model":"m","messages":1}'])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_request_that_the_provider_would_refuse_is_refused(
    http: httpx.Client, path: str, raw: bytes
) -> None:
    assert http.post(path, content=raw).status_code == 400


def test_what_arrived_is_shown_as_it_came(http: httpx.Client) -> None:
    raw = b'{"model":"gpt-4o", "messages":[]}'
    http.post("/v1/chat/completions?a=%2F&b", content=raw, headers={"x-own": "1"})
    (seen,) = http.get("/mock/requests?last=1").json()
    assert (seen["method"], seen["path"]) == ("POST", "/v1/chat/completions?a=%2F&b")
    assert ["x-own", "1"] in seen["headers"]
    assert seen["body_sha256"] == hashlib.sha256(raw).hexdigest()
    assert seen["json"] == {"model": "gpt-4o", "messages": []}


def test_an_unknown_path_is_404(http: httpx.Client) -> None:
    assert http.get("/v1/none").json()["error"]["message"] == "Invalid URL (GET /v1/none)"


def test_an_azure_deployment_names_the_model(http: httpx.Client) -> None:
    got = http.post("/openai/deployments/gpt-4o-mini/chat/completions?api-version=1", json=CHAT)
    assert got.json()["model"] == "gpt-4o-mini"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_0_even_while_it_answers(number: int) -> None:
    process = subprocess.Popen([*COMMAND, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().removeprefix("ready: ").strip()
    headers = {"x-mock-chunk-ms": "50", "x-mock-output-tokens": "100000"}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=STREAM, headers=headers) as answer:
        next(answer.iter_bytes())
        process.send_signal(number)
        assert process.wait(20) == 0


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", ":80"])
def test_a_wrong_address_is_wrong_usage(address: str) -> None:
    done = subprocess.run([*COMMAND, "--listen", address], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--listen: not an address" in done.stderr


def test_a_taken_port_is_one_line_that_says_what_to_do() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        address = f"127.0.0.1:{s.getsockname()[1]}"
        done = subprocess.run([*COMMAND, "--listen", address], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "stop what uses it, or choose another port" in done.stderr
