"""OpenAI audio: `POST …/audio/transcriptions`, `/audio/translations` and `/audio/speech`, also as Azure, Groq and
Mistral speak it. What is billed is told in tokens or seconds, or (speech) is the request's characters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, RequestFacts
from spendgate.dialects.openai import media_usage
from spendgate.dialects.openai import request as openai_request
from spendgate.dialects.openai.media_usage import read_speech, read_subtitles, read_transcript
from spendgate.dialects.openai_media.audio_length import BYTES_PER_SECOND_MIN, seconds_of
from spendgate.dialects.openai_media.form_api import Form, FormApi, read_form
from spendgate.dialects.openai_media.stream import MediaStreamMeter
from spendgate.dialects.request import paths
from spendgate.dialects.request.texts import Texts, model_of
from spendgate.dialects.wire.multipart import is_form
from spendgate.dialects.wire.traits import UsageFields

TEXTS = frozenset({"text/plain", "text/vtt", "text/srt", "application/x-subrip"})
"""What transcripts without JSON are labelled as."""
REFERENCES = ("file_url", "file_id", "url", "uri", "audio_url")
REFERRED_SECONDS = 100_000_000 // BYTES_PER_SECOND_MIN
"""A file that is only referred to may have 100 MB (Groq, speech to text, "Audio file limitations")."""
AUDIO_TOKENS_PER_SECOND = 10
"""A token per 100 ms (OpenAI's realtime guide)."""
WORD_TOKENS_PER_SECOND = 6
"""Fast speech is four words a second; a word is up to one and a half tokens."""
TRANSCRIPT_TOKENS = 200
"""What a transcript of nothing may have."""

SPOKEN_TOKENS_PER_CHARACTER = 4
"""A minute is some 1,250 tokens and at least 400 characters read slowly (OpenAI's price list: 0.015 USD a
minute at 12 USD a million tokens)."""


class OpenAITranscriptions(FormApi):
    """The dialect `openai-transcriptions`: speech to text, and its translation."""

    name = "openai-transcriptions"
    title = "OpenAI transcription and translation of speech; also Azure, Groq, Mistral"
    provider = "openai"
    copied = True
    operation = "transcription"
    paths: tuple[str, ...] = ("/v1/audio/transcriptions", "/v1/audio/translations")
    usage_fields: UsageFields = media_usage.TRANSCRIPT_FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "`transcript.text.done`"})
    path_regex = "/+audio/+(transcriptions|translations)"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        form = read_form(body, headers)
        deployment = openai_request.deployment(paths.plain(path))
        texts = Texts()
        texts.add(form.text("prompt"))
        seconds, exact = _seconds(form)
        model = deployment or _model(form)
        content_type = headers.get("content-type", "")
        told = exact and "whisper" in model
        return RequestFacts(
            model=model,
            stream=form.flag("stream"),
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=seconds * AUDIO_TOKENS_PER_SECOND,
            output_cap=0,
            extra_output_tokens=seconds * WORD_TOKENS_PER_SECOND + TRANSCRIPT_TOKENS,
            fee_kinds={"seconds": seconds},
            known_usage={"seconds": seconds, "requests": 1} if told else {},
            dear_kinds=frozenset({"input_audio"}),
            model_fixed=bool(deployment),
            form_type=content_type if is_form(content_type) else "",
        )

    def reads(self, media_type: str) -> bool:
        """Transcripts also come as text and as subtitles."""
        return super().reads(media_type) or media_type in TEXTS

    def read_answer(self, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Reading:
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type in TEXTS and not body.lstrip().startswith(b"{"):
            return read_subtitles(body)
        return super().read_answer(body, headers)

    def read_document(self, document: object) -> Reading:
        return read_transcript(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> MediaStreamMeter:
        return MediaStreamMeter(read_transcript, count=count)


class OpenAISpeech(FormApi):
    """The dialect `openai-speech`: text to speech. Models that bill tokens tell them in event streams alone;
    else their estimate is charged."""

    name = "openai-speech"
    title = "OpenAI speech; also Azure, Groq"
    provider = "openai"
    copied = True
    operation = "speech"
    paths: tuple[str, ...] = ("/v1/audio/speech",)
    usage_fields: UsageFields = media_usage.SPEECH_FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "`speech.audio.done`"})
    not_metered: tuple[str, ...] = ("tokens of speech that is answered as sound: its estimate is charged",)
    path_regex = "/+audio/+speech"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        form = read_form(body, headers)
        deployment = openai_request.deployment(paths.plain(path))
        model = deployment or _model(form)
        texts = Texts()
        texts.add(form.text("input"))
        characters = len(form.text("input"))
        texts.add(form.text("instructions"))
        spoken = {"characters": characters} if characters else {}
        by_tokens = model.startswith("gpt-")
        return RequestFacts(
            model=model,
            stream=form.text("stream_format") == "sse",
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            output_cap=0,
            extra_output_tokens=characters * SPOKEN_TOKENS_PER_CHARACTER + TRANSCRIPT_TOKENS,
            fee_kinds=spoken,
            known_usage={} if by_tokens or not spoken else {**spoken, "requests": 1},
            dear_kinds=frozenset({"output_audio"}),
            model_fixed=bool(deployment),
        )

    def read_document(self, document: object) -> Reading:
        return read_speech(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> MediaStreamMeter:
        return MediaStreamMeter(read_speech, count=count)


def _model(form: Form) -> str:
    return model_of(form.fields)


def _seconds(form: Form) -> tuple[int, bool]:
    """How long the sound sent is at most, and whether that is exact."""
    files = [content for _, content in form.files]
    total, exact = 0, bool(files)
    for content in files:
        seconds = seconds_of(content)
        exact = exact and seconds is not None
        total += -(-len(content) // BYTES_PER_SECOND_MIN) if seconds is None else seconds
    if any(form.fields.get(name) for name in REFERENCES):
        return max(total, REFERRED_SECONDS), False
    return max(total, 1), exact
