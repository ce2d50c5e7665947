"""Read the replies of services that speak OpenAI's protocol, forgivingly: batches, pages, times, errors.

Nothing here trusts a type or a key: statuses in any case, unix or ISO times, nulls, `{"value": [...]}` or a bare list
for a page, `{"job": {...}}` around a batch, JSON under any content type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from configs.errors import BillingRefused, TerminalError, TransientError
from tasks.providers.base import BatchStatus, ServiceBatch
from tasks.providers.pages import endless, goes_on
from tasks.providers.times import time_of
from tasks.stages.wire.billing import is_billing_refusal
from tasks.stages.wire.json_values import integer

Record = dict[str, Any]
_STATUS = {
    "validating": BatchStatus.QUEUED,
    "queued": BatchStatus.QUEUED,
    "in_progress": BatchStatus.RUNNING,
    "finalizing": BatchStatus.FINISHING,
    "cancelling": BatchStatus.CANCELLING,
    "canceling": BatchStatus.CANCELLING,
    "completed": BatchStatus.COMPLETED,
    "failed": BatchStatus.FAILED,
    "expired": BatchStatus.EXPIRED,
    "cancelled": BatchStatus.CANCELLED,
    "canceled": BatchStatus.CANCELLED,
}


def record_of(content: bytes) -> Record:
    """The object in a reply, out of its wrapper; empty when the reply (a proxy's page, say) holds none."""
    reply = _json(content)
    if not isinstance(reply, dict):
        return {}
    wrapped = reply.get("job")  # Together wraps a new batch: {"job": {...}, "warning": ...}
    return wrapped if "id" not in reply and isinstance(wrapped, dict) else reply


def page_of(content: bytes) -> tuple[list[Record], bool | None]:
    """The objects of a list reply, and whether there are more; None where the service does not say."""
    rows, more = _page(content)
    return rows or [], more


def _page(content: bytes) -> tuple[list[Record] | None, bool | None]:
    """The same, with None for a reply that is no list."""
    rows = reply = _json(content)
    more = None
    if isinstance(reply, dict):
        is_list = reply.keys() & {
            "data",
            "value",
        }  # Azure says value; Alibaba's data is null where there are none
        rows = (reply.get("data") or reply.get("value") or []) if is_list else None
        more = reply.get("has_more")
    kept = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else None
    return kept, more if isinstance(more, bool) else None


def records_since(
    fetch: Callable[[str | None], bytes], earliest: Callable[[], float], *, optional: bool = False
) -> Iterator[Record]:
    """Every object of the pages of `record_pages`, one after the other."""
    return chain.from_iterable(record_pages(fetch, earliest, optional=optional))


def record_pages(
    fetch: Callable[[str | None], bytes], earliest: Callable[[], float], *, optional: bool = False
) -> Iterator[list[Record]]:
    """Every object of a paged list made after `earliest` (unix seconds), and older ones that stand on the same pages: what
    is looked for is known by its key. `fetch` gets the id to go on after.

    Ends where the service says so, at a page that brings nothing new (it may not know how to go on), or, listing the
    newest first, with the page that reaches what is too old. TransientError for a reply that is no list: taken for an empty one, a batch that is there would be posted again. TerminalError, likewise, for a list that has more and does not
    go on. A list that is `optional` may not exist, or end early: nothing is paid for by what it does not show.
    """
    seen: set[Any] = set()
    followed: set[str] = set()
    after: str | None = None
    while True:
        rows, more = _page(fetch(after))
        if rows is None and not optional:
            raise TransientError("the reply is no list; it is asked for again")
        fresh = [row for row in rows or () if row.get("id") not in seen]
        if not fresh and more and not optional:
            raise TerminalError(
                "the service's list does not go on behind its first page, so a batch may be there that cannot be seen;"
                " look for it by its metadata before it is posted again"
            )
        if not fresh:
            return
        times = [_seconds(row.get("created_at")) for row in fresh]
        yield fresh
        first, last = times[0], times[-1]
        reached = first is not None and last is not None and first >= last and last < earliest()
        after = fresh[-1].get("id")
        if more is False or reached or not isinstance(after, str):
            return
        if not goes_on(after, followed):
            if optional:
                return
            raise endless("the service's list")
        seen.update(row.get("id") for row in fresh)


def batch_of(raw: Mapping[str, Any], key: str | None = None) -> ServiceBatch:
    """A batch object in Nightmail's words; `key` is what its metadata holds."""
    counts = _mapping(raw.get("request_counts"))
    first = _first_error(raw.get("errors") or raw.get("error"))  # Together has one, a text
    status = status_of(raw)
    code, message = _error_code(first), _text(first.get("message"))
    if code == BillingRefused.CODE:  # the service's own word is for people
        message = ": ".join(filter(None, (_text(first.get("code")), message)))
    return ServiceBatch(
        id=str(raw.get("id")),
        status=status,
        total=integer(counts.get("total")),
        completed=integer(counts.get("completed")),
        failed=integer(counts.get("failed")),
        result_files=tuple(
            file
            for file in (raw.get("output_file_id"), raw.get("error_file_id"))
            if file and isinstance(file, str)
        ),
        error_code=code if status is BatchStatus.FAILED else None,
        error_message=message,
        error_line=integer(first.get("line")),
        expires_at=time_of(raw.get("expires_at")),
        key=key,
    )


def status_of(raw: Mapping[str, Any]) -> BatchStatus:
    """The batch's status; a word that is not known counts as running, so that it is looked at again."""
    return _STATUS.get(str(raw.get("status")).lower(), BatchStatus.RUNNING)


def metadata_of(raw: Mapping[str, Any]) -> dict[str, str]:
    """The metadata as it came back; empty where the service keeps none."""
    return {str(key): value for key, value in _mapping(raw.get("metadata")).items() if isinstance(value, str)}


def _seconds(value: Any) -> float | None:
    time = time_of(value)
    return None if time is None else time.timestamp()


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return " ".join(value.split()) or None if isinstance(value, str) else None


def _first_error(errors: Any) -> Mapping[str, Any]:
    """The first of `{"data": [...]}`, of a list, or a text."""
    rows = errors.get("data") if isinstance(errors, dict) else errors
    first = rows[0] if isinstance(rows, list) and rows else rows
    return {"message": first} if isinstance(first, str) else _mapping(first)


def _error_code(error: Mapping[str, Any]) -> str:
    """The batch-level code; an account that cannot pay and "cannot find file" get names of their own, since the same file
    may work later."""
    code = error.get("code") or "batch_failed"
    if is_billing_refusal(str(code), _text(error.get("message"))):
        return BillingRefused.CODE
    lost_file = code == "invalid_request" and (
        error.get("param") == "file_id" or "find file" in str(error.get("message"))
    )
    return "file_not_found" if lost_file else str(code)
