"""Faults of single HTTP calls, for tests: armed through POST /_faults, they hit the next calls of that operation.

    {"op": "create", "action": "drop_reply", "times": 1, "skip": 0}

op      upload, create, retrieve, list, cancel, content, delete (of a file); also list_files, retrieve_file, video
action  drop_reply      do the work, then close the connection without an answer
        reset_before    close the connection before any work
        close_midway    half of the body, then close (content)
        status:NNN      answer with that status; `retry_after` (seconds) and `html` (true) as wanted
        unpaid:CODE     refuse an account that cannot pay, as `unpaid.py` lists
        delay:SECONDS   wait, then work as usual
        empty:SECONDS   for that long after it is armed, a list names nothing (list, list_files)
        DAMAGE          200, and a reply that is damaged as `damage.py` lists
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tasks.local_batch.faults.damage import DAMAGES, damaged
from tasks.local_batch.faults.unpaid import UNPAID

_OPERATIONS: Final = (
    ("POST", r"/v1/files", "upload"),
    ("GET", r"/v1/files", "list_files"),
    ("GET", r"/v1/files/[^/]+", "retrieve_file"),
    ("GET", r"/v1/files/[^/]+/content", "content"),
    ("DELETE", r"/v1/files/[^/]+", "delete"),
    ("POST", r"/v1/batches", "create"),
    ("GET", r"/v1/batches", "list"),
    ("GET", r"/v1/batches/[^/]+", "retrieve"),
    ("POST", r"/v1/batches/[^/]+/cancel", "cancel"),
    ("GET", r"/v1/videos/[^/]+/content", "video"),
)
_ACTION: Final = re.compile(
    rf"drop_reply|reset_before|close_midway|status:[1-9]\d\d|unpaid:({'|'.join(UNPAID)})|(delay|empty):[\d.]+|{'|'.join(DAMAGES)}"
)


@dataclass
class ArmedFault:
    """A fault that waits for its calls: it lets `skip` of them pass, then hits `times`."""

    op: str
    action: str
    times: int = 1
    skip: int = 0
    retry_after: str | None = None
    html: bool = False
    since: float = field(default_factory=time.monotonic)


class ConnectionAwareProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with the connection in the request's state: ASGI alone cannot break one off."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Asyncio's callback for a new connection."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


class HttpFaultMiddleware:
    """ASGI middleware that lets armed faults happen, and counts calls by operation, those that a fault hit included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._armed: list[ArmedFault] = []
        self.calls_by_operation: Counter[str] = Counter()

    def arm(self, spec: dict[str, Any]) -> None:
        """Let coming calls go wrong as the module describes. ValueError for an unknown operation or action."""
        ops = {op for _, _, op in _OPERATIONS}
        if spec.get("op") not in ops or not _ACTION.fullmatch(str(spec.get("action"))):
            raise ValueError(f"op must be one of {sorted(ops)}, action one of {_ACTION.pattern}")
        retry_after = spec.get("retry_after")
        self._armed.append(
            ArmedFault(
                op=spec["op"],
                action=spec["action"],
                times=int(spec.get("times", 1)),
                skip=int(spec.get("skip", 0)),
                retry_after=None if retry_after is None else str(retry_after),
                html=bool(spec.get("html", False)),
            )
        )

    def disarm(self) -> None:
        """Forget every fault."""
        self._armed.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        op = _operation(scope)
        if op:
            self.calls_by_operation[op] += 1
        fault = self._fault_for(op)
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.action.startswith("delay:"):
            await asyncio.sleep(float(fault.action.removeprefix("delay:")))
            await self._app(scope, receive, send)
        elif fault.action.startswith("empty:"):
            is_over = time.monotonic() - fault.since > float(fault.action.removeprefix("empty:"))
            await (self._app(scope, receive, send) if is_over else _send_empty_list(send))
        elif fault.action.startswith(("status:", "unpaid:")):
            await _send_error_status(fault, receive, send)
        elif fault.action == "close_midway":
            await self._app(scope, receive, _HalfResponse(scope, send))
        elif fault.action in DAMAGES:
            await self._app(scope, receive, _DamagedResponse(fault.action, send))
        else:
            if fault.action == "drop_reply":
                await self._app(scope, receive, _discard)
            await _abort_connection(scope)

    def _fault_for(self, op: str) -> ArmedFault | None:
        """The fault that hits this call, if one does; asking uses it up."""
        for fault in self._armed:
            if fault.op != op or fault.times <= 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            return fault
        return None


class _HalfResponse:
    """ASGI `send` that passes on half of the first piece of the body, then closes the connection."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope, self._send = scope, send
        self._closed = False

    async def __call__(self, message: Message) -> None:
        if self._closed:
            return
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            await self._send(
                {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
            )
            self._closed = True
            self._scope["state"][
                "transport"
            ].close()  # not abort: the half that was written must still go out
            await asyncio.sleep(0)
            return
        await self._send(message)


class _DamagedResponse:
    """ASGI `send` that keeps a good reply until it is complete, and passes on something else with status 200."""

    def __init__(self, action: str, send: Send) -> None:
        self._action, self._send = action, send
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        kind = b"text/html" if self._action == "web_page" else b"application/octet-stream"
        headers = [(b"content-type", kind)]
        body = damaged(self._body, self._action)
        if self._action == "cut_gzip":
            headers.append((b"content-encoding", b"gzip"))
        if self._action in ("web_page", "other_batch", "wrong_length"):
            headers.append((b"content-length", str(len(body)).encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _operation(scope: Scope) -> str:
    return next(
        (
            op
            for method, path, op in _OPERATIONS
            if method == scope["method"] and re.fullmatch(path, scope["path"])
        ),
        "",
    )


async def _discard(_: Message) -> None:
    return


async def _abort_connection(scope: Scope) -> None:
    scope["state"]["transport"].abort()
    await asyncio.sleep(0.01)  # the server must have noticed before the app returns without an answer


async def _send_empty_list(send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    body = orjson.dumps({"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_error_status(fault: ArmedFault, receive: Receive, send: Send) -> None:
    while (await receive()).get(
        "more_body"
    ):  # a client that is still uploading would see a reset, not the status
        pass
    kind, _, word = fault.action.partition(":")
    status = UNPAID[word].status if kind == "unpaid" else int(word)
    headers = [(b"content-type", b"text/html" if fault.html else b"application/json")]
    if fault.retry_after is not None:
        headers.append((b"retry-after", fault.retry_after.encode()))
    error = {"message": f"Told to answer {status}.", "type": "server_error", "param": None, "code": None}
    reply = UNPAID[word].body if kind == "unpaid" else {"error": error}
    body = b"<html><body><h1>Bad Gateway</h1></body></html>" if fault.html else orjson.dumps(reply)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
