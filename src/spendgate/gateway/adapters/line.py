"""What an exchange needs of the call that brings its messages, whichever server carries it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

Reply = bytes | None | Coroutine[Any, Any, bytes | None]
"""The reply to a message, None where there is none; or what makes it, where that may have to wait."""


async def made(reply: Reply) -> bytes | None:
    """The reply, waited for where it has to be."""
    return reply if reply is None or isinstance(reply, bytes) else await reply


class Line(Protocol):
    """What an exchange needs of the call that brings its messages."""

    def ask(self, reply: bytes) -> None:
        """Send a reply before the one that is being made."""
        ...

    def leave(self) -> None:
        """End the call in good order; the exchange is told by `over`."""
        ...

    @property
    def has_failed(self) -> bool:
        """Did the call end with an error of this server's?"""
        ...
