"""The page *Batches*, and the files of a batch as they lay at its provider."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from configs.errors import ConfigError
from tasks.console.context import console_of
from tasks.console.forms import read_number
from tasks.console.paging import SIZE, Paging
from tasks.console.render import page
from tasks.ledger.listing import BatchSearch
from tasks.ledger.records import BatchRecord
from tasks.providers.base import BatchStatus
from tasks.runs.chunk_files import requests_name, results_name

STATUSES = ("intended", *BatchStatus)
_BLOCK = 1 << 20
_MEDIA_TYPE = "application/jsonl"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def batches_page(request: Request) -> Response:
    """The batches of all runs, newest first."""
    console = console_of(request)
    given = request.query_params
    search = BatchSearch(
        text=given.get("search", "").strip(),
        status=given.get("status", ""),
        account=given.get("account", ""),
        run_id=given.get("run", ""),
    )
    query = {
        "search": search.text,
        "status": search.status,
        "account": search.account,
        "run": search.run_id,
    }
    listing = console.ledger.listing if console.ledger else None
    paging = Paging.of(given.get("page", ""), listing.count_batches(search) if listing else 0, query)
    return page(
        request,
        "batches",
        lines=listing.batches(search, SIZE, paging.offset) if listing else (),
        accounts=listing.accounts() if listing else (),
        statuses=STATUSES,
        search=search,
        paging=paging,
    )


def download(request: Request) -> Response:
    """One file of a batch, byte for byte, as an attachment."""
    console = console_of(request)
    given = request.path_params
    ledger, run = console.run(given["run"])
    chunk, attempt = read_number(given["chunk"]), read_number(given["attempt"])
    batch = None if chunk is None or attempt is None else ledger.listing.batch(run.id, chunk, attempt)
    name = _file_name(batch, given["file"]) if batch else None
    if name is None:
        raise ConfigError(
            f"{given['file']}: this batch has no such file; the page Batches names those it has"
        )
    folder = console.folder(run)
    if not folder.exists(name):
        raise ConfigError(
            f"{name}: is not in the run folder {folder.url}; it is not fetched yet, or `nightmail clean` removed it"
        )
    saved_as = _UNSAFE.sub("_", f"{run.job}-{run.key}-{name.removeprefix('chunks/').replace('/', '-')}")
    headers = {
        "content-length": str(folder.size(name)),
        "content-disposition": f'attachment; filename="{saved_as}"',
    }
    if request.method == "HEAD":  # the file is not read for its size
        return Response(headers=headers, media_type=_MEDIA_TYPE)
    return StreamingResponse(_blocks(folder.read(name)), headers=headers, media_type=_MEDIA_TYPE)


def _file_name(batch: BatchRecord, file: str) -> str | None:
    """`requests`, `results-0`, `results-1`: the file's name in the run folder; None for one that the batch has not."""
    if file == "requests":
        return requests_name(batch.chunk, batch.attempt)
    names = {f"results-{index}": index for index in range(len(batch.result_files))}
    return results_name(batch.chunk, batch.attempt, names[file]) if file in names else None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK):
            yield block
