"""The receiver as an ASGI application: `POST /webhooks/PROVIDER`, and nothing else."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from configs.errors import NightmailError, NotGenuine
from tasks.webhooks.receiver import Receiver

PREFIX: Final = "/webhooks/"
_MAX_BYTES = 64 << 10  # they hold ids and times
_MAX_SECONDS = 10  # for the body to arrive


def build_app(receiver: Receiver) -> ASGIApp:
    """The application of that receiver. It asks nobody who they are: a delivery is believed by its signature.

    A provider sends again what is answered by 5xx, and is told by 204 that it need not: also of batches that nobody knows.
    """

    async def receive(request: Request) -> Response:
        provider = request.path_params["provider"]
        if provider not in receiver.readers:
            return _say(
                404, "no webhooks of that provider are taken here; is its signing secret in the environment?"
            )
        body = await _body(request)
        if body is None:
            return _say(413, f"a webhook has at most {_MAX_BYTES:,} bytes, and comes within {_MAX_SECONDS} s")
        try:
            await run_in_threadpool(receiver.receive, provider, body, request.headers)
        except NotGenuine as error:
            receiver.refuse(provider, str(error))
            return _say(401, str(error))
        except NightmailError as error:
            receiver.refuse(provider, str(error))
            return _say(503, "it cannot be taken now; send it again")
        return Response(status_code=204)

    return Starlette(routes=[Route(f"{PREFIX}{{provider}}", receive, methods=["POST"])])


async def _body(request: Request) -> bytes | None:
    """The request's body; None for one that is too large or does not come."""
    body = bytearray()
    try:
        async with asyncio.timeout(_MAX_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > _MAX_BYTES:
                    return None
    except (TimeoutError, ClientDisconnect):
        return None
    return bytes(body)


def _say(status: int, why: str) -> Response:
    return PlainTextResponse(f"nightmail: {why}\n", status)
