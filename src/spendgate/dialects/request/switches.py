"""Parameters by which a request makes its provider leave the usage out of the answer. Pure.

Google's system parameters (Cloud APIs, "System parameters"): `fields`, also `$fields` or the header
`X-Goog-FieldMask`, cuts the answer down to what it names; `alt` other than `json` and `sse` sends it in a form that is
not read here. Every API at Google knows them, its OpenAI-compatible one too.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from spendgate.dialects.request import paths

MASK = "x-goog-fieldmask"
_MASKS = frozenset({"fields", "$fields", MASK, "$.fields"})
_FORMS = frozenset({"alt", "$alt"})
_READ = frozenset({"json", "sse", ""})
_GOOGLE = "google"
_PLACES = ("/v1beta/", "/v1alpha/", "/v1beta1/", "/projects/", "/locations/")


def usage_switch(provider: str, target: str, headers: Mapping[str, str]) -> str:
    """The parameter or header of a request that may switch its usage off; "" where there is none. `provider`: whose
    dialect it is in."""
    path, _, query = target.partition("?")
    if not query and MASK not in headers:
        return ""
    if provider != _GOOGLE and not any(p in paths.plain(path).lower() + "/" for p in _PLACES):
        return ""
    if MASK in headers:
        return "X-Goog-FieldMask"
    for given, value in parse_qsl(query.replace(";", "&"), keep_blank_values=True):
        name = unquote(given).strip().lower()
        if name in _MASKS:
            return given
        if name in _FORMS and unquote(value).strip().lower().partition(";")[0] not in _READ:
            return f"{given}={value}"
    return ""
