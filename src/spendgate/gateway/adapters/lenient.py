"""Messages that cannot be parsed, given to their service as the parser's error.

Left to the server, such a call ends with a status, and Envoy then lets pass unmetered what it waits with
(`failure_mode: open`). Only the service knows what the policy says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError


def lenient(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same parser, which gives the error that it would raise."""

    def parsed(data: Any) -> Any:
        try:
            return parse(data)
        except DecodeError as problem:
            return problem

    return parsed


class Lenient:
    """A server, for generated code (`add_…Servicer_to_server`): its services take DecodeErrors as requests, too."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """They come by `add_registered_method_handlers`, too."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add a service's methods."""
        own = {
            name: method._replace(request_deserializer=lenient(method.request_deserializer))
            for name, method in handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, own),))
        self._server.add_registered_method_handlers(service, own)
