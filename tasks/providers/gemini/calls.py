"""What a failed call to Gemini means: the SDK's exceptions in our words, on one line, without the key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from google.genai import errors

from configs.errors import ConfigError, LostReply, NightmailError, NotFound, TerminalError, TransientError
from tasks.providers.calls import plain

_AGAIN = (408, 409, 425, 429)  # besides 5xx


class GeminiCalls:
    """`key` is kept out of every message; `key_hint` says where it comes from."""

    def __init__(self, key: str, key_hint: str) -> None:
        self._key = key
        self._key_hint = key_hint

    @contextmanager
    def creating(self, what: str) -> Iterator[None]:
        """A 5xx, a dropped connection or a reply that is not one leaves open whether it was created."""
        try:
            yield
        except errors.APIError as error:
            meant = self._meant(what, error)
            if isinstance(meant, TransientError) and error.code != 429 and not _not_yet(error):
                raise LostReply(str(meant), retry_after_seconds=meant.retry_after_seconds) from error
            raise meant from error
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise LostReply(f"{what}: {self._plain(error)}") from error

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Whatever does not come may come later; a refusal is one for good."""
        try:
            yield
        except errors.APIError as error:
            raise self._meant(what, error) from error
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise TransientError(f"{what}: {self._plain(error)}") from error

    def _meant(self, what: str, error: errors.APIError) -> NightmailError:
        text = f"{what}: {self._said(error)}"
        if not 400 <= error.code < 500 or error.code in _AGAIN or _not_yet(error):
            return TransientError(text, retry_after_seconds=retry_after(error))
        if error.code == 404 or "may not exist" in (error.message or ""):
            return NotFound(text, code=error.status)  # Google says 403 of a file that is gone
        if error.code in (401, 403) or "API_KEY_INVALID" in str(error.details):
            return ConfigError(f"{text}; {self._key_hint}")
        return TerminalError(f"{text}; correct the job and run it again", code=error.status)

    def _said(self, error: errors.APIError) -> str:
        text = " ".join(str(error.message or error.status or "no reason given").split())[:300]
        return f"HTTP {error.code}: {self._without_key(text)}"

    def _plain(self, error: Exception) -> str:
        return self._without_key(plain(error))

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]")


def refused_as(error: TerminalError, *words: str) -> bool:
    """Whether the service's refusal holds all of these words."""
    return all(word in str(error) for word in words)


def retry_after(error: errors.APIError) -> float | None:
    """Seconds, from the header or from google.rpc.RetryInfo (`"retryDelay": "37s"`)."""
    headers = getattr(error.response, "headers", {})
    for value in (headers.get("retry-after", ""), *_delays(error.details)):
        if value.replace(".", "", 1).isdigit():
            return float(value)
    return None


def _delays(details: Any) -> list[str]:
    inner = details.get("error", details) if isinstance(details, dict) else {}
    listed = inner.get("details") if isinstance(inner, dict) else None
    kinds = [one for one in listed or () if isinstance(one, dict)]
    return [str(one["retryDelay"]).removesuffix("s") for one in kinds if "retryDelay" in one]


def _not_yet(error: errors.APIError) -> bool:
    """An upload that Google is still looking at."""
    return error.status == "FAILED_PRECONDITION" and "ACTIVE" in (error.message or "")
