"""A copy of what the ledger knows of each posting, beside the requests that it posts.

A ledger can be restored from a backup or lost; the run folder is not. The copy is written before anything goes to the
provider, before the batch is created, when its id is known, and when its results are here. What may have been posted is
then looked for before it is posted again, whatever the ledger remembers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from configs.errors import IntegrityError
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.storage.run_folder import RunFolder

_NAMES = frozenset(field.name for field in fields(BatchRecord))


def keep_copy(folder: RunFolder, batch: BatchRecord) -> None:
    """Write the posting's copy; durable when this returns."""
    with folder.write(_name(batch.chunk, batch.attempt, batch.posting)) as file:
        file.write(json.dumps(asdict(batch), default=datetime.isoformat).encode())


def kept_copy(folder: RunFolder, chunk: ChunkRecord) -> BatchRecord | None:
    """What was known of the chunk's current posting when it began, or later; None where it has not begun."""
    name = _name(chunk.number, chunk.attempt, chunk.posting)
    if not folder.exists(name):
        return None
    with folder.read(name) as file:
        content = file.read()
    try:
        return _record(json.loads(content))
    except (ValueError, TypeError) as error:
        raise IntegrityError(
            f"{folder.url}/{name}: cannot be read ({error}), so nobody knows whether this was posted; put it back from a"
            " backup, or give another --key"
        ) from error


def anything_posted(folder: RunFolder) -> bool:
    """Whether any chunk in the folder may have been posted."""
    return any("/posting-" in name for name in folder.names("chunks"))


def _name(chunk: int, attempt: int, posting: int) -> str:
    return f"chunks/{chunk:05d}/posting-{attempt}-{posting}.json"


def _record(values: Mapping[str, Any]) -> BatchRecord:
    known = {name: value for name, value in values.items() if name in _NAMES}
    times = {
        name: datetime.fromisoformat(value) for name, value in known.items() if name.endswith("_at") and value
    }
    history = tuple((status, seen_at) for status, seen_at in known["history"])
    return BatchRecord(**{**known, **times, "history": history, "result_files": tuple(known["result_files"])})
