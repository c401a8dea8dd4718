"""Which HTTP status a refusal has: the reason's own, or another that the client's program takes as final. Pure.

The setting `reject_status` names dialects (`cohere-chat`), apps (`app:GLOB`) and programs (`user-agent:GLOB`). An
app's entry counts before a program's, that before the shipped table of agents, that before a dialect's. A dialect's
entry replaces 429 alone, as its SDKs need it; the others replace every status of a final refusal. The entry 429
leaves each status as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from fnmatch import fnmatchcase

from spendgate.settings.agents import USER_AGENT_MAX, agent_of
from spendgate.values import dataclass

QUOTA = 429
FINAL = frozenset({402, 403, 413, QUOTA})
"""Statuses of refusals that the same request would meet again."""
PASSING = frozenset({"budget_held", "ledger_unavailable"})
"""Reasons that pass by themselves, as soon as other requests end or the ledger is back: they keep their 429 for every
client, so that it asks again."""
APP, USER_AGENT = "app:", "user-agent:"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who gets a refusal: in which dialect it asked, for which app, with which program."""

    dialect: str
    app: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Statuses:
    """The entries of `reject_status`."""

    entries: Mapping[str, int] = field(default_factory=dict)

    def of(self, sender: Sender, reason: str, status: int) -> int:
        """The status of a refusal that by itself has `status`."""
        if reason in PASSING or status not in FINAL:
            return status
        named = self._named(sender)
        if named:
            return status if named == QUOTA else named
        return self.entries.get(sender.dialect, status) if status == QUOTA else status

    def _named(self, sender: Sender) -> int:
        """What is said of this app or this program; 0 where nothing is."""
        for app, status in self._after(APP):
            if fnmatchcase(sender.app, app):
                return status
        shown = sender.user_agent[:USER_AGENT_MAX].lower()
        for program, status in self._after(USER_AGENT):
            if fnmatchcase(shown, program.lower()):
                return status
        agent = agent_of(sender.dialect, sender.user_agent)
        return agent.status if agent is not None else 0

    def _after(self, prefix: str) -> list[tuple[str, int]]:
        return [(k[len(prefix) :], v) for k, v in self.entries.items() if k.startswith(prefix)]


BY_THEMSELVES = Statuses()
"""No entries: the shipped table alone."""


def fault(key: str, dialects: Iterable[str]) -> str:
    """What is wrong with a key of `reject_status`, and what to write instead; "" for nothing."""
    for prefix in (APP, USER_AGENT):
        if key.startswith(prefix):
            return (
                "" if key[len(prefix) :].strip() else f"{key!r} names nothing; write {prefix}NAME or a glob"
            )
    known = list(dialects)
    if key in known:
        return ""
    return f"no dialect {key!r}; write {APP}GLOB, {USER_AGENT}GLOB, or one of {', '.join(known)}"
