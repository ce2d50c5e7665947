"""The files and batches that `doctor --deep` makes at a service: created, looked at, and cleared away at the end."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from tasks.providers.base import ServiceBatch
from tasks.providers.openai.compatible import KEY
from tasks.providers.openai.raw_calls import RawCalls, Refused
from tasks.providers.openai.replies import Record, batch_of, metadata_of
from tasks.providers.times import time_of

_A_PAGE, _MOST_PAGES = 100, 20


class ProbeBatches:
    """What one probe has at a service. All methods but `open` and `clear` raise Refused with the service's own words."""

    def __init__(self, raw: RawCalls, endpoint: str) -> None:
        self.raw = raw
        self.files: list[str] = []
        self._endpoint = endpoint
        self._name = f"doctor/{secrets.token_hex(5)}"
        self._seen: dict[str, Record] = {}  # every batch, as it was seen last

    @property
    def ids(self) -> list[str]:
        """The ids of all batches."""
        return list(self._seen)

    def __getitem__(self, batch_id: str) -> ServiceBatch:
        """A batch as it was seen last."""
        return batch_of(self._seen[batch_id])

    def upload(self, name: str, content: bytes) -> str:
        """Upload a request file; its id."""
        file = self.raw.upload(f"nightmail-{self._name.replace('/', '-')}-{name}.jsonl", content)
        self.files.append(_id_of(file))
        return self.files[-1]

    def fields(self, name: str, file_id: str, **others: str) -> dict[str, Any]:
        """The fields of a create call, under a key of its own for each `name`."""
        fields = {"input_file_id": file_id, "endpoint": self._endpoint, "completion_window": "24h"}
        return {**fields, **others, "metadata": {KEY: f"{self._name}/{name}"}}

    def create(self, name: str, file_id: str, **others: str) -> str:
        """Create a batch; its id."""
        return self._keep(self.raw.create(**self.fields(name, file_id, **others)))

    def find(self, name: str, file_id: str) -> str | None:
        """The id of a batch that the list shows with that name's key, or without metadata over that file, if any."""
        after = None
        for _ in range(_MOST_PAGES):
            rows = self.raw.batches(_A_PAGE, after)
            for row in rows:
                metadata = metadata_of(row)
                same_file = not metadata and row.get("input_file_id") == file_id
                if metadata.get(KEY) == f"{self._name}/{name}" or same_file:
                    return self._keep(row)
            if not rows or rows[-1].get("id") == after:
                return None
            after = str(rows[-1].get("id"))
        return None

    def retrieve(self, batch_id: str) -> ServiceBatch:
        """A batch as it is now; as it was seen last where the reply does not tell."""
        self._seen[batch_id] = self.raw.retrieve(batch_id) or self._seen[batch_id]
        return self[batch_id]

    def window(self, batch_id: str) -> timedelta | None:
        """How long a batch may take, by its own times; None where it does not tell."""
        created, expires = (time_of(self._seen[batch_id].get(name)) for name in ("created_at", "expires_at"))
        return expires - created if created and expires else None

    def content(self, batch_id: str) -> bytes:
        """The result files of a batch, one after the other."""
        return b"\n".join(self.raw.content(file) for file in self[batch_id].result_files)

    def open(self) -> list[str]:
        """Look at all batches that have not ended; those that still have not."""
        for batch_id in self.ids:
            if not self[batch_id].status.ended:
                with suppress(Refused):  # a passing fault: a run would poll again as well
                    self.retrieve(batch_id)
        return [batch_id for batch_id in self.ids if not self[batch_id].status.ended]

    def clear(self) -> None:
        """Cancel what is open, and delete all files. What is refused stays: the ordinary checks have told."""
        for batch_id in self.open():
            with suppress(Refused):
                self.raw.cancel(batch_id)
        results = [file for batch_id in self.ids for file in self[batch_id].result_files]
        for file in (*self.files, *results):
            with suppress(Refused):
                self.raw.delete(file)

    def _keep(self, batch: Record) -> str:
        batch_id = _id_of(batch)
        self._seen[batch_id] = batch
        return batch_id


def wait_until_ended(batches: ProbeBatches, wait: Callable[[float], bool]) -> bool:
    """Poll all batches until they have ended; False when the time limit was over before."""
    interval = 0.25
    while batches.open():
        if not wait(interval):
            return False
        interval = min(interval * 1.5, 15.0)
    return True


def _id_of(record: Record) -> str:
    record_id = record.get("id")
    if not isinstance(record_id, str) or not record_id:
        raise Refused(None, "the reply names no id")
    return record_id
