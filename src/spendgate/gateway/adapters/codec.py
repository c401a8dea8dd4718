"""Envoy's ext_proc messages ⇄ our events and actions. No logic, no I/O.

Replies are given in their wire form: most of them never vary, and are made once; others are put together of pieces.

Messages: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from envoy.type.v3 import http_status_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value

from spendgate.exchange import events as e
from spendgate.gateway.adapters.wire_form import field, tag, tag_of
from spendgate.identity.headers import CLIENT_CERTIFICATE, header_value
from spendgate.identity.identity import UNKNOWN_PROXY, Proxy

FILTERS = ("envoy.filters.http.ext_proc", "spendgate.ext_proc")
"""Under which keys attributes come: Envoy 1.40 writes the filter's generic name, whatever its name in the
configuration is; one that writes the configured name is understood too."""
NAMESPACE = "spendgate"
TICKET = "ticket"
"""Where the ticket of an exchange stands in Envoy's dynamic metadata."""
UNSEEN = "unseen"
"""Where it stands if the exchange is Envoy's access log to end."""
JWT = "envoy.filters.http.jwt_authn"
_Mode = processing_mode_pb2.ProcessingMode
_OVERWRITE = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
BUFFERED = _Mode.BUFFERED

_BODY_MODES = {
    e.BodyMode.NONE: _Mode.NONE,
    e.BodyMode.BUFFERED: _Mode.BUFFERED,
    e.BodyMode.STREAMED: _Mode.STREAMED,
    e.BodyMode.DUPLEX: _Mode.FULL_DUPLEX_STREAMED,
}


def header_map(headers: Any) -> dict[str, str]:
    """Envoy's header list as a dict; keys are lower case already. A header that comes more than once is joined
    by commas, as HTTP says: two names of a team are no name of a team."""
    out: dict[str, str] = {}
    listed = headers.headers
    for x in listed:
        raw = x.raw_value
        out[x.key] = raw.decode("utf-8", "replace") if raw else x.value
    if len(out) == len(listed):
        return out
    every: dict[str, list[str]] = {}
    for x in listed:
        every.setdefault(x.key, []).append(x.raw_value.decode("utf-8", "replace") if x.raw_value else x.value)
    return {key: ",".join(values) for key, values in every.items()}


def attributes(message: Any) -> Mapping[str, Any]:
    """The CEL attributes of a message (flat dotted keys), {} where none came."""
    for name in FILTERS:
        if name in message.attributes:
            fields: Mapping[str, Any] = message.attributes[name].fields
            return fields
    return {}


def attribute_text(fields: Mapping[str, Any], key: str) -> str:
    """A text attribute, "" where it is missing."""
    return fields[key].string_value if key in fields else ""


def attribute_number(fields: Mapping[str, Any], key: str) -> int:
    """A numeric attribute, 0 where it is missing."""
    return int(fields[key].number_value) if key in fields else 0


LOGS_ATTEMPTS = "x-spendgate-attempts"
"""In the metadata of a gRPC call: `logged` where Envoy's access logs tell us of each attempt, too."""
LEAN = "x-spendgate-lean"
"""Likewise: of which answers they tell the usage, too, so that we need not see them: `json`, `sse`, with commas."""
ATTACHED = "x-spendgate-attached"
"""In the metadata of a sidecar's gRPC call (never in a request): `sidecar`."""
PLACE = "x-spendgate-place"
"""Likewise, of an Envoy that another one with our filter follows: `not-last`."""
NOT_LAST = "not-last"
TELLING = frozenset(name.encode() for name in (LOGS_ATTEMPTS, LEAN, ATTACHED, PLACE, CLIENT_CERTIFICATE))
"""What of that metadata is read here."""
_ELEMENT_URI = re.compile(r'(?:^|;)uri=("?)([^;"]+)\1(?=;|$)', re.IGNORECASE)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def proxy(metadata: Iterable[tuple[str, Any]], *, principals: bool = True) -> Proxy:
    """The Envoy that calls, from the metadata of its gRPC call. Its principal (`principals`: it is wanted) is what the
    Envoy before us wrote last into x-forwarded-client-cert."""
    told = [(key, value) for key, value in metadata if key in (ATTACHED, PLACE, CLIENT_CERTIFICATE)]
    return _proxy(tuple(told), principals) if told else UNKNOWN_PROXY


@lru_cache(maxsize=128)  # a connection's calls tell the same
def _proxy(told: tuple[tuple[str, Any], ...], principals: bool) -> Proxy:
    found = dict(told)
    last = found.get(PLACE) != NOT_LAST
    if not principals:
        return Proxy(sidecar=found.get(ATTACHED) == "sidecar", last=last)
    text = str(found.get(CLIENT_CERTIFICATE, ""))
    plain = _QUOTED.sub(lambda m: m[0].replace(",", " ").replace(";", " "), text)
    uris = _ELEMENT_URI.findall(plain.rpartition(",")[2].strip())
    return Proxy(uris[0][1] if len(uris) == 1 else "", found.get(ATTACHED) == "sidecar", last)


