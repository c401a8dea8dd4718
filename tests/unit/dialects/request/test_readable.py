"""Requests that are hard to read: what is made of them is what a plain one would be, or a bound of all readings."""

from __future__ import annotations

import ast
import codecs
import gzip
import inspect
import json
import zlib
from collections.abc import Callable
from typing import Any, Literal

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from support import lenient
from support.raw_upstream import Request
from unit.dialects.test_every_dialect import EACH

from spendgate.dialects.anthropic import request as anthropic_request
from spendgate.dialects.base import Dialect, RequestFacts
from spendgate.dialects.bedrock import converse_request
from spendgate.dialects.cohere import request as cohere_request
from spendgate.dialects.gemini import interactions
from spendgate.dialects.gemini import request as gemini_request
from spendgate.dialects.ollama import dialect as ollama
from spendgate.dialects.openai import completions, responses_request
from spendgate.dialects.openai import request as openai_request
from spendgate.dialects.registry import by_name
from spendgate.dialects.request import fallbacks, forms, hosted, readable, texts, thinking
from spendgate.dialects.request.readable import Readable
from spendgate.dialects.wire import json_read, loose
from spendgate.dialects.wire.spelling import GOOGLE, INTERACTIONS, PLAIN, says_once
from spendgate.errors import BodyTooLarge, RequestError

MAX = 1024 * 1024
JSON = {"content-type": "application/json"}
BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "n": 2,
    "max_tokens": 70,
    "max_output_tokens": 70,
    "messages": [{"role": "user", "content": "grüß dich"}],
    "contents": [{"role": "user", "parts": [{"text": "grüß dich"}]}],
    "input": "grüß dich",
    "prompt": "grüß dich",
    "generationConfig": {"maxOutputTokens": 70, "candidateCount": 2},
    "inferenceConfig": {"maxTokens": 70},
    "options": {"num_predict": 70},
    "requests": [{"params": {"model": "claude-x", "max_tokens": 70, "messages": []}}],
}
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


def body_of(dialect: Dialect) -> dict[str, Any]:
    body = dict(BODY)
    if dialect.spelling is GOOGLE and dialect.name == "gemini-embeddings":
        body["requests"] = [{"content": {"parts": [{"text": "hi"}]}}]
    if dialect.spelling is GOOGLE:
        del body["n"]
    if dialect.spelling is INTERACTIONS:
        body["generation_config"] = body.pop("generationConfig")
        body["generation_config"] = {"max_output_tokens": 70}
    return body


def read(
    body: bytes, dialect: Dialect | str = "openai-chat", headers: dict[str, str] = JSON
) -> tuple[RequestFacts, Readable]:
    found = by_name(dialect) if isinstance(dialect, str) else dialect
    return readable.read(found, body, found.paths[0], headers, MAX)


@EACH
@settings(max_examples=12, deadline=None)
@given(
    charset=st.sampled_from(
        ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
    ),
    codings=st.lists(st.sampled_from(sorted(CODINGS)), max_size=3),
)  # fmt: skip
def test_codings_and_charsets_change_nothing(dialect: Dialect, charset: str, codings: list[str]) -> None:
    text = json.dumps(body_of(dialect), ensure_ascii=False)
    plain, _ = read(text.encode(), dialect)
    body = text.encode(charset)
    for name in codings:
        body = CODINGS[name](body)
    facts, made = read(body, dialect, {**JSON, "content-encoding": ", ".join(codings).upper()})
    assert facts == plain
    assert not made.ambiguous
    assert json.loads(made.body) == json.loads(text)
    assert ("content-encoding" in made.remove) is True


def test_a_plain_body_is_the_clients_own() -> None:
    body = json.dumps(BODY).encode()
    facts, made = read(body)
    assert made.body is body
    assert not facts.flags


def mutated(text: str, change: str, data: st.DataObject) -> str:
    """The text, a little odd."""
    match change:
        case "case":
            name = data.draw(
                st.sampled_from(["model", "max_tokens", "messages", "maxOutputTokens", "contents", "n"])
            )
            return text.replace(f'"{name}"', f'"{name.swapcase()}"')
        case "twice":
            more = {
                key: data.draw(value)
                for key, value in (
                    ("model", st.sampled_from(["gpt-4o-mini", "o1-pro", "", None])),
                    ("max_tokens", st.sampled_from([1, 9000, "8000", None, True])),
                    ("n", st.sampled_from([1, 64, "32", 1.0])),
                    (
                        "generationConfig",
                        st.sampled_from([{"maxOutputTokens": 5}, {"max_output_tokens": "9e3"}, None]),
                    ),
                )
            }
            if '"n"' not in text:
                del more["n"]
            head, tail = json.dumps(more)[1:-1], text[1:]
            return f"{{{head},{tail}" if data.draw(st.booleans()) else f"{text[:-1]},{head}}}"
        case "strings":
            return text.replace(": 70", ': " 7e1 "').replace(": 2", ': "2"')
        case "trailing":
            return text + data.draw(st.sampled_from([" xyz", "{}", "\n" + text, "]", "\x00", '"']))
        case "loose":
            return "/* a */" + text.replace('"model"', "model").replace("gpt-4o", "gpt\\x2d4o").replace(
                "}", ",}"
            )
        case "control":
            return text.replace("dich", "di\nch\x01")
    return text


