"""Read Gemini's batches as they are on the wire: long-running operations.

Read raw, since the SDK (3.4) makes a job of it that has neither the counts nor the error.
Shape: https://ai.google.dev/api/batch-api.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from configs.errors import BillingRefused
from tasks.providers.base import BatchStatus, ServiceBatch, Submission, key_before
from tasks.providers.times import time_of
from tasks.stages.wire.billing import is_billing_refusal
from tasks.stages.wire.gemini.results import code_name, reason_of
from tasks.stages.wire.json_values import integer, string

# "The job has expired because it was running or pending for more than 48 hours. The job will not have any results
# to retrieve." https://ai.google.dev/gemini-api/docs/batch-api
EXPIRES_AFTER = timedelta(hours=48)
KEY_PREFIX = "nightmail/"  # before the submission key, in a batch's display name
_NAME_CHARACTERS = 128  # Google states no limit for batches; most of its other resources take so many

_STATUS = {
    "PENDING": BatchStatus.QUEUED,
    "QUEUED": BatchStatus.QUEUED,
    "RUNNING": BatchStatus.RUNNING,
    "CANCELLING": BatchStatus.CANCELLING,
    "SUCCEEDED": BatchStatus.COMPLETED,
    "PARTIALLY_SUCCEEDED": BatchStatus.COMPLETED,
    "FAILED": BatchStatus.FAILED,
    "CANCELLED": BatchStatus.CANCELLED,
    "EXPIRED": BatchStatus.EXPIRED,
}
_CANCELLED, _DEADLINE_EXCEEDED, _NOT_FOUND, _RESOURCE_EXHAUSTED = 1, 4, 5, 8
# What the ledger knows as a full queue and as a file that is not there yet; other failures are for good.
_REPOSTABLE = {_RESOURCE_EXHAUSTED: "token_limit_exceeded", _NOT_FOUND: "file_not_found"}

_Json = Mapping[str, Any]


def status_of(state: Any) -> BatchStatus:
    """`BATCH_STATE_...` on the wire, `JOB_STATE_...` in the SDK; a word that is not known counts as running."""
    word = str(getattr(state, "value", state)).upper()
    return _STATUS.get(word.partition("_STATE_")[2] or word, BatchStatus.RUNNING)


def service_batch(operation: _Json) -> ServiceBatch:
    """The batch that an operation stands for."""
    metadata = _object(operation, "metadata")
    error = _object(operation, "error")
    status = _status(operation, metadata, error)
    counts = _object(metadata, "batchStats")
    created = created_at(operation)
    return ServiceBatch(
        id=str(operation.get("name") or metadata.get("name") or ""),
        status=status,
        total=_count(counts, "requestCount"),
        completed=_count(counts, "successfulRequestCount"),
        failed=_count(counts, "failedRequestCount"),
        result_files=_result_files(operation, metadata),
        error_code=_error_code(error) if status is BatchStatus.FAILED else None,
        error_message=string(error.get("message")),
        expires_at=expires_at(created),
        key=key_of(operation),
    )


def key_of(operation: _Json) -> str | None:
    """The submission key in the name that it was created with; None when the batch is not ours."""
    return key_in(str(_object(operation, "metadata").get("displayName") or ""))


def key_in(name: str) -> str | None:
    """The submission key in a display name; None when it has none."""
    return key_before(name.removeprefix(KEY_PREFIX)) if name.startswith(KEY_PREFIX) else None


def display_name(submission: Submission) -> str:
    """The name to create a batch with: the submission key, then its run and the job's description for people."""
    about = ": ".join(filter(None, (submission.title, submission.metadata.get("description"))))
    return f"{KEY_PREFIX}{submission.key_with(about)}"[:_NAME_CHARACTERS].rstrip()


def created_at(operation: _Json) -> datetime | None:
    """When it was created."""
    return time_of(_object(operation, "metadata").get("createTime"))


def expires_at(created: datetime | None) -> datetime | None:
    """When a batch made then is dropped."""
    return None if created is None else created + EXPIRES_AFTER


def _status(operation: _Json, metadata: _Json, error: _Json) -> BatchStatus:
    status = status_of(metadata.get("state"))
    if status.ended or not operation.get("done"):
        return status
    if not error:
        return BatchStatus.COMPLETED
    by_code = {_CANCELLED: BatchStatus.CANCELLED, _DEADLINE_EXCEEDED: BatchStatus.EXPIRED}
    return by_code.get(integer(error.get("code")) or 0, BatchStatus.FAILED)


def _result_files(operation: _Json, metadata: _Json) -> tuple[str, ...]:
    """The result file, wherever it is named, and whatever the state: results that exist are fetched."""
    response = _object(operation, "response")
    for node in (_object(metadata, "output"), response, _object(response, "output")):
        if node.get("responsesFile"):
            return (str(node["responsesFile"]),)
    return ()


def _error_code(error: _Json) -> str:
    number = integer(error.get("code"))
    if is_billing_refusal(reason_of(error), string(error.get("message"))):
        return BillingRefused.CODE
    return _REPOSTABLE.get(number or 0) or code_name(number) or "batch_failed"


def _count(counts: _Json, name: str) -> int | None:
    """An int64, written as text; one that is 0 is left out."""
    if not counts:
        return None
    return integer(counts.get(name, 0))


def _object(node: _Json, name: str) -> _Json:
    value = node.get(name)
    return value if isinstance(value, Mapping) else {}
