"""OpenAI images: `POST …/images/generations`, `/edits` and `/variations`, also as Azure, xAI and Together speak
it. GPT Image models bill tokens, which the answer tells; others bill images, which only the request tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from spendgate.dialects.base import NO_HEADERS, Reading, RequestFacts
from spendgate.dialects.openai import media_usage
from spendgate.dialects.openai import request as openai_request
from spendgate.dialects.openai.media_usage import read_images
from spendgate.dialects.openai_media.form_api import FormApi, read_form
from spendgate.dialects.openai_media.stream import MediaStreamMeter
from spendgate.dialects.request import paths
from spendgate.dialects.request.texts import MODEL_CHARACTERS_MAX, Texts, short
from spendgate.dialects.wire.multipart import is_form
from spendgate.dialects.wire.traits import UsageFields

DEFAULT_MODEL = "dall-e-2"
"""What serves a request that names no model (OpenAI API reference, "Create image")."""

IMAGES_MAX = 10
"""OpenAI refuses a larger `n`."""

OUTPUT_TOKENS = 6_240
"""The most tokens of an image made: high quality, 1024 x 1536 (image generation guide, "Cost and latency")."""
PARTIAL_TOKENS = 100
"""What each `partial_images` adds (same place)."""
PARTIALS_MAX = 3
THOUGHT_TOKENS = 1_000
"""Text that newer models write beside an image."""

INPUT_IMAGE_TOKENS = 7_500
"""The most tokens of an image sent in: 1,100 for its tiles and 6,144 at high fidelity (same guide)."""


class OpenAIImages(FormApi):
    """The dialect `openai-images`."""

    name = "openai-images"
    title = "OpenAI images; also Azure, xAI, Together"
    provider = "openai"
    copied = True
    operation = "image_generation"
    paths: tuple[str, ...] = ("/v1/images/generations", "/v1/images/edits", "/v1/images/variations")
    usage_fields: UsageFields = media_usage.IMAGE_FIELDS
    usage_events: Mapping[str, str] = MappingProxyType({"": "each `….completed`, added up"})
    path_regex = "/+images/+(generations|edits|variations)"

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        form = read_form(body, headers)
        deployment = openai_request.deployment(paths.plain(path))
        model = deployment or form.text("model") or DEFAULT_MODEL
        images = form.count("n", 1, IMAGES_MAX)
        texts = Texts()
        texts.add(form.text("prompt"))
        sent = form.fields.get("images", form.fields.get("image"))
        given = len(form.files) + (len(sent) if isinstance(sent, list) else int(sent is not None))
        if given:
            texts.add_image(given, INPUT_IMAGE_TOKENS)
        each = OUTPUT_TOKENS + THOUGHT_TOKENS + PARTIAL_TOKENS * form.count("partial_images", 0, PARTIALS_MAX)
        content_type = headers.get("content-type", "")
        return RequestFacts(
            model=short(model, MODEL_CHARACTERS_MAX),
            stream=form.flag("stream"),
            texts=tuple(texts.texts),
            text_bytes=texts.length_bytes,
            extra_input_tokens=texts.extra_tokens,
            output_cap=0,
            extra_output_tokens=each * images,
            user=openai_request.user_of(form.fields),
            fee_kinds={"images": images},
            known_usage={"images": images, "requests": 1},
            dear_kinds=frozenset({"output_image", *texts.dear_kinds}),
            model_fixed=bool(deployment),
            form_type=content_type if is_form(content_type) else "",
        )

    def read_document(self, document: object) -> Reading:
        return read_images(document)

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> MediaStreamMeter:
        return MediaStreamMeter(read_images, count=count)