@EACH
@settings(max_examples=40, deadline=None)
@given(
    changes=st.lists(
        st.sampled_from(["case", "twice", "strings", "trailing", "loose", "control"]), max_size=4
    ),
    duplicates=st.sampled_from(["first", "last"]),
    data=st.data(),
)
def test_no_other_reader_makes_more_of_it(
    dialect: Dialect, changes: list[str], duplicates: Literal["first", "last"], data: st.DataObject
) -> None:
    text = json.dumps(body_of(dialect), ensure_ascii=False)
    for change in changes:
        text = mutated(text, change, data)
    body = text.encode()
    try:
        facts, made = read(body, dialect)
    except RequestError as e:
        assert str(e)
        return
    asked = lenient.read(Request("POST", dialect.paths[0], list(JSON.items()), body), duplicates)
    if asked.document is None:
        return  # it reads less than we do
    if facts.output_cap:
        assert facts.output_cap * facts.choices >= 70
        if dialect.name == "openai-chat" and "9e3" not in text:
            assert facts.output_cap * facts.choices >= asked.cap * asked.choices
    if "{" in asked.model or dialect.name in ("openai-chat", "anthropic-messages", "ollama"):
        assert asked.model in (facts.model, *facts.other_models) or facts.model == texts.NO_MODEL
    # what goes on in its stead is read in one way only
    again, _ = read(
        made.body, dialect, {**JSON, **({"content-type": made.content_type} if made.content_type else {})}
    )
    assert (again.model, again.output_cap, again.choices) == (facts.model, facts.output_cap, facts.choices)
    assert not again.flags
    if made.ambiguous:
        document = json.loads(made.body)
        assert says_once(made.body, document)


@EACH
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_broken_body_is_read_or_refused_with_a_reason(dialect: Dialect, data: st.DataObject) -> None:
    body = bytearray(json.dumps(body_of(dialect)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"{", b"}", b"//", b"'", b"\\u00", b"--"])
        )
        body[at : at + data.draw(st.integers(0, 3))] = piece
    headers = {**JSON, "content-encoding": data.draw(st.sampled_from(["", "gzip", "br", "what"]))}
    kinds = [
        "application/json; charset=utf-16le",
        "multipart/form-data; boundary=b",
        "text/plain; charset=koi8-r",
        "",
    ]
    headers["content-type"] = data.draw(st.sampled_from(kinds))
    try:
        read(bytes(body), dialect, headers)
    except RequestError as e:
        assert str(e)


# -- grammar ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: 'b'}", {"a": "b"}),
        ("{'a': \"it's\", b: 'a\"b',}", {"a": "it's", "b": 'a"b'}),
        ("[1, 007, +5, .5, 5., 0x1F, -0x1, 1e3, 1E+2]", [1, 7, 5, 0.5, 5, 31, -1, 1e3, 1e2]),
        ("// one\n{a: /* two */ True, # three\n b: undefined}", {"a": True, "b": None}),
        ("{$a_1: '\\x41\\u0042\\\nC\\'\\q'}", {"$a_1": "ABC'q"}),
        ("{a: 'x\ty'}", {"a": "x\ty"}),
        ("\ufeff\u00a0{}", {}),
    ],
)
def test_loose_grammar_becomes_json(text: str, value: object) -> None:
    written, follows = loose.plain(text)
    assert json.loads(written) == value
    assert not follows


@pytest.mark.parametrize(
    "text", ["{a: b}", "{a: 1 b}", "{", "}", "[1}", "{a: 1}}"[:5], "\x02", "", "{a: `b`}"]
)
def test_what_is_no_grammar_at_all_says_where(text: str) -> None:
    with pytest.raises(json_read.NotJson):
        json.loads(loose.plain(text)[0])
        raise json_read.NotJson


def test_of_two_models_all_bound_the_hold() -> None:
    facts, made = read(b'{"model":"gpt-4o","model":"gpt-4o-mini","messages":[{"content":"a"}],"messages":[]}')
    assert (facts.model, facts.other_models, facts.texts) == ("gpt-4o-mini", ("gpt-4o",), ("a",))
    assert made.ambiguous
    assert facts.flags == ("doubled_names",)