def logs_attempts(metadata: Iterable[tuple[str, Any]]) -> bool:
    """Does the Envoy that calls log its attempts to us?"""
    return any(key == LOGS_ATTEMPTS and value == "logged" for key, value in metadata)


def logs_answers(metadata: Iterable[tuple[str, Any]]) -> frozenset[str]:
    """Of which answers does the Envoy that calls log the usage to us, and its attempts?"""
    told = dict(metadata)
    return frozenset(told.get(LEAN, "").split(",") if told.get(LOGS_ATTEMPTS) == "logged" else ())


def jwt_claims(context: Any) -> tuple[dict[str, object], ...]:
    """The claims of each JWT that jwt_authn verified and forwards, apart."""
    metadata = context.filter_metadata
    if JWT not in metadata:
        return ()
    return tuple(value for value in MessageToDict(metadata[JWT]).values() if isinstance(value, dict))


def _set(mutation: Any, pairs: tuple[tuple[str, str], ...]) -> None:
    for key, value in pairs:
        option = mutation.set_headers.add()
        option.header.key = key
        option.header.raw_value = header_value(value).encode()
        option.append_action = _OVERWRITE


_RAW_VALUE = tag(base_pb2.HeaderValue, "raw_value")
_HEADER = tag(base_pb2.HeaderValueOption, "header")
_OVERWRITING: bytes = base_pb2.HeaderValueOption(append_action=_OVERWRITE).SerializeToString()
_SET_HEADERS = tag(pb.HeaderMutation, "set_headers")
_MUTATION = tag(pb.CommonResponse, "header_mutation")
_COMMON = tag(pb.BodyResponse, "response")
"""As in a HeadersResponse."""
_RESPONSE_HEADERS = tag(pb.ProcessingResponse, "response_headers")
_RESPONSE_BODY = tag(pb.ProcessingResponse, "response_body")


def _mutation(pairs: tuple[tuple[str, str], ...]) -> bytes:
    """A reply to headers or a body that sets these headers: what `_set` makes, in its wire form."""
    return field(_COMMON, field(_MUTATION, b"".join([_header(key, value) for key, value in pairs])))


@lru_cache(maxsize=1024)
def _header(key: str, value: str) -> bytes:
    """One of a mutation's `set_headers`. Most of what answers say they all say: the model, the reason, how much of a
    month is used."""
    raw = header_value(value).encode()
    header = _key(key) + field(_RAW_VALUE, raw) if raw else _key(key)
    return field(_SET_HEADERS, field(_HEADER, header) + _OVERWRITING)


@lru_cache(maxsize=256)
def _key(key: str) -> bytes:
    data: bytes = base_pb2.HeaderValue(key=key).SerializeToString()
    return data


def _wire(reply: Any) -> bytes:
    data: bytes = reply.SerializeToString()
    return data


def is_refusal(reply: bytes) -> bool:
    """Does a reply answer instead of the provider?"""
    return reply.startswith(_IMMEDIATE)


_IMMEDIATE = tag(pb.ProcessingResponse, "immediate_response")


def _pass_all(response_too: bool) -> Any:
    """Reply to request headers: nothing of this exchange is ours, do not ask again."""
    reply = pb.ProcessingResponse(request_headers=pb.HeadersResponse())
    mode = reply.mode_override
    mode.request_header_mode = _Mode.SEND
    mode.response_header_mode = _Mode.SKIP if response_too else _Mode.SEND
    mode.request_body_mode = _Mode.NONE
    mode.response_body_mode = _Mode.NONE
    return reply


def pass_without(remove: tuple[str, ...]) -> bytes:
    """`PASS_ALL`, with these headers taken off."""
    reply = _pass_all(True)
    reply.request_headers.response.header_mutation.remove_headers.extend(remove)
    return _wire(reply)


PASS_ALL = _wire(_pass_all(True))
PASS_REQUEST_BODY = _wire(pb.ProcessingResponse(request_body=pb.BodyResponse()))
PASS_RESPONSE_BODY = _wire(pb.ProcessingResponse(response_body=pb.BodyResponse()))
PASS_REQUEST_TRAILERS = _wire(pb.ProcessingResponse(request_trailers=pb.TrailersResponse()))
PASS_RESPONSE_TRAILERS = _wire(pb.ProcessingResponse(response_trailers=pb.TrailersResponse()))


@lru_cache(maxsize=64)
def await_body(remove: tuple[str, ...], configured_mode: int, *, may_be_empty: bool = False) -> bytes:
    """Reply to request headers: show me the whole body. `may_be_empty`: show trailers too, which may be all that
    comes: Envoy shows no body then."""
    reply = pb.ProcessingResponse()
    reply.request_headers.response.header_mutation.remove_headers.extend(remove)
    if configured_mode != BUFFERED or may_be_empty:
        mode = reply.mode_override
        mode.request_header_mode = _Mode.SEND
        mode.response_header_mode = _Mode.SEND
        mode.request_body_mode = _Mode.BUFFERED
        if may_be_empty:
            mode.request_trailer_mode = _Mode.SEND
    return _wire(reply)


