"""The routes that exist only with --allow-faults: arm faults of HTTP calls, and count what was paid for."""

from __future__ import annotations

from collections import Counter
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from tasks.local_batch.api.responses import json_response
from tasks.local_batch.faults.http_faults import HttpFaultMiddleware
from tasks.local_batch.protocol.api_error import ApiError
from tasks.local_batch.state.store import Store

_ALL: Final = 1 << 31  # no page: the tests want every one


class FaultRoutes:
    """Handlers of /_faults and /_stats."""

    def __init__(self, store: Store, middleware: HttpFaultMiddleware) -> None:
        self._store = store
        self._middleware = middleware

    async def arm(self, request: Request) -> Response:
        """Let coming calls go wrong, as `http_faults` describes."""
        try:
            self._middleware.arm(orjson.loads(await request.body()))
        except (ValueError, TypeError, AttributeError) as error:
            raise ApiError(400, str(error)) from error
        return json_response({"armed": True})

    async def disarm(self, _: Request) -> Response:
        """Forget every armed fault."""
        self._middleware.disarm()
        return json_response({"armed": False})

    def stats(self, _: Request) -> Response:
        """What was paid for: batches by each metadata key and value, by input file, rows, calls by operation.

        This is how a test proves that nothing was bought twice, whatever the client believes.
        """
        by_metadata: dict[str, Counter[str]] = {}
        by_file: Counter[str] = Counter()
        rows = 0
        batches = self._store.batches(after=None, limit=_ALL)
        for batch in batches:
            by_file[batch.input_file_id] += 1
            rows += batch.counts.completed
            for key, value in (batch.metadata or {}).items():
                by_metadata.setdefault(key, Counter())[value] += 1
        files = self._store.files(after=None, limit=_ALL, ascending=True, purpose=None)
        return json_response(
            {
                "batches": len(batches),
                "batches_by_metadata": by_metadata,
                "batches_by_input_file": by_file,
                "rows_completed": rows,
                "files": [file.id for file in files],
                "files_by_purpose": Counter(file.purpose for file in files),
                "requests": self._middleware.calls_by_operation,
            }
        )