def test_a_tools_own_names_are_left_alone() -> None:
    schema = {"type": "object", "properties": {"Model": {"type": "string"}, "MAX_TOKENS": {}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    body = json.dumps({"model": "gpt-4o", "Messages": [], "tools": tools}).encode()
    _, made = read(body)
    assert json.loads(made.body)["tools"] == tools


MODULES = (anthropic_request, converse_request, cohere_request, fallbacks, gemini_request, hosted, interactions, ollama,
           completions, openai_request, responses_request, thinking)  # fmt: skip


def test_every_name_that_is_read_is_known_to_the_spelling() -> None:
    """A name that is read and not known here could be spelled in another case, and be missed."""
    known = PLAIN.names | GOOGLE.names | GOOGLE.other | INTERACTIONS.names
    missing = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("get", "_get"):
                missing |= {
                    a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
                }
    assert missing - known - {"usage", ""} == set()
    assert set(fallbacks.KEYS) | hosted.SERVER_KEYS <= known


# -- bounds and labels --------------------------------------------------------------------------------------


def test_a_bomb_is_not_inflated() -> None:
    with pytest.raises(BodyTooLarge):
        read(gzip.compress(b'{"a":"' + b"x" * (64 * MAX) + b'"}'), headers={"content-encoding": "gzip"})


@pytest.mark.parametrize("label", ["utf-7", "hz", "iso-2022-jp", "cp037", "what", "rot13", "x" * 999])
def test_a_charset_that_gives_ascii_another_meaning_is_not_read(label: str) -> None:
    with pytest.raises(RequestError, match="charset"):
        read(b'{"model":"m"}', headers={"content-type": f"application/json; charset={label}"})


@pytest.mark.parametrize("second", ["; charset=utf-7", '; Charset="latin-1"', ";charset=utf-16"])
def test_two_charsets_are_none(second: str) -> None:
    with pytest.raises(RequestError, match="charset"):
        read(b'{"model":"m"}', headers={"content-type": f"application/json; charset=utf-8{second}"})


@pytest.mark.parametrize(
    "charset", ["latin-1", "ISO-8859-15", "windows-1252", "koi8-r", '"utf-16le"', "UTF_16_BE"]
)
def test_a_charset_is_read_by_its_label(charset: str) -> None:
    name = charset.strip('"')
    body = '{"model":"gpt-4o","messages":[{"content":"\u00b0"}]}'.encode(codecs.lookup(name).name)
    facts, made = read(body, headers={"content-type": f"application/json; charset={charset}"})
    assert facts.texts == ("\u00b0",)
    assert made.content_type == "application/json"


PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
FORM = {"content-type": "multipart/form-data; boundary=b"}
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nxx\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("body", "headers", "ambiguous"),
    [
        (PART % (b"model", b"whisper-1") + FILE, FORM, False),
        (PART % (b"model", b"whisper-1") + FILE, JSON, True),
        (
            PART % (b"model", b"whisper-1") + FILE,
            {"content-type": 'multipart/form-data; BOUNDARY="b"'},
            False,
        ),
        ((PART % (b"model", b"whisper-1") + FILE).replace(b"\r\n", b"\n"), FORM, True),
        (b"junk\r\n" + PART % (b"model", b"whisper-1") + FILE, FORM, True),
        (PART.replace(b'"', b"") % (b"model", b"whisper-1") + FILE, FORM, True),
        (PART.replace(b'name="%s"', b"name*=UTF-8''%s") % (b"mod%65l", b"whisper-1") + FILE, FORM, True),
        (PART.replace(b"Content", b"cONTENT") % (b"Model", b"whisper-1") + FILE, FORM, True),
        (PART % (b"model", b"whisper-1") + PART % (b"model", b"tts-1") + FILE, FORM, True),
        (PART % (b"model", b"whisper-1") + FILE.removesuffix(b"--b--\r\n"), FORM, True),
        (b"model=whisper-1&n=3", {"content-type": forms.URLENCODED}, True),
    ],
)
def test_a_form_is_read_as_any_parser_reads_it(body: bytes, headers: dict[str, str], ambiguous: bool) -> None:
    facts, made = read(body, "openai-transcriptions", headers)
    assert "whisper-1" in (facts.model, *facts.other_models)
    assert made.ambiguous is ambiguous
    if ambiguous:
        again, strict = read(made.body, "openai-transcriptions", {"content-type": made.content_type})
        assert (again.model, strict.ambiguous) == (facts.model, False)


@pytest.mark.parametrize(
    "head",
    [
        b"content-type: multipart/mixed; boundary=c",
        b"content-transfer-encoding: quoted-printable",
        b"content-type: text/plain; charset=utf-16",
    ],
)
def test_a_part_that_is_decoded_on_the_way_is_not_read(head: bytes) -> None:
    part = b'--b\r\ncontent-disposition: form-data; name="model"\r\n' + head + b"\r\n\r\nwhisper-1\r\n"
    with pytest.raises(RequestError):
        read(part + FILE, "openai-transcriptions", FORM)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"--b", b"--b--", b"\r\n", b"\n", b"\r", b":", b'name="n"', b"x", b"; "]),
        max_size=14,
    )
)
def test_no_form_breaks_the_reader(pieces: list[bytes]) -> None:
    body = PART % (b"model", b"m") + b"".join(pieces)
    try:
        facts, made = read(body, "openai-transcriptions", FORM)
    except RequestError as e:
        assert str(e)
        return
    again, strict = read(
        made.body, "openai-transcriptions", {"content-type": made.content_type} if made.ambiguous else FORM
    )
    assert again.model == facts.model
    assert not strict.ambiguous
