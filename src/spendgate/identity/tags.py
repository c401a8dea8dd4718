"""Tags: dimensions of a request beside who asks (a project, a cost centre), read where the setting `tags` says. Pure.

A value counts where it is 1 to 128 printable characters; all else is as if it were not there. W3C baggage
(https://www.w3.org/TR/baggage/) is read as its limits say: at most 8192 bytes, 64 members; properties are left out,
values percent-decoded, and of a key that stands twice the first counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from spendgate.identity.extractors import claim_of
from spendgate.identity.identity import Caller, sane
from spendgate.values import dataclass

BAGGAGE = "baggage"
BAGGAGE_BYTES_MAX, MEMBERS_MAX = 8192, 64
TAGS_MAX = 16
"""Tags that settings may name."""


@dataclass(frozen=True, slots=True)
class TagSource:
    """Where a tag's value stands: in a header (lower case), a verified token's claim, or a member of the baggage."""

    name: str
    header: str = ""
    claim: str = ""
    baggage: str = ""

    def read(self, caller: Caller, carried: Mapping[str, str]) -> str:
        """The value, "" where there is none that can be believed."""
        if self.header:
            return sane(caller.headers.get(self.header))
        if self.baggage:
            return sane(carried.get(self.baggage))
        for claims in caller.claims:
            value = claim_of(claims, self.claim)
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if found := sane(value):
                return found
        return ""


def tags_of(caller: Caller, sources: tuple[TagSource, ...]) -> tuple[tuple[str, str], ...]:
    """(name, value) of each tag that has one, in the order of the settings."""
    if not sources:
        return ()
    carried = members(caller.headers.get(BAGGAGE, "")) if any(s.baggage for s in sources) else {}
    found = ((s.name, s.read(caller, carried)) for s in sources)
    return tuple((name, value) for name, value in found if value)


def members(header: str) -> dict[str, str]:
    """The members of a baggage header by key."""
    out: dict[str, str] = {}
    if len(header.encode("utf-8", "surrogatepass")) > BAGGAGE_BYTES_MAX:
        return out
    for member in header.split(",")[:MEMBERS_MAX]:
        pair, _, _ = member.partition(";")
        key, equals, value = pair.partition("=")
        if equals and key.strip():
            out.setdefault(key.strip(), unquote(value.strip(), errors="replace"))
    return out
