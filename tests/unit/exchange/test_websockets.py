"""Which requests ask for a WebSocket, however they spell it."""

from __future__ import annotations

import pytest

from spendgate.exchange.websockets import is_upgrade


@pytest.mark.parametrize(
    "headers",
    [
        {"upgrade": "websocket"},
        {"upgrade": "WebSocket"},
        {"upgrade": "h2c, websocket"},
        {"upgrade": "foo/2,\twebsocket/13 "},
        {":method": "CONNECT", ":protocol": "websocket"},
    ],
)
def test_an_upgrade_to_a_websocket_is_one_in_every_spelling(headers: dict[str, str]) -> None:
    assert is_upgrade(headers)


@pytest.mark.parametrize("headers", [{}, {"upgrade": "h2c"}, {"upgrade": "websockets"}, {"x": "websocket"}])
def test_other_requests_are_none(headers: dict[str, str]) -> None:
    assert not is_upgrade(headers)
