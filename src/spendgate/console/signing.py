"""Signing in by the shared token, and out."""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from spendgate.console.access import COOKIE, SESSION_S, Access
from spendgate.console.settings import ConsoleSettings
from spendgate.console.site import Site
from spendgate.console.web import form_of, inside

log = structlog.get_logger()


class Signing:
    """The two handlers."""

    def __init__(self, site: Site, access: Access, settings: ConsoleSettings) -> None:
        self._site = site
        self._access = access
        self._by_token = bool(settings.token)

    async def sign_in(self, request: Request) -> Response:
        """GET and POST /sign-in."""
        visitor = self._access.visitor(request)
        if request.method == "GET":
            return self._site.render(
                request, visitor, "sign_in.html", problem="", by_token=self._by_token, back="/"
            )
        form = await form_of(request)
        name = "".join(c for c in form.get("name", "").strip() if c.isprintable())[:80]
        cross_site = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if cross_site or not name or not self._access.token_is(form.get("token", "")):
            log.warning("console_sign_in_refused", peer=request.client.host if request.client else "")
            return self._site.render(
                request, visitor, "sign_in.html", 401, by_token=self._by_token,
                problem="The token is wrong, or no name was given.", back=inside(form.get("back", "/")),
            )  # fmt: skip
        answer = RedirectResponse(inside(form.get("back", "/")), status_code=303)
        answer.set_cookie(
            COOKIE, self._access.session(name), max_age=SESSION_S, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    async def sign_out(self, request: Request) -> Response:
        """POST /sign-out."""
        visitor = self._access.visitor(request)
        if not self._access.form_is_ours(request, visitor, await form_of(request)):
            return PlainTextResponse("not from the console's own page\n", status_code=403)
        answer = RedirectResponse("/", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer
