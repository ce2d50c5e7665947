"""A row of a batch: its request line, who answers it, its answer, and the line of the output or error file.

Wording of the result lines: https://platform.openai.com/docs/api-reference/batch/request-output
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Literal, Protocol

import msgspec
import orjson

from tasks.local_batch.protocol.batch_object import TokenUsage
from tasks.stages.wire.outcome import REPLY_LOST

EarlyEnding = Literal["expired", "cancelled"]

# Code and message of rows that never ran. The wording of batch_expired is OpenAI's; that of batch_cancelled is not
# published, only its code is.
UNANSWERED_ERRORS: Final[dict[EarlyEnding, tuple[str, str]]] = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}
_TIMEOUT_ERROR: Final = ("request_timeout", "The request timed out.")


class RequestLine(msgspec.Struct):
    """A line of the input file, as far as it is read; `body` is its JSON as it was posted."""

    custom_id: str
    url: str
    body: msgspec.Raw


class Answer(msgspec.Struct):
    """What came back for a row.

    `status` is the HTTP status and `body` the JSON of the reply; `status` None means that there is no reply, and
    `error` (code, message) says why.
    """

    custom_id: str
    status: int | None
    body: bytes = b"null"
    error: tuple[str, str] | None = None
    usage: TokenUsage | None = None

    @property
    def succeeded(self) -> bool:
        """A reply with a 2xx status."""
        return self.status is not None and 200 <= self.status < 300


class Answerer(Protocol):
    """Whoever answers rows."""

    async def run(
        self,
        blocks: Iterator[list[RequestLine]],
        stopped: Callable[[], bool],
        keep: Callable[[list[Answer]], None],
        sending: Callable[[str], Awaitable[None]],
        created: int,
    ) -> None:
        """Answer the rows of all blocks, handing each answer to `keep` as soon as it is there.

        Ends early once `stopped()`, with what is under way kept: it is paid. `created` is the time answers carry. A row that
        must not be asked again after a crash is told to `sending` by its custom_id before it is asked.
        """


def http_error(custom_id: str, status: int, message: str, *, kind: str, code: str | None = None) -> Answer:
    """An answer that is an HTTP error. Its details are in the reply's body; the line's own `error` stays null."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return Answer(custom_id, status, orjson.dumps({"error": error}))


def unanswered(custom_id: str, ending: EarlyEnding) -> Answer:
    """The answer of a row that never ran because its batch ended early."""
    return Answer(custom_id, None, error=UNANSWERED_ERRORS[ending])


def reply_lost(custom_id: str, how: str) -> Answer:
    """The answer of a row whose call was sent and has no reply."""
    message = f"{how} The call may have been answered, and paid for; it is not made again."
    return Answer(custom_id, None, error=(REPLY_LOST, message))


def result_line(batch_id: str, answer: Answer) -> bytes:
    """The answer's line in the output or error file, newline included.

    The ids in it are hashes of batch and row, so that a line written again after a crash is the same line. Put
    together by hand, because the body must stay the bytes that came: parsing them to write them again could change
    a number or an escape.
    """
    digest = hashlib.blake2b(f"{batch_id}/{answer.custom_id}".encode(), digest_size=28).hexdigest()
    custom_id = orjson.dumps(answer.custom_id)
    head = b'{"id":"batch_req_%b","custom_id":%b,"response":' % (digest[:24].encode(), custom_id)
    if answer.status is None:
        code, message = answer.error or _TIMEOUT_ERROR
        return b'%bnull,"error":%b}\n' % (head, orjson.dumps({"code": code, "message": message}))
    return b'%b{"status_code":%d,"request_id":"%b","body":%b},"error":null}\n' % (
        head,
        answer.status,
        digest[24:].encode(),
        answer.body,
    )


def token_usage(usage: Any) -> TokenUsage | None:
    """The `usage` of a reply as one type, or None where it has none.

    Chat, completions and embeddings say `prompt_tokens` and `completion_tokens`; Responses and images say
    `input_tokens` and `output_tokens`.
    """
    if not isinstance(usage, dict):
        return None
    input_details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    output_details = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    return TokenUsage(
        input_tokens=usage.get("prompt_tokens") or usage.get("input_tokens") or 0,
        cached_tokens=input_details.get("cached_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or usage.get("output_tokens") or 0,
        reasoning_tokens=output_details.get("reasoning_tokens") or 0,
    )
