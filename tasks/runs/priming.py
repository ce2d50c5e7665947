"""Let one request write the provider's prompt cache before the others are posted (`prompt.cache: prime`).

The requests of a batch run side by side: posted into an empty cache, each of them writes it, at twice the price of plain
input, and none reads it. So what is marked is posted only while the cache is known to be filled; else one request goes
ahead, or the marks are taken out.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from tasks.ledger.records import ChunkRecord
from tasks.runs.chunk_files import requests_name
from tasks.runs.postings import kept_copy
from tasks.runs.session import Run
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.prompt_cache import PRIMED_ROWS

_FRESH: Final = timedelta(minutes=50)  # of the hour that the cache keeps a text after its last use
_AHEAD: Final = 2  # the attempt by which one request of a chunk goes ahead of the others


def wait_for_cache(run: Run, chunk: ChunkRecord) -> ChunkRecord | None:
    """The chunk as it waits for the cache, or with the one request that goes ahead; None when it may be posted now."""
    if run.job.prompt.cache == "mark" or dialect(run.job.provider.dialect).cache is None:
        return None
    if run.job.prompt.cache == "none":
        if _is_marked(run, chunk):  # prepared while the job said otherwise
            _unmark(run, chunk)
        return None
    if chunk.attempt < _AHEAD and kept_copy(run.folder, _one_ahead(chunk)) is not None:
        return _send_one_ahead(run, chunk)  # as it did before the ledger was lost
    used_at = run.ledger.cache_used_at()
    now = run.clock.now()
    if used_at is not None and now - used_at <= _FRESH:
        return None
    first = run.ledger.lone_request_before(chunk)
    if first is not None:
        soon = now + timedelta(seconds=run.job.pace.first_seconds)
        reason = f"waiting for chunk {first.number}, whose one request writes the prompt cache"
        return run.ledger.postpone(chunk, max(first.not_before or soon, soon), reason)
    if chunk.requests == 1 or not _is_marked(run, chunk):
        return None
    if used_at is not None and chunk.attempt < _AHEAD and chunk.requests >= PRIMED_ROWS:
        return _send_one_ahead(run, chunk)
    _unmark(run, chunk)
    return None


def _one_ahead(chunk: ChunkRecord) -> ChunkRecord:
    return replace(chunk, attempt=_AHEAD, posting=1)


def _send_one_ahead(run: Run, chunk: ChunkRecord) -> ChunkRecord:
    """The chunk with its first request alone: what nobody has asked yet is the next attempt (see `tasks.merge`)."""
    with run.folder.read(requests_name(chunk.number, chunk.attempt)) as file:
        line = file.readline()
    with run.folder.write(requests_name(chunk.number, _AHEAD)) as file:
        file.write(line)
    tokens = -(-chunk.tokens_estimate // chunk.requests)
    sizes: dict[str, Any] = {"requests": 1, "bytes": len(line), "tokens_estimate": tokens}
    run.ledger.note("prompt cache", f"chunk {chunk.number}: one request goes ahead, to fill the cache again")
    reason = "one request goes ahead, to fill the prompt cache again"
    return run.ledger.postpone(chunk, run.clock.now(), reason, attempt=_AHEAD, posting=1, **sizes)


def _is_marked(run: Run, chunk: ChunkRecord) -> bool:
    with run.folder.read(requests_name(chunk.number, chunk.attempt)) as file:
        return _mark(run) in file.readline()


def _unmark(run: Run, chunk: ChunkRecord) -> None:
    """Take the marks out of the chunk's requests."""
    name, mark = requests_name(chunk.number, chunk.attempt), _mark(run)
    with run.folder.read(name) as before, run.folder.write(name) as after:
        for line in before:
            after.write(line.replace(mark, b""))
    run.ledger.note("prompt cache", f"chunk {chunk.number}: posted without marks, the cache is not filled")


def _mark(run: Run) -> bytes:
    cache = dialect(run.job.provider.dialect).cache
    assert cache is not None, "a provider without one refuses the job"
    return cache.mark(run.job.provider)
