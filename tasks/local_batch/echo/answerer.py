"""Answer rows without a model, instantly and the same way every time: the default, since it needs no key and no model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Final

import msgspec
import orjson

from tasks.local_batch.echo.replies import REPLY_BUILDERS
from tasks.local_batch.echo.request_body import decode_body
from tasks.local_batch.protocol.lines import Answer, RequestLine, http_error

_STEPS_A_SECOND: Final = 10  # of an echo that is slowed down: often enough to watch its progress


class EchoAnswerer:
    """An `Answerer` that quotes each question, or fills in the schema that the row asks for."""

    def __init__(self, rows_per_second: float | None = None) -> None:
        self._rows_per_second = rows_per_second

    async def run(
        self,
        blocks: Iterator[list[RequestLine]],
        stopped: Callable[[], bool],
        keep: Callable[[list[Answer]], None],
        sending: Callable[[str], Awaitable[None]],  # noqa: ARG002 - echoes cost nothing
        created: int,
    ) -> None:
        """Answer block after block in a thread, so that the service goes on answering HTTP calls meanwhile."""

        def answer_next(pending: Iterator[list[RequestLine]]) -> int:
            block = next(pending, None)
            if block is None:
                return 0
            keep([echo_answer(row, created) for row in block])
            return len(block)

        rate = self._rows_per_second
        pieces = blocks if rate is None else _split(blocks, max(1, int(rate / _STEPS_A_SECOND)))
        due = time.monotonic()
        while not stopped() and (count := await asyncio.to_thread(answer_next, pieces)):
            if rate is not None:
                due += count / rate  # from the start on, so that a slow step is made up for
                await asyncio.sleep(due - time.monotonic())


def _split(blocks: Iterator[list[RequestLine]], size: int) -> Iterator[list[RequestLine]]:
    for block in blocks:
        rows = iter(block)
        while piece := list(islice(rows, size)):
            yield piece


def echo_answer(row: RequestLine, created: int) -> Answer:
    """The echo's answer to one row: its endpoint's reply, or HTTP 400 where OpenAI would refuse the body."""
    build_reply = REPLY_BUILDERS.get(row.url)
    if build_reply is None:
        return http_error(
            row.custom_id,
            400,
            f"{row.url} is not offered by the echo; set an upstream.",
            kind="invalid_request_error",
        )
    # Not at the top: it brings pyarrow and pydantic along, and the service starts at once without them.
    from tasks.stages.wire.openai.refusals import refusals

    try:
        refused = next(refusals(row.url, orjson.loads(bytes(row.body))), None)
        if refused is not None:
            _, message = refused
            return http_error(row.custom_id, 400, message, kind="invalid_request_error", code="invalid_value")
        reply, usage = build_reply(row, decode_body(row.body), created)
    except (msgspec.DecodeError, ValueError) as error:
        return http_error(row.custom_id, 400, str(error), kind="invalid_request_error", code="invalid_value")
    return Answer(row.custom_id, 200, reply, usage=usage)
