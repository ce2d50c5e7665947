"""What every request has to be, before a page sees it, and the headers of every answer.

A browser lets any web page send requests to a loopback address: they are told apart by their Host (a name of an attacker's
that resolves to 127.0.0.1), by their Origin, and by a token that only our own pages hold.
"""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.console.context import ACTIONS_OFF

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Any port: of an ssh tunnel.
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
_MAX_FORM_BYTES = 64 << 10
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: with that, browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware around the whole console."""

    def __init__(self, app: ASGIApp, *, allow_actions: bool) -> None:
        self._app = app
        self._allow_actions = allow_actions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on; either way the answer carries the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refusal(Headers(scope=scope), scope["method"])
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers, method: str) -> Response | None:
        host = headers.get("host", "")
        if not _HOST.fullmatch(host):
            return _refuse(
                421, "this console answers to 127.0.0.1 and localhost alone; open it by one of these"
            )
        foreign = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        if method in ("GET", "HEAD"):
            # A link elsewhere may lead here; pictures, scripts and frames of other pages may not make it read datasets.
            followed = headers.get("sec-fetch-mode") == "navigate"
            if foreign and not (followed and headers.get("sec-fetch-dest", "document") == "document"):
                return _refuse(403, "the request is from another web page; open the console itself")
            return None
        if method != "POST":
            return _refuse(405, "pages are read with GET, and their forms sent with POST")
        if not self._allow_actions:
            return _refuse(403, ACTIONS_OFF)
        origin = headers.get("origin")
        if foreign or (origin is not None and origin.partition("://")[2] != host):
            return _refuse(403, "the form is from another web page; use the console's own pages")
        length = headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _MAX_FORM_BYTES:
            return _refuse(
                413, f"a form of this console says its length, and has at most {_MAX_FORM_BYTES:,} bytes"
            )
        return None


def is_token(given: object, token: str) -> bool:
    """Whether a form carries the token of this console."""
    return isinstance(given, str) and secrets.compare_digest(given.encode(), token.encode())


def _refuse(status: int, why: str) -> Response:
    return PlainTextResponse(f"nightmail: {why}\n", status)
