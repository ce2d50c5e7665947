"""`run.json` in the run folder: which run the folder belongs to, and its chunks as they were prepared.

It is written without chunks when they are begun, and with them before any of them is posted: with all, or with each range
of the source in turn. A ledger that does not know the run (deleted, damaged and moved away, restored from a backup) gets it
back from here; what was posted since is found by the copies beside the requests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from configs.errors import ConfigError
from tasks.ledger.records import ChunkRecord, RunRecord
from tasks.ledger.transitions import ChunkState
from tasks.storage.run_folder import RunFolder

NAME = "run.json"
_VERSION = 1
_OF_A_CHUNK = ("number", "first_row", "rows", "requests", "bytes", "tokens_estimate", "prompt")


@dataclass(frozen=True)
class RunFile:
    """A run and its chunks, for a ledger that lacks them."""

    id: str
    job: str
    key: str
    generation: int
    logical_date: date
    spec: dict[str, Any]
    identity: dict[str, Any]
    folder: str
    source_fingerprint: str | None
    bad_lines: int
    estimate: dict[str, Any] | None
    created_at: datetime
    chunks: tuple[ChunkRecord, ...]
    range_rows: int | None = None
    ranges: int | None = None
    ranges_prepared: int | None = None


def write_run_file(
    folder: RunFolder,
    run: RunRecord,
    chunks: Sequence[ChunkRecord] = (),
    fingerprint: str | None = None,
    bad_lines: int = 0,
    estimate: dict[str, Any] | None = None,
    ranges_prepared: int | None = None,
) -> None:
    """Write the file, without chunks as long as none of them may be posted; durable when this returns."""
    content = {
        "version": _VERSION,
        "id": run.id,
        "job": run.job,
        "key": run.key,
        "generation": run.generation,
        "logical_date": run.logical_date.isoformat(),
        "spec": run.spec,
        "identity": run.identity,
        "folder": run.folder,
        "source_fingerprint": fingerprint,
        "bad_lines": bad_lines,
        "estimate": estimate,
        "created_at": run.created_at.isoformat(),
        "range_rows": run.range_rows,
        "ranges": run.ranges,
        "ranges_prepared": ranges_prepared,
        "chunks": [
            {name: value for name, value in asdict(chunk).items() if name in _OF_A_CHUNK} for chunk in chunks
        ],
    }
    with folder.write(NAME) as file:
        file.write(json.dumps(content).encode())


def read_run_file(folder: RunFolder) -> RunFile | None:
    """The run of the folder; None for a folder in which nothing is prepared, so that nothing can have been posted.

    ConfigError for one that holds chunks, and does not say whose.
    """
    if not folder.exists(NAME):
        if folder.exists("chunks"):
            raise ConfigError(_whose(folder, f"there is no {NAME} in it"))
        return None
    with folder.read(NAME) as file:
        text = file.read()
    try:
        found = _parsed(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(_whose(folder, f"{NAME} cannot be read ({error})")) from error
    return found if found.chunks else None


def _parsed(content: dict[str, Any]) -> RunFile:
    if content.pop("version") != _VERSION:
        raise ValueError("it is of another version")
    chunks = tuple(
        ChunkRecord(run_id=content["id"], state=ChunkState.PREPARED, attempt=1, posting=1, **chunk)
        for chunk in content.pop("chunks")
    )
    dates = {
        "logical_date": date.fromisoformat(content["logical_date"]),
        "created_at": datetime.fromisoformat(content["created_at"]),
    }
    return RunFile(**{**content, **dates}, chunks=chunks)


def _whose(folder: RunFolder, reason: str) -> str:
    return (
        f"run folder {folder.url}: holds a run that this ledger does not know, and {reason}; put the ledger back from a"
        " backup, or move the folder away once its batches at the provider are cancelled, or give another --key"
    )
