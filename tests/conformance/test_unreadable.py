"""Requests that are hard to read, through a real Envoy, before an upstream that reads whatever any parser reads: a team
without money reaches nothing, any other is charged what the upstream bills."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any, NamedTuple

import brotli
import pytest
import zstandard
from support.calls import who
from support.gateway import Gateway
from support.lenient import Lenient, Rule
from support.policy import budget, policy
from support.raw_http import Answer, send

CHAT, MESSAGES, GEMINI = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1beta/models/gemini-2.5-pro:generateContent",
)
SPEECH = "/v1/audio/transcriptions"
JSON = {"content-type": "application/json"}
ASK: dict[str, Any] = {
    "model": "gpt-4o",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "hi there"}],
}
PLAIN = json.dumps(ASK).encode()
TEXT = json.dumps({**ASK, "messages": [{"role": "user", "content": "grüß dich"}]}, ensure_ascii=False)
STREAM = json.dumps({**ASK, "stream": True}).encode()
FILE = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    + b"x" * 900
    + b"\r\n--b--\r\n"
)


class Odd(NamedTuple):
    """A request that a plain JSON parser does not read."""

    body: bytes
    path: str = CHAT
    headers: dict[str, str] = JSON
    as_sent: bool = True
    """Do the client's own bytes go on?"""


def coded(body: bytes, coding: str, **more: str) -> Odd:
    for name in coding.lower().replace(" ", "").split(","):
        match name:
            case "gzip" | "x-gzip":
                body = gzip.compress(body)
            case "deflate":
                body = zlib.compress(body)
            case "br":
                body = brotli.compress(body)
            case "zstd":
                body = zstandard.compress(body)
    return Odd(body, headers={**JSON, "content-encoding": coding, **more})


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