def forward(action: e.Forward, ticket: str = "", unseen: tuple[tuple[str, str], ...] | None = None) -> bytes:
    """Reply to the request body. A new body needs its content-length in the same reply. `ticket`: for Envoy's access
    log, by its dynamic metadata; `unseen`: which ends the exchange, and Envoy adds these headers to its answer."""
    noted = b""
    if ticket:
        name = TICKET if unseen is None else UNSEEN
        noted = _noted([(name, ticket), *((key, header_value(value)) for key, value in unseen or ())])
    if action.body is None and not action.set_headers:
        return PASS_REQUEST_BODY + noted
    reply = pb.ProcessingResponse()
    common = reply.request_body.response
    pairs = action.set_headers
    if action.body is not None:
        common.body_mutation.body = action.body
        pairs = (*pairs, ("content-length", str(len(action.body))))
    _set(common.header_mutation, pairs)
    common.header_mutation.remove_headers.extend(action.remove_headers)
    if action.route:
        common.clear_route_cache = True
    return _wire(reply) + noted


def _noted(texts: list[tuple[str, str]]) -> bytes:
    """These texts by their names as dynamic metadata, {spendgate: {name: text}}, in its wire form."""
    members = [
        field(_FIELDS, field(_KEY, name.encode()) + field(_VALUE, field(_TEXT, text.encode())))
        for name, text in texts
    ]
    inner = field(_STRUCT, b"".join(members))
    return field(_METADATA, field(_FIELDS, _NAMESPACE_KEY + field(_VALUE, inner)))


_METADATA = tag(pb.ProcessingResponse, "dynamic_metadata")
_FIELDS = tag(Struct, "fields")
_STRUCT, _TEXT = tag(Value, "struct_value"), tag(Value, "string_value")
_ENTRY = Struct.DESCRIPTOR.fields_by_name["fields"].message_type
_KEY, _VALUE = tag_of(_ENTRY, "key"), tag_of(_ENTRY, "value")
_NAMESPACE_KEY = field(_KEY, NAMESPACE.encode())


def reject(action: e.Reject) -> bytes:
    """Answer instead of the provider."""
    reply = pb.ProcessingResponse()
    immediate = reply.immediate_response
    immediate.status.code = http_status_pb2.StatusCode.Name(action.status) and action.status
    _set(immediate.headers, action.headers)
    immediate.body = action.body
    immediate.details = f"spendgate_{action.reason}"
    return _wire(reply)


def _showing(body: e.BodyMode) -> bytes:
    """The mode that shows the answer's body so; spelled out, since an override replaces all of it."""
    reply = pb.ProcessingResponse()
    mode = reply.mode_override
    mode.request_header_mode = _Mode.SEND
    mode.response_header_mode = _Mode.SEND
    mode.request_body_mode = _Mode.BUFFERED
    mode.response_body_mode = _BODY_MODES[body]
    if body is not e.BodyMode.NONE:
        mode.response_trailer_mode = _Mode.SEND  # where there are any: they are the end then
    return _wire(reply)


_SHOWING = {body: _showing(body) for body in e.BodyMode}


def answer(action: e.PassResponse) -> bytes:
    """Reply to the response headers."""
    changed = _mutation(action.set_headers) if action.set_headers else b""
    return field(_RESPONSE_HEADERS, changed) + _SHOWING[action.mode]


def more_time(ms: int) -> bytes:
    """Ask for more time for the message that is being looked at; its reply comes after. Envoy takes it once a
    message, up to its filter's `max_message_timeout`, and leaves it aside where that is not set."""
    reply = pb.ProcessingResponse()
    reply.override_message_timeout.FromMilliseconds(ms)
    return _wire(reply)


ANSWER_NONE = answer(e.PassResponse(e.BodyMode.NONE))


def piece(action: e.PassChunk, buffered: bool) -> bytes:
    """Reply to a piece of the answer. Headers can still be set where the body is buffered."""
    added = action.set_headers if buffered else ()
    if action.replacement is None:
        return field(_RESPONSE_BODY, _mutation(added)) if added else PASS_RESPONSE_BODY
    reply = pb.ProcessingResponse()
    common = reply.response_body.response
    if added:
        _set(common.header_mutation, added)
    if action.replacement:
        common.body_mutation.body = action.replacement
    else:
        common.body_mutation.clear_body = True
    return _wire(reply)


def duplex_piece(body: bytes, end: bool) -> bytes:
    """Reply to a piece of an answer in FULL_DUPLEX_STREAMED: what the client gets of it, and whether that is
    the end. Nothing is sent for a piece that is dropped."""
    reply = pb.ProcessingResponse()
    streamed = reply.response_body.response.body_mutation.streamed_response
    streamed.body = body
    streamed.end_of_stream = end
    return _wire(reply)
