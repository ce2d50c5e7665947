"""A row of a batch on its way: what is asked, what came back, and the line that says so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import msgspec
import orjson

from tasks.local_batch.protocol.batch_object import Usage

# The wording of batch_expired is OpenAI's; the other one is not published.
UNDONE: Final = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}


class Row(msgspec.Struct):
    """A request line; `body` is its JSON as it was posted."""

    custom_id: str
    url: str
    body: msgspec.Raw


class Answer(msgspec.Struct):
    """`status` None means that no reply exists, and `error` says why; else `body` is the reply's JSON."""

    custom_id: str
    status: int | None
    body: bytes = b"null"
    error: tuple[str, str] | None = None
    usage: Usage | None = None

    @property
    def succeeded(self) -> bool:
        """A reply with a 2xx status."""
        return self.status is not None and 200 <= self.status < 300


class Answerer(Protocol):
    """Whoever answers rows."""

    async def run(
        self,
        blocks: Iterator[list[Row]],
        stopped: Callable[[], bool],
        keep: Callable[[list[Answer]], None],
        created: int,
    ) -> None:
        """Answer the rows of all blocks, handing over each answer as soon as it is there.

        Ends early, with what is under way kept, once `stopped()`. `created` is the time answers carry.
        """


def failure(custom_id: str, status: int, message: str, *, kind: str, code: str | None = None) -> Answer:
    """An HTTP error as a row's answer."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Answer(custom_id, status, orjson.dumps({"error": error}))


def undone(custom_id: str, ending: str) -> Answer:
    """A row that never ran because the batch ended: `expired` or `cancelled`."""
    return Answer(custom_id, None, error=UNDONE[ending])


def line_of(batch_id: str, answer: Answer) -> bytes:
    """The line of the output or error file, newline included. Ids in it depend on batch and row alone."""
    digest = hashlib.blake2b(f"{batch_id}/{answer.custom_id}".encode(), digest_size=28).hexdigest()
    custom_id = orjson.dumps(answer.custom_id)
    head = b'{"id":"batch_req_%b","custom_id":%b,"response":' % (digest[:24].encode(), custom_id)
    if answer.status is None:
        code, message = answer.error or ("request_timeout", "The request timed out.")
        return b'%bnull,"error":%b}\n' % (head, orjson.dumps({"code": code, "message": message}))
    return b'%b{"status_code":%d,"request_id":"%b","body":%b},"error":null}\n' % (
        head,
        answer.status,
        digest[24:].encode(),
        answer.body,
    )


def usage_of(usage: Any) -> Usage | None:
    """Tokens as any endpoint reports them, or None."""
    if not isinstance(usage, dict):
        return None
    asked = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    given = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=usage.get("prompt_tokens") or usage.get("input_tokens") or 0,
        cached_tokens=asked.get("cached_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or usage.get("output_tokens") or 0,
        reasoning_tokens=given.get("reasoning_tokens") or 0,
    )