READ = {
    "utf-16": Odd(TEXT.encode("utf-16")),
    "utf-16-le": Odd(TEXT.encode("utf-16-le")),
    "utf-16-be-with-mark": Odd(b"\xfe\xff" + TEXT.encode("utf-16-be")),
    "utf-32": Odd(TEXT.encode("utf-32")),
    "utf-32-be": Odd(TEXT.encode("utf-32-be")),
    "latin-1": Odd(TEXT.encode("latin-1"), headers={"content-type": "application/json; charset=ISO-8859-1"}),
    "gzip": coded(PLAIN, "gzip"),
    "x-gzip": coded(PLAIN, "X-GZIP"),
    "deflate": coded(PLAIN, "deflate"),
    "raw-deflate": Odd(raw_deflate(PLAIN), headers={**JSON, "content-encoding": "deflate"}),
    "br": coded(PLAIN, "br"),
    "zstd": coded(PLAIN, "zstd"),
    "stacked": coded(PLAIN, "identity, gzip, br"),
    "utf-16-in-gzip": coded(TEXT.encode("utf-16"), "gzip"),
    "trailing-text": Odd(PLAIN + b" xyz", as_sent=False),
    "two-documents": Odd(PLAIN + b"\n" + PLAIN, as_sent=False),
    "other-case": Odd(b'{"Model":"gpt-4o","MAX_TOKENS":1000,"Messages":[]}', as_sent=False),
    "kelvin": Odd('{"model":"gpt-4o","max_to\u212aens":1000,"messages":[]}'.encode(), as_sent=False),
    "model-twice": Odd(b'{"model":"gpt-4o","model":"gpt-4o-mini","max_tokens":9,"messages":[]}', as_sent=False),
    "cap-twice": Odd(b'{"model":"gpt-4o","max_tokens":90,"max_tokens":1,"messages":[]}', as_sent=False),
    "control-character": Odd(PLAIN.replace(b"hi there", b"hi\nthere\x01"), as_sent=False),
    "not-utf-8": Odd(PLAIN.replace(b"hi there", b"hi \xff"), as_sent=False),
    "bare-keys": Odd(
        b"{contents:[{parts:[{text:'hi'}]}], generationConfig: {maxOutputTokens: 1000}}", GEMINI, as_sent=False
    ),
    "numbers-in-strings": Odd(
        b'{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":"600","candidateCount":"8"}}',
        GEMINI,
    ),
    "snake-case": Odd(b'{"contents":[],"generation_config":{"max_output_tokens":600,"candidate_count":2}}', GEMINI),
    "n-in-a-string": Odd(json.dumps({**ASK, "n": "64"}).encode()),
    "both-caps": Odd(json.dumps({**ASK, "max_completion_tokens": 1}).encode()),
    "no-model": Odd(b'{"max_tokens":1000,"messages":[]}'),
    "model-in-a-list": Odd(b'{"model":["gpt-4o"],"max_tokens":1000,"messages":[]}'),
    "called-a-form": Odd(PLAIN, headers={"content-type": "multipart/form-data; boundary=x"}),
    "called-urlencoded": Odd(PLAIN, headers={"content-type": "application/x-www-form-urlencoded"}),
    "called-gzip": Odd(PLAIN, headers={**JSON, "content-encoding": "gzip"}),
    "comments": Odd(b'{"model": "gpt-4o", /* dear */ "max_tokens": 1000, "messages": [],} // end', as_sent=False),
    "messages-in-other-case": Odd(
        b'{"model":"claude-opus-4-1","Max_Tokens":1000,"messages":[{"Role":"user","Content":"hi"}]}', MESSAGES,
        as_sent=False,
    ),
    "unquoted-name": Odd(
        b"--b\r\nContent-Disposition: form-data; name=model\r\n\r\ngpt-4o-transcribe\r\n" + FILE, SPEECH,
        {"content-type": "multipart/form-data; boundary=b"}, as_sent=False,
    ),
    "line-feeds": Odd(
        b"--b\ncontent-disposition: form-data; NAME*=utf-8''model\n\ngpt-4o-transcribe\n" + FILE, SPEECH,
        {"content-type": "multipart/form-data; boundary=b"}, as_sent=False,
    ),
    "called-json": Odd(
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-transcribe\r\n' + FILE, SPEECH,
        as_sent=False,
    ),
}  # fmt: skip
UNREAD = {
    "blank": Odd(b" \n"),
    "cut": Odd(b'{"model": "gpt-4o", "messages": [{"ro'),
    "array": Odd(b'[{"model":"gpt-4o"}]'),
    "deep": Odd(b"[" * 100_000),
    "utf-7": Odd(PLAIN, headers={"content-type": "application/json; charset=utf-7"}),
    "unknown-coding": Odd(zlib.compress(PLAIN), headers={**JSON, "content-encoding": "compress"}),
    "cut-gzip": Odd(gzip.compress(PLAIN)[:-9], headers={**JSON, "content-encoding": "gzip"}),
    "protobuf": Odd(b"\n\x04hi\x12\x00", GEMINI, {"content-type": "application/x-protobuf"}),
    "form-in-a-form": Odd(
        b"--b\r\ncontent-disposition: form-data; name=x\r\ncontent-type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n"
        + FILE, SPEECH, {"content-type": "multipart/form-data; boundary=b"},
    ),
}  # fmt: skip
TEAMS = [f"rich-{name}" for name in (*READ, "stream", "left", "bound", "named")]
AUDIT = [budget(f"audit-{name}", 0, mode="audit") for name in UNREAD]
POLICY = policy(
    budget("broke", 0),
    *(budget(team, 1000) for team in TEAMS),
    *AUDIT,
    budget("tight", 1, overshootPercent=0),
)


@pytest.fixture(scope="module")
def lenient() -> Iterator[Lenient]:
    with Lenient() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def house(lenient: Lenient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("unreadable"), lenient.url, POLICY) as running:
        yield running


def ask(house: Gateway, odd: Odd, team: str, tag: str) -> Answer:
    return send(house.url, "POST", odd.path, {**odd.headers, **who(team), "x-case": tag}, odd.body)


@pytest.mark.parametrize("name", READ)
def test_a_team_without_money_reaches_nothing(house: Gateway, lenient: Lenient, name: str) -> None:
    assert ask(house, READ[name], "broke", f"broke-{name}").status == 429
    assert lenient.calls(f"broke-{name}") == []


@pytest.fixture(scope="module")
def answers(house: Gateway, lenient: Lenient) -> dict[str, Answer]:
    """What teams with money, and teams that are only audited, were answered, all before the first is looked at."""
    for name in READ:
        lenient.rules[f"rich-{name}"] = Rule(output="cap")
    for name in UNREAD:
        lenient.rules[f"audit-{name}"] = Rule(with_usage=False)
    asked = {f"rich-{n}": odd for n, odd in READ.items()} | {f"audit-{n}": odd for n, odd in UNREAD.items()}
    return {team: ask(house, odd, team, team) for team, odd in asked.items()}


