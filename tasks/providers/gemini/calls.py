"""Turn the errors of Google's SDK into Nightmail's, on one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx2
from google.genai import errors

from configs.errors import (
    BillingRefused,
    ConfigError,
    LostReply,
    NightmailError,
    NotFound,
    TerminalError,
    TransientError,
)
from tasks.providers.calls import connection_error_text
from tasks.providers.http_headers import retry_after, seconds_in
from tasks.providers.shared_client import CallsUnderWay
from tasks.stages.wire.billing import is_billing_refusal
from tasks.stages.wire.gemini.results import reason_of

_TRANSIENT_STATUSES = (408, 409, 425, 429)  # besides 5xx


class GeminiCalls:
    """Context managers around the SDK's calls, which count those under way. `key_hint` is the next step when the key is refused."""

    def __init__(self, key_hint: str) -> None:
        self._key_hint = key_hint
        self.under_way = CallsUnderWay()

    @contextmanager
    def creating(self, subject: str) -> Iterator[None]:
        """For calls that create something: a 5xx, a dropped connection or a reply that is not one leaves open whether they did."""
        try:
            with self.under_way.call():
                yield
        except errors.APIError as error:
            translated = self._translated(subject, error)
            refused = error.code == 429 or isinstance(translated, BillingRefused) or _not_yet(error)
            if isinstance(translated, TransientError) and not refused:
                seconds = translated.retry_after_seconds
                raise LostReply(str(translated), retry_after_seconds=seconds) from error
            raise translated from error
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise LostReply(f"{subject}: {connection_error_text(error)}") from error

    @contextmanager
    def reading(self, subject: str) -> Iterator[None]:
        """For all other calls: whatever does not come may come later; a refusal is one for good."""
        try:
            with self.under_way.call():
                yield
        except errors.APIError as error:
            raise self._translated(subject, error) from error
        except (httpx2.HTTPError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise TransientError(f"{subject}: {connection_error_text(error)}") from error

    def _translated(self, subject: str, error: errors.APIError) -> NightmailError:
        text = f"{subject}: {self._status_error_text(error)}"
        if is_billing_refusal(reason_of(_error_object(error.details)), error.message, error.code):
            return BillingRefused(text)
        if not 400 <= error.code < 500 or error.code in _TRANSIENT_STATUSES or _not_yet(error):
            return TransientError(text, retry_after_seconds=_delay(error))
        if error.code == 404 or "may not exist" in (error.message or ""):
            return NotFound(text, code=error.status)  # Google says 403 of a file that is gone
        if error.code in (401, 403) or "API_KEY_INVALID" in str(error.details):
            return ConfigError(f"{text}; {self._key_hint}")
        return TerminalError(f"{text}; correct the job and run it again", code=error.status)

    @staticmethod
    def _status_error_text(error: errors.APIError) -> str:
        text = " ".join(str(error.message or error.status or "no reason given").split())[:300]
        return f"HTTP {error.code}: {text}"


def refused_as(error: TerminalError, *words: str) -> bool:
    """Whether the service's refusal holds all of these words."""
    return all(word in str(error) for word in words)


def _delay(error: errors.APIError) -> float | None:
    """Seconds to wait, from the headers or from google.rpc.RetryInfo."""
    by_header = retry_after(getattr(error.response, "headers", {}), datetime.now(UTC))
    return _retry_info(error.details) if by_header is None else by_header


def _retry_info(details: Any) -> float | None:
    """`{"@type": ".../google.rpc.RetryInfo", "retryDelay": "37s"}` among an error's details, in seconds.

    https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
    """
    entries = _error_object(details).get("details")
    delays = (
        seconds_in(str(entry["retryDelay"]).removesuffix("s"))
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and "retryDelay" in entry
    )
    return next((seconds for seconds in delays if seconds is not None), None)


def _error_object(details: Any) -> dict[str, Any]:
    """The error in the SDK's details, out of its envelope."""
    inner = details.get("error", details) if isinstance(details, dict) else {}
    return inner if isinstance(inner, dict) else {}


def _not_yet(error: errors.APIError) -> bool:
    """An upload that Google is still looking at."""
    return error.status == "FAILED_PRECONDITION" and "ACTIVE" in (error.message or "")
