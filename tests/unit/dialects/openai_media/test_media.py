"""OpenAI's images, transcripts, speech and moderations: JSON and forms, usage told or known by the request."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.streams import every_split, meter, run, seen

from spendgate.dialects.base import Reading, RequestFacts
from spendgate.dialects.registry import by_name, find
from spendgate.dialects.wire import multipart
from spendgate.errors import RequestError

FORM = "multipart/form-data; boundary=XyZ"
IMAGES, AUDIO = "/v1/images/generations", "/v1/audio/transcriptions"


def form(*fields: tuple[str, str], files: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    out = b"preamble\r\n"
    for name, value in fields:
        out += f'--XyZ\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for name, content in files:
        head = f'--XyZ\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n'
        out += head.encode() + b"Content-Type: audio/wav\r\n\r\n" + content + b"\r\n"
    return out + b"--XyZ--\r\n"


def wav(seconds: int, rate: int = 32_000) -> bytes:
    head = (
        b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, rate, 2, 16)
    )
    return head + b"data" + b"\0" * (seconds * rate - len(head) - 4)


def read(name: str, path: str, body: bytes, content_type: str = "application/json") -> RequestFacts:
    found = find("POST", path, content_type)
    assert found is not None and found.name == name
    return found.read_request(body, path, {"content-type": content_type})


def usage(name: str, **body: Any) -> Reading:
    return by_name(name).read_answer(json.dumps(body).encode())


# -- images -----------------------------------------------------------------------------------------------


def test_an_image_is_held_by_tokens_and_known_by_its_number() -> None:
    facts = read(
        "openai-images", IMAGES, b'{"model":"gpt-image-1","prompt":"a cat","n":2,"partial_images":3}'
    )
    assert (facts.model, facts.texts, facts.output_cap) == ("gpt-image-1", ("a cat",), 0)
    assert facts.extra_output_tokens == 2 * (6_240 + 1_000 + 300)
    assert facts.known_usage == {"images": 2, "requests": 1}
    assert facts.dear_kinds == {"output_image"}
    assert read("openai-images", IMAGES, b'{"prompt":"x","n":99}').fee_kinds == {"images": 10}
    assert read("openai-images", "/openai/deployments/d/images/generations", b'{"prompt":"x"}').model == "d"


def test_an_edit_is_a_form_with_images() -> None:
    body = form(
        ("model", "gpt-image-1"),
        ("prompt", "hat"),
        ("n", "3"),
        ("stream", "true"),
        files=(("image[]", b"PNG"),),
    )
    facts = read("openai-images", "/v1/images/edits", body, FORM)
    assert (facts.model, facts.texts, facts.fee_kinds, facts.stream) == (
        "gpt-image-1",
        ("hat",),
        {"images": 3},
        True,
    )
    assert (facts.extra_input_tokens, facts.dear_kinds) == (7_500, {"input_image", "output_image"})


IMAGE_USAGE = {
    "input_tokens": 60, "input_tokens_details": {"text_tokens": 10, "image_tokens": 50}, "output_tokens": 1056,
    "total_tokens": 1116,
}  # fmt: skip
IMAGE_KINDS = {"input": 10, "input_image": 50, "output_image": 1056, "requests": 1}


def test_images_are_billed_by_their_tokens_where_they_are_told() -> None:
    assert usage("openai-images", data=[], usage=IMAGE_USAGE) == Reading(IMAGE_KINDS)
    with_text = IMAGE_USAGE | {"output_tokens_details": {"image_tokens": 1000, "text_tokens": 56}}
    assert usage("openai-images", usage=with_text).usage == {
        "input": 10, "input_image": 50, "output": 56, "output_image": 1000, "requests": 1,
    }  # fmt: skip
    assert usage("openai-images", data=[{}]).problem == "no_usage"
    assert usage("openai-images", usage={"input_tokens": -1}).problem == "bad_usage"


def events(*documents: Any) -> bytes:
    return b"".join(f"event: {d['type']}\ndata: {json.dumps(d)}\n\n".encode() for d in documents)


def test_a_streamed_image_is_metered_at_every_split() -> None:
    done = {"type": "image_generation.completed", "b64_json": "AAAA", "usage": IMAGE_USAGE}
    stream = events({"type": "image_generation.partial_image", "b64_json": "AA"}, done)
    every_split("openai-images", stream)
    under_test = meter("openai-images")
    run(under_test, [stream])
    assert seen(under_test) == (Reading(IMAGE_KINDS), (IMAGE_KINDS, 0), True, False)
    twice = meter("openai-images")
    run(twice, [stream, events(done)])
    assert twice.result().usage["output_image"] == 2 * 1056
    failed = meter("openai-images")
    run(failed, [events({"type": "error", "error": {"code": "moderation_blocked"}})])
    assert failed.failed


# -- transcripts ------------------------------------------------------------------------------------------


def test_a_transcription_is_held_by_its_length() -> None:
    body = form(("model", "whisper-1"), files=(("file", wav(60)),))
    facts = read("openai-transcriptions", AUDIO, body, FORM)
    assert (facts.model, facts.fee_kinds, facts.known_usage) == (
        "whisper-1",
        {"seconds": 60},
        {"seconds": 60, "requests": 1},
    )
    compressed = form(
        ("model", "gpt-4o-transcribe"), ("stream", "true"), files=(("file", b"ID3" + b"\0" * 59_997),)
    )
    facts = read("openai-transcriptions", AUDIO, compressed, FORM)
    assert (facts.fee_kinds, facts.known_usage, facts.stream) == ({"seconds": 60}, {}, True)
    assert (facts.extra_input_tokens, facts.extra_output_tokens) == (600, 560)


def test_a_length_that_is_too_short_to_be_true_is_not_believed() -> None:
    body = form(("model", "whisper-1"), files=(("file", wav(1, rate=400_000)),))
    facts = read("openai-transcriptions", AUDIO, body, FORM)
    assert (facts.fee_kinds, facts.known_usage) == ({"seconds": 400}, {})


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        (
            {"text": "x", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 5, "total_tokens": 19,
             "input_token_details": {"text_tokens": 10, "audio_tokens": 4}}},
            {"input": 10, "input_audio": 4, "output": 5, "requests": 1},
        ),
        ({"text": "x", "usage": {"type": "duration", "seconds": 3}}, {"requests": 1, "seconds": 3}),
        ({"text": "x", "duration": 8.47, "segments": []}, {"requests": 1, "seconds": 9}),
        ({"text": "x", "usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635}},
         {"input": 4, "output": 635, "requests": 1, "seconds": 203}),
    ],
)  # fmt: skip
def test_a_transcript_is_billed_by_tokens_or_seconds(body: dict[str, Any], kinds: dict[str, int]) -> None:
    assert usage("openai-transcriptions", **body) == Reading(kinds)


@pytest.mark.parametrize("seconds", [-1, True, "x", 1e300, [1]])
def test_seconds_that_are_none_are_not_billed(seconds: Any) -> None:
    assert usage("openai-transcriptions", usage={"seconds": seconds}).problem == "bad_usage"


def test_a_streamed_transcript_is_metered_at_every_split() -> None:
    told = {"type": "tokens", "input_tokens": 14, "output_tokens": 2, "total_tokens": 16}
    text = events({"type": "transcript.text.delta", "delta": "one two"})
    stream = text + events({"type": "transcript.text.done", "text": "one two", "usage": told})
    every_split("openai-transcriptions", stream)
    aborted = meter("openai-transcriptions")
    run(aborted, [text], end=False)
    assert seen(aborted) == (Reading({}, problem="truncated"), ({}, 2), False, False)


# -- speech -----------------------------------------------------------------------------------------------


def test_speech_is_known_by_its_characters_or_held_by_its_tokens() -> None:
    facts = read(
        "openai-speech", "/v1/audio/speech", '{"model":"tts-1","input":"héllo","voice":"v"}'.encode()
    )
    assert (facts.known_usage, facts.fee_kinds) == ({"characters": 5, "requests": 1}, {"characters": 5})
    facts = read(
        "openai-speech", "/v1/audio/speech", b'{"model":"gpt-4o-mini-tts","input":"hi","stream_format":"sse"}'
    )
    assert (facts.known_usage, facts.stream, facts.extra_output_tokens) == ({}, True, 208)
    assert read("openai-speech", "/v1/audio/speech", b'{"input":"hi"}').model == "unknown"


def test_streamed_speech_is_metered_at_every_split() -> None:
    told = {"input_tokens": 16, "output_tokens": 49, "total_tokens": 65}
    stream = events(
        {"type": "speech.audio.delta", "audio": "AA"}, {"type": "speech.audio.done", "usage": told}
    )
    every_split("openai-speech", stream)
    under_test = meter("openai-speech")
    run(under_test, [stream])
    assert under_test.result() == Reading({"input": 16, "output_audio": 49, "requests": 1})


# -- moderations ------------------------------------------------------------------------------------------


def test_openais_moderation_is_free_and_mistrals_is_not() -> None:
    assert read("moderations", "/v1/moderations", b'{"input":"x"}').free
    assert read("moderations", "/v1/moderations", b'{"model":"omni-moderation-latest","input":"x"}').free
    billed = read("moderations", "/v1/chat/moderations", b'{"model":"mistral-moderation-2411","input":["x"]}')
    assert (billed.free, billed.texts, billed.output_cap) == (False, ("x",), 0)
    told = {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}
    assert usage("moderations", model="m", usage=told).usage == {"input": 9, "requests": 1}


# -- forms ------------------------------------------------------------------------------------------------


def test_the_model_is_rewritten_in_json_and_in_a_form_and_nothing_else() -> None:
    body = form(("model", "a"), ("prompt", "model"), files=(("file", b"\r\n--X\r\nmodel\r\n"),))
    dialect = by_name("openai-transcriptions")
    facts = dialect.read_request(body, AUDIO, {"content-type": FORM})
    out = dialect.rewrite(body, facts, model="bb", output_cap=5, ask_usage=True)
    assert out == body.replace(b"\r\n\r\na\r\n", b"\r\n\r\nbb\r\n")
    assert dialect.rewrite(body, facts, model=None, output_cap=5, ask_usage=True) is body
    plain = b'{"model":"a", "prompt":"x"}'
    facts = by_name("openai-images").read_request(plain, IMAGES)
    out = by_name("openai-images").rewrite(plain, facts, model="b", output_cap=None, ask_usage=False)
    assert out == b'{"model":"b", "prompt":"x"}'


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=other"])
def test_a_form_without_its_boundary_is_no_form(content_type: str) -> None:
    with pytest.raises(RequestError, match="boundary"):
        multipart.parts(form(("a", "b")), content_type)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"--XyZ\r\n", b'--XyZ\r\nContent-Disposition: form-data; name="a"\r\n\r\n']),
)
def test_no_bytes_of_a_form_raise_anything_but_a_request_error(tail: bytes, head: bytes) -> None:
    try:
        found = multipart.parts(head + tail, FORM)
    except RequestError:
        return
    assert all(0 <= p.start <= p.end <= len(head + tail) for p in found)


@given(
    st.lists(st.tuples(st.sampled_from(["model", "n"]), st.text("ab\r\n-", max_size=8)), max_size=4),
    st.binary(max_size=40),
)
def test_what_a_form_holds_is_found_where_it_stands(fields: list[tuple[str, str]], content: bytes) -> None:
    body = form(*fields, files=(("file", content),))
    if any(b"--XyZ" in value.encode() for _, value in fields) or b"--XyZ" in content:
        return
    found = multipart.parts(body, FORM)
    assert [(p.name, body[p.start : p.end]) for p in found] == [
        *((n, v.encode()) for n, v in fields),
        ("file", content),
    ]