@pytest.mark.parametrize("name", READ)
def test_what_the_upstream_bills_is_charged_and_was_held(
    house: Gateway, lenient: Lenient, answers: dict[str, Answer], name: str
) -> None:
    odd, tag = READ[name], f"rich-{name}"
    assert answers[tag].status == 200
    [call] = lenient.calls(tag)
    line = house.line(tag)
    assert Decimal(line["cost_usd"]) == call.usd
    assert Decimal(line["estimate_usd"]) >= call.usd or odd.path == SPEECH
    assert (call.body == odd.body) is odd.as_sent
    if not odd.as_sent:
        assert line["flags"] or name == "control-character"


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_is_refused_with_what_is_wrong(
    house: Gateway, lenient: Lenient, name: str
) -> None:
    answer = ask(house, UNREAD[name], "broke", f"unread-{name}")
    assert answer.status == 400
    assert answer.header("x-spendgate-reason") == "unreadable_request"
    assert answer.header("x-should-retry") == "false"
    assert "cannot read the request" in json.loads(answer.body)["error"]["message"]
    assert lenient.calls(f"unread-{name}") == []


@pytest.mark.parametrize("name", UNREAD)
def test_audited_teams_pass_unread_and_are_charged(
    house: Gateway, lenient: Lenient, answers: dict[str, Answer], name: str
) -> None:
    team = f"audit-{name}"
    assert answers[team].status == 200
    [call] = lenient.calls(team)
    line = house.line(team)
    assert call.body == UNREAD[name].body
    assert Decimal(line["cost_usd"]) == Decimal(line["estimate_usd"]) >= call.usd
    assert (line["outcome"], line["unmetered"]) == ("unmetered", "unreadable")
    assert "unreadable" in line["flags"]


def test_a_bomb_is_too_large_and_never_inflated(house: Gateway, lenient: Lenient) -> None:
    bomb = gzip.compress(gzip.compress(b'{"a":"' + b"x" * (200 * 1024 * 1024) + b'"}'))
    assert len(bomb) < 10_000
    odd = Odd(bomb, headers={**JSON, "content-encoding": "gzip, gzip"})
    answer = ask(house, odd, "broke", "bomb")
    assert (answer.status, answer.header("x-spendgate-reason")) == (413, "request_too_large")
    assert lenient.calls("bomb") == []


def test_a_compressed_stream_that_asks_for_no_usage_is_asked_and_goes_on_decoded(
    house: Gateway, lenient: Lenient
) -> None:
    lenient.rules["rich-stream"] = Rule(output=40)
    answer = ask(house, coded(STREAM, "gzip", **{"content-md5": "x"}), "rich-stream", "rich-stream")
    assert answer.status == 200
    assert b'"usage"' not in answer.body
    [call] = lenient.calls("rich-stream")
    headers = dict(call.headers)
    assert json.loads(call.body)["stream_options"] == {"include_usage": True}
    assert "content-encoding" not in headers and "content-md5" not in headers
    assert headers["content-length"] == str(len(call.body))
    assert Decimal(house.line("rich-stream")["cost_usd"]) == call.usd


@pytest.mark.parametrize(
    "odd",
    [
        Odd(b'{"contents":[],"generationConfig":{"maxOutputTokens":"6000","candidateCount":"8"}}', GEMINI),
        Odd(b'{"model":"gpt-4o","max_tokens":16000,"max_tokens":1,"messages":[]}'),
        Odd(json.dumps({**ASK, "n": "64"}).encode()),
        Odd(json.dumps({**ASK, "max_tokens": 16_000, "max_completion_tokens": 1}).encode()),
    ],
    ids=["candidates", "cap-twice", "n", "both-caps"],
)
def test_many_at_once_stay_within_the_bound(house: Gateway, lenient: Lenient, odd: Odd) -> None:
    lenient.rules["tight"] = Rule(output="cap", seconds=0.3)
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda _: ask(house, odd, "tight", "tight"), range(40)))
    assert lenient.usd("tight") <= 1
    assert Decimal(house.quiet("tight")["settled_usd"]) == lenient.usd("tight")


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_name_with_control_characters_reaches_no_header(
    house: Gateway, lenient: Lenient, stream: bool
) -> None:
    body = json.dumps({**ASK, "model": "gpt-4o\n\x00\x7f", "stream": stream}).encode()
    answer = ask(house, Odd(body), "rich-named", "rich-named")
    assert answer.status == 200
    assert answer.header("x-spendgate-model") == "gpt-4o%0A%00%7F"
