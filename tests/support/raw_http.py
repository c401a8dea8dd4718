"""An HTTP/1.1 client that sends exactly the bytes it is given: no normalised paths, no added headers."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came over the wire (chunked framing taken off)."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header's value, None where it did not come."""
        found = [v for k, v in self.headers if k.lower() == name.lower()]
        return ", ".join(found) if found else None


def send(
    url: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes | Iterable[bytes] = b"",
    length: int | None = None,
) -> Answer:
    """Send one request and read its whole answer. A body of pieces without `length` goes out chunked."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            connection.putheader(name, value)
        size = len(body) if isinstance(body, bytes) else length
        if size is None:
            connection.putheader("transfer-encoding", "chunked")
        elif size or method in ("POST", "PUT", "PATCH"):
            connection.putheader("content-length", str(size))
        connection.endheaders()
        try:
            for piece in [body] if isinstance(body, bytes) else body:
                if piece:
                    connection.send(piece if size is not None else b"%x\r\n%s\r\n" % (len(piece), piece))
            if size is None:
                connection.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before its end: the answer is there to be read
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheaders(), answer.read())
    finally:
        connection.close()


JSON = {"content-type": "application/json", "authorization": "Bearer sk-test"}
