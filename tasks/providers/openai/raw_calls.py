"""OpenAI's Files and Batches calls, each sent once with the SDK that runs use, their replies as they came (for `doctor`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from openai import DefaultHttpxClient, OpenAI

from configs.foreign_text import Redactor
from tasks.providers.calls import connection_error_text, status_error_text
from tasks.providers.deadlines import READING, with_deadlines
from tasks.providers.foreign import redacting
from tasks.providers.lost_replies import losing_replies
from tasks.providers.openai.replies import Record, page_of, record_of
from tasks.providers.redirects import check_redirect


@dataclass
class Refused(Exception):
    """The service refused a call; `status` None: it did not answer at all."""

    status: int | None
    text: str


class RawCalls:
    """Every method raises Refused with the service's own words."""

    def __init__(self, client: OpenAI) -> None:
        once = client.with_options(max_retries=0)
        self._files: Any = once.files.with_raw_response
        self._batches: Any = once.batches.with_raw_response
        self._models: Any = once.models.with_raw_response

    def models(self) -> list[Record]:
        """The models that can be asked."""
        return page_of(_sent(self._models.list))[0]

    def upload(self, name: str, content: bytes, expires_after: Any = openai.omit) -> Record:
        """Upload a request file."""
        file = (name, content, "application/jsonl")
        return record_of(_sent(self._files.create, file=file, purpose="batch", expires_after=expires_after))

    def files(self) -> list[Record]:
        """The first page of files, newest first."""
        return page_of(_sent(self._files.list, order="desc"))[0]

    def content(self, file_id: str) -> bytes:
        """A file's bytes."""
        return _sent(self._files.content, file_id)

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        _sent(self._files.delete, file_id)

    def create(self, **fields: Any) -> Record:
        """Create a batch."""
        return record_of(_sent(self._batches.create, **fields))

    def batches(self, limit: int, after: str | None = None) -> list[Record]:
        """A page of batches."""
        return page_of(_sent(self._batches.list, limit=limit, after=after or openai.omit))[0]

    def retrieve(self, batch_id: str) -> Record:
        """A batch as it is now."""
        return record_of(_sent(self._batches.retrieve, batch_id))

    def cancel(self, batch_id: str) -> None:
        """Ask for a batch's end."""
        _sent(self._batches.cancel, batch_id)


def raw_calls_at(url: str, key: str | None, *, lose_replies: bool = False) -> RawCalls:
    """The calls of the service at `url`; without a key, one that says nothing is sent.

    With `lose_replies` every call arrives there, and its connection breaks before the reply is read: all raise Refused.
    """
    address = urlsplit(url)
    loopback = address.hostname in ("127.0.0.1", "localhost", "::1")
    # A proxy must not see loopback traffic.
    http = with_deadlines(
        DefaultHttpxClient(trust_env=not loopback, timeout=READING, event_hooks={"request": [check_redirect]})
    )
    if lose_replies:
        http = losing_replies(http, is_https=address.scheme == "https")
    calls = RawCalls(OpenAI(api_key=key or "none", base_url=url, http_client=http))
    return redacting(calls, Redactor([key]))


def _sent(call: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    try:
        return bytes(call(*args, **kwargs).content)
    except openai.APIStatusError as error:
        raise Refused(error.status_code, status_error_text(error)) from error
    except (openai.APIConnectionError, httpx2.HTTPError) as error:
        raise Refused(None, connection_error_text(error)) from error
