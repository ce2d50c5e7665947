"""The HTTP face of the service: routes, and what each of them does."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tasks.local_batch.api.fault_routes import FaultDoors
from tasks.local_batch.api.request_validation import batch_of, file_of, page_limit, refuse_garbage
from tasks.local_batch.api.responses import (
    no_file,
    on_any_error,
    on_api_error,
    on_http_error,
    page,
    reply,
    unknown_cursor,
)
from tasks.local_batch.batches.runner import Engine, start_cancelling
from tasks.local_batch.echo.images_and_videos import video_file
from tasks.local_batch.faults.batch_faults import Faults
from tasks.local_batch.faults.http_faults import FaultGate
from tasks.local_batch.protocol.batch_object import ApiError, Batch, StoredFile, unix_now
from tasks.local_batch.settings import Settings
from tasks.local_batch.state.store import Store

SERVICE: Final = "nightmail-local-batch"
MAX_UPLOAD_BYTES: Final = 512 << 20


class Service:
    """The handlers. Those that wait for the disk are plain functions: Starlette runs them in threads."""

    def __init__(self, settings: Settings, store: Store, engine: Engine, faults: Faults) -> None:
        self.settings = settings
        self.store = store
        self.engine = engine
        self.faults = faults

    # --- files

    async def upload(self, request: Request) -> Response:
        if int(request.headers.get("content-length") or 0) > MAX_UPLOAD_BYTES:
            raise ApiError(413, "The file is larger than 512 MB.", param="file")
        async with request.form(max_files=1, max_fields=16) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise ApiError(
                    400,
                    "Missing required parameter: 'file'.",
                    param="file",
                    code="missing_required_parameter",
                )
            order = file_of(file.filename or "", form)
            return reply((await run_in_threadpool(self._keep, file, order)).wire())

    def _keep(self, upload: UploadFile, order: StoredFile) -> StoredFile:
        if order.purpose == "batch":
            refuse_garbage(upload.file)
        return self.store.keep_upload(upload.file, order)

    def list_files(self, request: Request) -> Response:
        query = request.query_params
        limit = page_limit(query.get("limit"), default=10_000, most=10_000)
        after = query.get("after")
        if after is not None and self.store.file(after) is None:
            raise unknown_cursor(after)
        found = self.store.files(
            after=after,
            limit=limit + 1,
            ascending=query.get("order") == "asc",
            purpose=query.get("purpose"),
        )
        return page([file.wire() for file in found], limit)

    def retrieve_file(self, request: Request) -> Response:
        return reply(self._file(request).wire())

    def content(self, request: Request) -> Response:
        file = self._file(request)
        return FileResponse(self.store.path_of(file.id), media_type="application/octet-stream")

    def delete_file(self, request: Request) -> Response:
        file_id = request.path_params["id"]
        if not self.store.delete_file(file_id):
            raise no_file(file_id)
        return reply({"id": file_id, "object": "file", "deleted": True})

    def _file(self, request: Request) -> StoredFile:
        file = self.store.file(request.path_params["id"])
        if file is None:
            raise no_file(request.path_params["id"])
        return file

    # --- batches

    async def create(self, request: Request) -> Response:
        try:
            order = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            order = None
        batch = batch_of(order, seconds_allowed=self.settings.allow_faults)
        await run_in_threadpool(self.store.add_batch, batch)
        self.engine.start(batch.id)
        return self._shown(batch)

    def list_batches(self, request: Request) -> Response:
        limit = page_limit(request.query_params.get("limit"), default=20, most=100)
        after = request.query_params.get("after")
        if after is not None and self.store.batch(after) is None:
            raise unknown_cursor(after)
        found = self.store.batches(after=after, limit=limit + 1)
        return page([self._wire(batch, look=False) for batch in found], limit)

    def retrieve(self, request: Request) -> Response:
        return self._shown(self._batch(request), look=True)

    def cancel(self, request: Request) -> Response:
        batch = self._batch(request)

        def edit(found: Batch) -> None:
            if found.status in ("completed", "failed", "expired"):
                raise ApiError(409, f"Cannot cancel a batch with status '{found.status}'.")
            if found.status not in ("cancelling", "cancelled"):
                start_cancelling(found)

        batch = self.store.change(batch.id, edit)
        self.engine.cancel(batch.id)
        return self._shown(batch)

    def _batch(self, request: Request) -> Batch:
        batch = self.store.batch(request.path_params["id"])
        if batch is None:
            raise ApiError(404, f"No batch found with id '{request.path_params['id']}'.", param="id")
        return batch

    def _shown(self, batch: Batch, *, look: bool = False) -> Response:
        return reply(self._wire(batch, look=look))

    def _wire(self, batch: Batch, *, look: bool) -> dict[str, Any]:
        return self.faults.shown(self.engine.with_progress(batch), look=look)

    # --- videos

    def video(self, request: Request) -> Response:
        """The file of a video that an echo made; an upstream keeps its own."""
        found = video_file(request.path_params["id"], unix_now())
        if found is None:
            raise ApiError(404, f"Video with id '{request.path_params['id']}' not found.", param="video_id")
        return Response(found, media_type="video/mp4")

    # --- about the service

    async def health(self, _: Request) -> Response:
        return reply(
            {
                "service": SERVICE,
                "pid": os.getpid(),
                "folder": str(self.settings.folder),
                "open_batches": self.engine.busy,
                "standing": self.settings.idle_exit_seconds is None,
                "answering": self.settings.answering(),
            }
        )


class Pulse:
    """ASGI wrapper that knows for how long nobody has called."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._last = time.monotonic()
        self._under_way = 0

    @property
    def idle_seconds(self) -> float:
        """0 while a call is under way."""
        return 0.0 if self._under_way else time.monotonic() - self._last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":  # it lasts as long as the service
            await self._app(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
            self._last = time.monotonic()


def build(service: Service, ready: Any, close: Any) -> ASGIApp:
    """The application; `ready()` is called once batches are running again, `await close()` at the end."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.engine.resume()
        ready()
        yield
        await service.engine.stop()
        await close()

    routes = [
        Route("/health", service.health, methods=["GET"]),
        Route("/v1/files", service.upload, methods=["POST"]),
        Route("/v1/files", service.list_files, methods=["GET"]),
        Route("/v1/files/{id}", service.retrieve_file, methods=["GET"]),
        Route("/v1/files/{id}", service.delete_file, methods=["DELETE"]),
        Route("/v1/files/{id}/content", service.content, methods=["GET"]),
        Route("/v1/videos/{id}/content", service.video, methods=["GET"]),
        Route("/v1/batches", service.create, methods=["POST"]),
        Route("/v1/batches", service.list_batches, methods=["GET"]),
        Route("/v1/batches/{id}", service.retrieve, methods=["GET"]),
        Route("/v1/batches/{id}/cancel", service.cancel, methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        # a web page in the user's browser must not reach the service under a name of its own
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
        exception_handlers={ApiError: on_api_error, HTTPException: on_http_error, Exception: on_any_error},
    )
    if not service.settings.allow_faults:
        return app
    gate = FaultGate(app)
    doors = FaultDoors(service.store, gate)
    app.routes.extend(
        [
            Route("/_faults", doors.arm, methods=["POST"]),
            Route("/_faults", doors.disarm, methods=["DELETE"]),
            Route("/_stats", doors.stats, methods=["GET"]),
        ]
    )
    return gate
