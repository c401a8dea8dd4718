"""What the dialects have in common whose requests may be forms (files with fields) as well as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from spendgate.dialects.base import Rejection, RequestFacts
from spendgate.dialects.json_api import JsonApi, openai_error
from spendgate.dialects.request.texts import parse_request
from spendgate.dialects.wire import json_edit, multipart
from spendgate.dialects.wire import json_read as jsonbody
from spendgate.dialects.wire.json_read import JsonObject
from spendgate.dialects.wire.numbers import count_asked, truth_of
from spendgate.values import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """A request's fields, and (name, content) of its files."""

    fields: JsonObject
    files: tuple[tuple[str, bytes], ...] = field(default=())

    def text(self, name: str) -> str:
        """A field that is a text; `` where it is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def count(self, name: str, default: int, most: int) -> int:
        """A positive count, written as a number or (in a form) as its digits, at most `most`."""
        return min(count_asked(self.fields.get(name)) or default, most)

    def flag(self, name: str) -> bool:
        """A truth, written as such or (in a form) as `true`."""
        return truth_of(self.fields.get(name))


def read_form(body: bytes, headers: Mapping[str, str]) -> Form:
    """Read a request of either kind. Raises RequestError."""
    content_type = headers.get("content-type", "")
    if not multipart.is_form(content_type):
        return Form(parse_request(body))
    found = multipart.parts(body, content_type)
    files = tuple((p.name, body[p.start : p.end]) for p in found if p.is_file)
    return Form(dict(multipart.texts(body, found)), files)


class FormApi(JsonApi):
    """A dialect of OpenAI's whose request may be a form."""

    takes_forms = True

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Edit the model: the only thing there is to change. Raises RequestError."""
        if model is None or facts.model_fixed:
            return body
        if facts.form_type:
            return multipart.edit(body, facts.form_type, "model", model)
        return json_edit.edit(body, {"model": jsonbody.dumps(model).encode()})

    def error_body(self, rejection: Rejection) -> bytes:
        return openai_error(rejection)
