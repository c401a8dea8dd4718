"""Slack: an incoming webhook, or a bot's chat.postMessage with the budget's notifyChannel.

Facts used (docs.slack.dev, "Incoming webhooks", "chat.postMessage", "Rate limits"): one message a second and
channel, short bursts aside, else 429 with Retry-After in seconds; a webhook answers 200 `ok` or an error word
as text (`invalid_payload` 400, `no_service` 404, `channel_is_archived` 410, `invalid_token` 403); a method of
the Web API answers 200 with `ok: false` and the word in `error`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import httpx
import orjson

from spendgate.alerts.alert import Alert
from spendgate.alerts.apprise_sender import is_address
from spendgate.alerts.message import NO_LINKS, Links, slack_text
from spendgate.alerts.post import post
from spendgate.alerts.sender import Delivered, DeliveryRejected, Outcome, Retry
from spendgate.errors import ConfigurationError

API = "https://slack.com/api"
MIN_INTERVAL_S = 1.05
CONFIG_RETRY_S = 30.0
"""A webhook that was switched off, a token that was revoked: people mend that; look again so often."""
_REFUSED = {
    "invalid_payload", "no_text", "msg_too_long", "too_many_attachments", "user_not_found", "channel_not_found",
    "channel_is_archived", "is_archived", "not_in_channel", "restricted_action", "action_prohibited",
    "posting_to_general_channel_denied", "invalid_arguments", "cannot_reply_to_message", "no_channel",
}  # fmt: skip
"""The alert or its channel is wrong: the next one may well be right, so it must not stand in its way."""


class SlackSender:
    """Posts to `channel`s by token where the alert names one, else to the webhook, else to `default_channel`.

    A channel that Slack refuses falls back to the webhook or the default channel, so that the alert is read by
    somebody. Raises ConfigurationError where neither webhook nor token is given.
    """

    name = "slack"

    def __init__(
        self,
        webhook_url: str = "",
        token: str = "",
        default_channel: str = "",
        links: Links = NO_LINKS,
        *,
        api: str = API,
        min_interval_s: float = MIN_INTERVAL_S,
        others: Container[str] = (),
        client: httpx.AsyncClient | None = None,
    ) -> None:
        if not webhook_url and not token:
            raise ConfigurationError("Slack: set SLACK_WEBHOOK_URL, or SLACK_BOT_TOKEN")
        if webhook_url and not webhook_url.startswith(("https://", "http://")):
            raise ConfigurationError("SLACK_WEBHOOK_URL: not a URL; copy it from the app's Incoming Webhooks")
        self._webhook_url = webhook_url
        self._token = token
        self._default_channel = default_channel
        self._links = links
        self._api = api.rstrip("/")
        self.min_interval_s = min_interval_s
        self._others = others
        self._client = client or httpx.AsyncClient(follow_redirects=False)

    def targets(self, alert: Alert) -> tuple[str, ...]:
        """One a channel with a token; `slack` alone is the webhook or the default channel, which a team's digest is not
        for."""
        ours = [c for c in alert.channels if c not in self._others and not is_address(c)]
        if self._token and ours:
            return tuple(f"{self.name}:{channel}" for channel in ours)
        return () if alert.kind == "digest" and alert.team else (self.name,)

    async def send(self, alert: Alert, target: str, again: bool) -> Outcome:
        """One attempt; a refused channel costs a second one, to the fallback."""
        text = slack_text(alert, self._links, again)
        channel = target.partition(":")[2]
        if channel and self._token:
            outcome = await self._by_token(text, channel)
            if not isinstance(outcome, DeliveryRejected):
                return outcome
            fallback = await self._fallback(f"{text}\n(Channel {channel}: {outcome.reason}.)", channel)
            return fallback or outcome
        return await self._fallback(text, "") or DeliveryRejected(
            "no channel: set SLACK_CHANNEL, or notifyChannel"
        )

    async def close(self) -> None:
        """Give connections back."""
        await self._client.aclose()

    async def _fallback(self, text: str, refused_channel: str) -> Outcome | None:
        if self._webhook_url:
            return await self._by_webhook(text)
        if self._default_channel and self._default_channel != refused_channel:
            return await self._by_token(text, self._default_channel)
        return None

    async def _by_webhook(self, text: str) -> Outcome:
        body = orjson.dumps({"text": text, "mrkdwn": False, "unfurl_links": False})
        answer = await post(self._client, self._webhook_url, body, {"content-type": "application/json"})
        if isinstance(answer, Retry):
            return answer
        if answer.status_code == 200:
            return Delivered()
        return _judged(answer.text.strip()[:100] or "no reason given", f"{answer.status_code}")

    async def _by_token(self, text: str, channel: str) -> Outcome:
        body = orjson.dumps(
            {"channel": channel, "text": text, "mrkdwn": False, "unfurl_links": False, "parse": "none"}
        )
        headers = {
            "content-type": "application/json; charset=utf-8",
            "authorization": f"Bearer {self._token}",
        }
        answer = await post(self._client, f"{self._api}/chat.postMessage", body, headers)
        if isinstance(answer, Retry):
            return answer
        try:
            reply = answer.json()
            ok, error = bool(reply["ok"]), str(reply.get("error", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Retry(f"{answer.status_code}: not an answer of Slack", CONFIG_RETRY_S)
        return Delivered() if ok else _judged(error, "chat.postMessage")


def _judged(error: str, where: str) -> Outcome:
    if error in _REFUSED:
        return DeliveryRejected(f"{where}: {error}")
    if error in ("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable",
                 "request_timeout", "rollup_error"):  # fmt: skip
        return Retry(f"{where}: {error}")
    return Retry(f"{where}: {error}", CONFIG_RETRY_S)


def slack_from(
    environ: Mapping[str, str], links: Links = NO_LINKS, others: Container[str] = ()
) -> SlackSender | None:
    """Slack by SLACK_WEBHOOK_URL, SLACK_BOT_TOKEN and SLACK_CHANNEL (the default channel of a token); None
    where neither of the first two is set. `others` are channels of other receivers."""
    webhook, token = environ.get("SLACK_WEBHOOK_URL", "").strip(), environ.get("SLACK_BOT_TOKEN", "").strip()
    if not webhook and not token:
        return None
    api = environ.get("SLACK_API_URL", "").strip() or API
    return SlackSender(
        webhook, token, environ.get("SLACK_CHANNEL", "").strip(), links, api=api, others=others
    )
