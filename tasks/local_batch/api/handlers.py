"""What each HTTP route does: upload, list, download and delete files; create, list, poll and cancel batches."""

from __future__ import annotations

import os
from typing import Any, Final

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from tasks.local_batch.api.access import MAX_UPLOAD_BYTES
from tasks.local_batch.api.request_validation import (
    batch_from_request,
    file_from_form,
    missing_parameter,
    page_limit,
    refuse_unparsable,
)
from tasks.local_batch.api.responses import (
    batch_not_found,
    file_not_found,
    json_response,
    list_response,
    unknown_cursor,
    video_not_found,
)
from tasks.local_batch.batches.runner import BatchRunner, start_cancelling
from tasks.local_batch.echo.images_and_videos import video_file
from tasks.local_batch.faults.batch_faults import FaultRegistry
from tasks.local_batch.protocol.api_error import ApiError
from tasks.local_batch.protocol.batch_object import StoredBatch
from tasks.local_batch.protocol.file_object import StoredFile
from tasks.local_batch.protocol.unix_time import unix_now
from tasks.local_batch.settings import ServiceSettings
from tasks.local_batch.state.store import Store

SERVICE_NAME: Final = "nightmail-local-batch"

# Page sizes of https://platform.openai.com/docs/api-reference/files/list and .../batch/list
_FILES_A_PAGE: Final = 10_000
_BATCHES_A_PAGE, _MAX_BATCHES_A_PAGE = 20, 100


class Handlers:
    """One method a route. Those that wait for the disk are plain functions: Starlette runs them in threads."""

    def __init__(
        self, settings: ServiceSettings, store: Store, runner: BatchRunner, faults: FaultRegistry
    ) -> None:
        self.settings = settings
        self.store = store
        self.runner = runner
        self._faults = faults

    # --- files

    async def upload_file(self, request: Request) -> Response:
        """POST /v1/files"""
        if int(request.headers.get("content-length") or 0) > MAX_UPLOAD_BYTES:
            raise ApiError(413, "The file is larger than 512 MB.", param="file")
        async with request.form(max_files=1, max_fields=16) as form:
            upload = form.get("file")
            if not isinstance(upload, UploadFile):
                raise missing_parameter("file")
            file = file_from_form(upload.filename or "", form)
            return json_response((await run_in_threadpool(self._keep_upload, upload, file)).as_json())

    def _keep_upload(self, upload: UploadFile, file: StoredFile) -> StoredFile:
        if file.purpose == "batch":
            refuse_unparsable(upload.file)
        return self.store.add_upload(upload.file, file)

    def list_files(self, request: Request) -> Response:
        """GET /v1/files"""
        query = request.query_params
        limit = page_limit(query.get("limit"), default=_FILES_A_PAGE, most=_FILES_A_PAGE)
        after = query.get("after")
        if after is not None and self.store.file(after) is None:
            raise unknown_cursor(after)
        files = self.store.files(
            after=after,
            limit=limit + 1,
            ascending=query.get("order") == "asc",
            purpose=query.get("purpose"),
        )
        return list_response([file.as_json() for file in files], limit)

    def retrieve_file(self, request: Request) -> Response:
        """GET /v1/files/{id}"""
        return json_response(self._file(request).as_json())

    def file_content(self, request: Request) -> Response:
        """GET /v1/files/{id}/content"""
        file = self._file(request)
        return FileResponse(self.store.file_path(file.id), media_type="application/octet-stream")

    def delete_file(self, request: Request) -> Response:
        """DELETE /v1/files/{id}"""
        file_id = request.path_params["id"]
        if not self.store.delete_file(file_id):
            raise file_not_found(file_id)
        return json_response({"id": file_id, "object": "file", "deleted": True})

    def _file(self, request: Request) -> StoredFile:
        file = self.store.file(request.path_params["id"])
        if file is None:
            raise file_not_found(request.path_params["id"])
        return file

    # --- batches

    async def create_batch(self, request: Request) -> Response:
        """POST /v1/batches"""
        try:
            parameters = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            parameters = None
        batch = batch_from_request(parameters, seconds_allowed=self.settings.allow_faults)
        # On disk before it is answered: what a client was told exists must survive a crash.
        await run_in_threadpool(self.store.add_batch, batch)
        self.runner.start(batch.id)
        return self._batch_response(batch)

    def list_batches(self, request: Request) -> Response:
        """GET /v1/batches"""
        limit = page_limit(
            request.query_params.get("limit"), default=_BATCHES_A_PAGE, most=_MAX_BATCHES_A_PAGE
        )
        after = request.query_params.get("after")
        if after is not None and self.store.batch(after) is None:
            raise unknown_cursor(after)
        batches = self.store.batches(after=after, limit=limit + 1)
        return list_response([self._batch_json(batch) for batch in batches], limit)

    def retrieve_batch(self, request: Request) -> Response:
        """GET /v1/batches/{id}"""
        return self._batch_response(self._batch(request), is_retrieve=True)

    def cancel_batch(self, request: Request) -> Response:
        """POST /v1/batches/{id}/cancel"""

        # As OpenAI does: 409 for what ended, but a cancelled batch may be cancelled again.
        def cancel(batch: StoredBatch) -> None:
            if batch.status in ("completed", "failed", "expired"):
                raise ApiError(409, f"Cannot cancel a batch with status '{batch.status}'.")
            if batch.status not in ("cancelling", "cancelled"):
                start_cancelling(batch)

        batch = self.store.update_batch(self._batch(request).id, cancel)
        self.runner.cancel(batch.id)
        return self._batch_response(batch)

    def _batch(self, request: Request) -> StoredBatch:
        batch = self.store.batch(request.path_params["id"])
        if batch is None:
            raise batch_not_found(request.path_params["id"])
        return batch

    def _batch_response(self, batch: StoredBatch, *, is_retrieve: bool = False) -> Response:
        return json_response(self._batch_json(batch, is_retrieve=is_retrieve))

    def _batch_json(self, batch: StoredBatch, *, is_retrieve: bool = False) -> dict[str, Any]:
        return self._faults.batch_json(self.runner.with_progress(batch), is_retrieve=is_retrieve)

    # --- videos

    def video_content(self, request: Request) -> Response:
        """GET /v1/videos/{id}/content: the file of a video that an echo made; an upstream keeps its own."""
        video = video_file(request.path_params["id"], unix_now())
        if video is None:
            raise video_not_found(request.path_params["id"])
        return Response(video, media_type="video/mp4")

    # --- about the service

    async def health(self, _: Request) -> Response:
        """GET /health: who this is and how it answers; `launch` decides by it whether to use the service."""
        return json_response(
            {
                "service": SERVICE_NAME,
                "pid": os.getpid(),
                "folder": str(self.settings.folder),
                "open_batches": self.runner.open_batches,
                "standing": self.settings.idle_exit_seconds is None,
                "answering": self.settings.answering(),
            }
        )
