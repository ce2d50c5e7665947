"""OpenAI's Batch object with its counts and token usage, and the ids of batches."""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec

from tasks.local_batch.protocol.file_object import DEFAULT_RETENTION_SECONDS

# The statuses of https://platform.openai.com/docs/api-reference/batch/object that are not the end.
OPEN_STATUSES: Final = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


class RequestCounts(msgspec.Struct):
    """How many rows a batch has, and how many of them have an answer or an error."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class TokenUsage(msgspec.Struct):
    """Tokens that rows used, as the Batch object sums them up."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, other: TokenUsage) -> None:
        """Add another row's tokens."""
        self.input_tokens += other.input_tokens
        self.cached_tokens += other.cached_tokens
        self.output_tokens += other.output_tokens
        self.reasoning_tokens += other.reasoning_tokens

    def as_json(self) -> dict[str, Any]:
        """The `usage` of the Batch object."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.input_tokens + self.output_tokens,
        }


class StoredBatch(msgspec.Struct):
    """A batch as the service keeps it on record: the Batch object's fields, then what only the service needs.

    Times are unix seconds. The field names are those of the JSON in the database.
    """

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
    counts: RequestCounts = msgspec.field(default_factory=RequestCounts)
    usage: TokenUsage | None = None
    output_seconds: int = DEFAULT_RETENTION_SECONDS  # how long its result files are kept
    ending: str | None = None  # the terminal status it is on its way to, once its rows are done

    def as_json(self) -> dict[str, Any]:
        """The object that GET /v1/batches/{id} shows."""
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
            "usage": None if self.usage is None else self.usage.as_json(),
            "metadata": self.metadata,
        }


def new_batch_id() -> str:
    """`batch_` and 32 hex digits."""
    return f"batch_{secrets.token_hex(16)}"
