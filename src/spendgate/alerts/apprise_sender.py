"""Mail, Teams, PagerDuty and a hundred more, by the library apprise: one URL a receiver (appriseit.com/services).

A URL with a name before it (`finance=mailto://…`) hears what names it as its channel; one without hears all. An address
as a channel (`ann@acme.com`) is sent mail by the server of SPENDGATE_MAIL_URL.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from spendgate.alerts.alert import Alert
from spendgate.alerts.message import NO_LINKS, Links, text_of
from spendgate.alerts.sender import Delivered, Outcome, Retry
from spendgate.errors import ConfigurationError

if TYPE_CHECKING:
    import apprise

URLS = "SPENDGATE_NOTIFY_URLS"
MAIL = "SPENDGATE_MAIL_URL"
ATTEMPT_S = 25.0
"""Below the 30 s of a claim; apprise itself gives up earlier."""
RETRY_S = 30.0
_NAMED = re.compile(r"([A-Za-z0-9#@][\w.#@-]*)=(?=[a-z][a-z0-9+]*://)")
_ADDRESS = re.compile(r"[^@\s/:]+@[^@\s/:]+\.[^@\s/:]+")


class AppriseSender:
    """Sends to URLs of apprise. Raises ConfigurationError for one that apprise does not know; it names the entry by its
    number and scheme, never the URL, which holds secrets."""

    name = "apprise"
    min_interval_s = 1.0

    def __init__(self, urls: Mapping[str, str], mail_url: str = "", links: Links = NO_LINKS) -> None:
        self._urls = {name: _checked(url, f"{URLS}: {name}") for name, url in urls.items()}
        self._mail_url = _checked(mail_url, MAIL) if mail_url else ""
        self._links = links

    @property
    def names(self) -> frozenset[str]:
        """The channels that are its own."""
        return frozenset(n for n in self._urls if not n.isdigit())

    def targets(self, alert: Alert) -> tuple[str, ...]:
        """Every URL without a name, those that the alert's channels name, and addresses among them. A team's digest
        goes to its own channels alone."""
        for_all = not (alert.kind == "digest" and alert.team)  # a team's digest is its owners'
        found = [n for n in self._urls if (n.isdigit() and for_all) or n in alert.channels]
        if self._mail_url:
            found += [f"mail:{c}" for c in alert.channels if is_address(c)]
        return tuple(f"{self.name}:{n}" for n in found)

    async def send(self, alert: Alert, target: str, again: bool) -> Outcome:
        """One attempt."""
        where = target.partition(":")[2]
        address = where.removeprefix("mail:") if where.startswith("mail:") else ""
        url = _to(self._mail_url, address) if address else self._urls.get(where, "")
        if not url:
            return Retry(f"{URLS} has no entry {where} any more", RETRY_S)
        import apprise

        box = apprise.Apprise()
        box.add(url)
        text = text_of(alert, self._links, again)
        try:
            async with asyncio.timeout(ATTEMPT_S):
                sent = await box.async_notify(
                    title=text.partition("\n")[0], body=text, notify_type=_type_of(alert), body_format="text"
                )
        except TimeoutError:
            return Retry(f"{where}: no answer in {ATTEMPT_S:.0f} s", maybe_sent=True)
        return (
            Delivered() if sent else Retry(f"{where}: {_scheme(url)} did not take it; see its log", RETRY_S)
        )

    async def close(self) -> None:
        """Nothing is kept open."""


def is_address(channel: str) -> bool:
    """Is a channel an address of mail?"""
    return bool(_ADDRESS.fullmatch(channel))


def parse_urls(text: str) -> dict[str, str]:
    """Read URLs, one a line or with blanks between, some with a name before; those without get numbers. Raises
    ConfigurationError for a name that is there twice, or is a number."""
    out: dict[str, str] = {}
    for number, entry in enumerate(text.split(), 1):
        found = _NAMED.match(entry)
        name = found[1] if found else str(number)
        if found and name.isdigit():
            raise ConfigurationError(f"{URLS}: {name}: a number is no name; begin it with a letter")
        if name in out:
            raise ConfigurationError(
                f"{URLS}: {name}: there are two receivers of this name; give each a name of its own"
            )
        out[name] = entry[found.end() :] if found else entry
    return out


def apprise_from(environ: Mapping[str, str], links: Links = NO_LINKS) -> AppriseSender | None:
    """Receivers by SPENDGATE_NOTIFY_URLS and SPENDGATE_MAIL_URL; None where neither is set. Raises
    ConfigurationError."""
    urls = parse_urls(environ.get(URLS, ""))
    mail = environ.get(MAIL, "").strip()
    return AppriseSender(urls, mail, links) if urls or mail else None


def _checked(url: str, where: str) -> str:
    try:
        import apprise
    except ImportError as e:
        raise ConfigurationError(f"{where}: needs apprise; run: pip install 'spendgate[notify]'") from e
    if apprise.Apprise.instantiate(url) is None:
        raise ConfigurationError(
            f"{where}: apprise takes no {_scheme(url)}:// URL like this; see appriseit.com/services for its form"
        )
    return url


def _to(mail_url: str, address: str) -> str:
    """The mail server's URL with one receiver."""
    at = urlsplit(mail_url)
    query = "&".join(p for p in at.query.split("&") if p and not p.startswith("to="))
    return urlunsplit((at.scheme, at.netloc, "", f"{query}&to={quote(address)}".lstrip("&"), ""))


def _scheme(url: str) -> str:
    return url.partition("://")[0][:20]


def _type_of(alert: Alert) -> apprise.NotifyType:
    import apprise

    kinds: dict[str, Any] = {
        "exhausted": apprise.NotifyType.FAILURE,
        "threshold": apprise.NotifyType.WARNING,
        "drift": apprise.NotifyType.WARNING,
        "anomaly": apprise.NotifyType.WARNING,
        "limit": apprise.NotifyType.WARNING,
        "recovered": apprise.NotifyType.SUCCESS,
    }
    found: apprise.NotifyType = kinds.get(alert.kind, apprise.NotifyType.INFO)
    return found
