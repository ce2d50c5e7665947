"""The objects of OpenAI's Files and Batches protocol, their ids, and the shape of its errors."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Any, Final

import msgspec

INPUT_SECONDS: Final = 30 * 86_400  # how long a batch input file is kept unless it says otherwise
OPEN: Final = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


class ApiError(Exception):
    """An HTTP error as OpenAI words it."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        """The JSON of the reply."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class Counts(msgspec.Struct):
    """Rows of a batch."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class Usage(msgspec.Struct):
    """Tokens of a batch."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, other: Usage) -> None:
        """Count another row's tokens."""
        self.input_tokens += other.input_tokens
        self.cached_tokens += other.cached_tokens
        self.output_tokens += other.output_tokens
        self.reasoning_tokens += other.reasoning_tokens

    def wire(self) -> dict[str, Any]:
        """As the batch object shows it."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.input_tokens + self.output_tokens,
        }


class StoredFile(msgspec.Struct):
    """A file object; times are unix seconds."""

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str

    def wire(self) -> dict[str, Any]:
        """As GET /files/{id} shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


class Batch(msgspec.Struct):
    """A batch as it is stored: the wire object's fields, then what only the service needs."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    metadata: dict[str, str] | None
    status: str = "validating"
    model: str | None = None
    errors: list[dict[str, Any]] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    counts: Counts = msgspec.field(default_factory=Counts)
    usage: Usage | None = None
    output_seconds: int = INPUT_SECONDS
    ending: str | None = None  # the terminal status it is on its way to, once its rows are done

    def wire(self) -> dict[str, Any]:
        """As GET /batches/{id} shows it."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": None if self.errors is None else {"object": "list", "data": self.errors},
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "in_progress_at": self.in_progress_at,
            "expires_at": self.expires_at,
            "finalizing_at": self.finalizing_at,
            "completed_at": self.completed_at,
            "failed_at": self.failed_at,
            "expired_at": self.expired_at,
            "cancelling_at": self.cancelling_at,
            "cancelled_at": self.cancelled_at,
            "request_counts": msgspec.to_builtins(self.counts),
            "usage": None if self.usage is None else self.usage.wire(),
            "metadata": self.metadata,
        }


def unix_now() -> int:
    """Whole seconds, as the protocol counts time."""
    return int(time.time())


def new_batch_id() -> str:
    """`batch_` and 32 hex digits."""
    return f"batch_{secrets.token_hex(16)}"


def new_file_id() -> str:
    """`file-` and 22 characters."""
    return f"file-{secrets.token_hex(11)}"


def result_file_id(batch_id: str, kind: str) -> str:
    """The same id every time, so that publishing a batch's results can be repeated after a crash."""
    return f"file-{hashlib.blake2b(f'{batch_id}/{kind}'.encode(), digest_size=11).hexdigest()}"
