"""Measure for how long nobody has called the service, so that an unused one can end itself."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Receive, Scope, Send


class IdleTimer:
    """ASGI middleware that knows when the last call ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._last_call_ended = time.monotonic()
        self._calls_under_way = 0

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last call ended; 0 while one is under way."""
        return 0.0 if self._calls_under_way else time.monotonic() - self._last_call_ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # it lasts as long as the service
            await self._app(scope, receive, send)
            return
        self._calls_under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._calls_under_way -= 1
            self._last_call_ended = time.monotonic()
