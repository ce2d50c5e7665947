"""The ASGI application: which handler answers which route, and what happens at start and end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from tasks.local_batch.api.access import AccessControl
from tasks.local_batch.api.fault_routes import FaultRoutes
from tasks.local_batch.api.handlers import Handlers
from tasks.local_batch.api.responses import on_api_error, on_http_error, on_unexpected_error
from tasks.local_batch.faults.http_faults import HttpFaultMiddleware
from tasks.local_batch.protocol.api_error import ApiError


def build_app(handlers: Handlers, token: str, on_ready: Callable[[], None]) -> ASGIApp:
    """The application for clients that have the token; `on_ready()` is called once the batches of last time are running again."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        handlers.runner.resume()
        on_ready()
        yield
        await handlers.runner.stop()
        handlers.store.close()

    app = Starlette(
        routes=_routes(handlers),
        lifespan=lifespan,
        middleware=[
            # A web page in the user's browser must not reach the service under a name of its own (DNS rebinding).
            Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
            Middleware(AccessControl, token=token),
        ],
        exception_handlers={
            ApiError: on_api_error,
            HTTPException: on_http_error,
            Exception: on_unexpected_error,
        },
    )
    return _with_faults(app, handlers) if handlers.settings.allow_faults else app


def _routes(handlers: Handlers) -> list[Route]:
    return [
        Route("/health", handlers.health, methods=["GET"]),
        Route("/v1/files", handlers.upload_file, methods=["POST"]),
        Route("/v1/files", handlers.list_files, methods=["GET"]),
        Route("/v1/files/{id}", handlers.retrieve_file, methods=["GET"]),
        Route("/v1/files/{id}", handlers.delete_file, methods=["DELETE"]),
        Route("/v1/files/{id}/content", handlers.file_content, methods=["GET"]),
        Route("/v1/videos/{id}/content", handlers.video_content, methods=["GET"]),
        Route("/v1/batches", handlers.create_batch, methods=["POST"]),
        Route("/v1/batches", handlers.list_batches, methods=["GET"]),
        Route("/v1/batches/{id}", handlers.retrieve_batch, methods=["GET"]),
        Route("/v1/batches/{id}/cancel", handlers.cancel_batch, methods=["POST"]),
    ]


def _with_faults(app: Starlette, handlers: Handlers) -> ASGIApp:
    middleware = HttpFaultMiddleware(app)
    faults = FaultRoutes(handlers.store, middleware)
    app.routes.extend(
        [
            Route("/_faults", faults.arm, methods=["POST"]),
            Route("/_faults", faults.disarm, methods=["DELETE"]),
            Route("/_stats", faults.stats, methods=["GET"]),
        ]
    )
    return middleware
