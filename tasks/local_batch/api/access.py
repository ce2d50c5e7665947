"""Who may call the service, and how much a call may send: checked before a route sees anything of it."""

from __future__ import annotations

import secrets
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.local_batch.api.responses import json_response
from tasks.local_batch.protocol.api_error import ApiError

MAX_UPLOAD_BYTES: Final = 512 << 20  # what POST /v1/files takes; a batch takes 209,715,200 of them
MAX_BODY_BYTES: Final = 1 << 20  # of all other calls


class AccessControl:
    """ASGI middleware: 403 to web pages, 401 without the token, 413 as soon as more has come than a call may send."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await json_response(refusal.body(), refusal.status)(scope, receive, send)
            return
        is_upload = scope["method"] == "POST" and scope["path"] == "/v1/files"
        await self._app(scope, bounded(receive, MAX_UPLOAD_BYTES if is_upload else MAX_BODY_BYTES), send)

    def _refusal(self, headers: Headers) -> ApiError | None:
        # Browsers send it with every call of a page to another origin, and no page is served here.
        if "origin" in headers:
            return ApiError(403, "Calls from web pages are not accepted.")
        given = headers.get("authorization", "").encode("latin-1")
        if not secrets.compare_digest(given, self._token):
            hint = "Give the token in the file `token` of the service's folder as the API key."
            return ApiError(401, f"Incorrect API key provided. {hint}", code="invalid_api_key")
        return None


def bounded(receive: Receive, limit: int) -> Receive:
    """The body as it comes; ApiError once it is longer than the limit, which a chunked one does not announce."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise ApiError(413, f"The request is larger than {limit >> 20} MB.", param="file")
        return message

    return receive_bounded
