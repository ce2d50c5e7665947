"""The routes that exist only with --allow-faults: arming faults, and counting what was paid for."""

from __future__ import annotations

from collections import Counter

import orjson
from starlette.requests import Request
from starlette.responses import Response

from tasks.local_batch.api.responses import reply
from tasks.local_batch.faults.http_faults import FaultGate
from tasks.local_batch.protocol.batch_object import ApiError
from tasks.local_batch.state.store import Store


class FaultDoors:
    """Routes that exist only with --allow-faults."""

    def __init__(self, store: Store, gate: FaultGate) -> None:
        self._store = store
        self._gate = gate

    async def arm(self, request: Request) -> Response:
        try:
            self._gate.arm(orjson.loads(await request.body()))
        except (ValueError, TypeError, AttributeError) as error:
            raise ApiError(400, str(error)) from error
        return reply({"armed": True})

    async def disarm(self, _: Request) -> Response:
        self._gate.disarm()
        return reply({"armed": False})

    def stats(self, _: Request) -> Response:
        """What was paid for: batches by each metadata key and value, by input file, rows, calls by kind."""
        by_metadata: dict[str, Counter[str]] = {}
        by_file: Counter[str] = Counter()
        rows = 0
        batches = self._store.batches(after=None, limit=1 << 31)
        for batch in batches:
            by_file[batch.input_file_id] += 1
            rows += batch.counts.completed
            for key, value in (batch.metadata or {}).items():
                by_metadata.setdefault(key, Counter())[value] += 1
        files = self._store.files(after=None, limit=1 << 31, ascending=True, purpose=None)
        return reply(
            {
                "batches": len(batches),
                "batches_by_metadata": by_metadata,
                "batches_by_input_file": by_file,
                "rows_completed": rows,
                "files": [file.id for file in files],
                "files_by_purpose": Counter(file.purpose for file in files),
                "requests": self._gate.requests,
            }
        )
