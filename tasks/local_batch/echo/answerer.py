"""Answers without a model: deterministic and instant. The default, so that nothing needs a key to be tried out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from tasks.local_batch.echo.replies import MAKERS, decode
from tasks.local_batch.protocol.lines import Answer, Row, failure


class Echo:
    """An `Answerer` that quotes the question, or fills in the schema it was given."""

    def __init__(self, rows_per_second: float | None = None) -> None:
        self._pace = rows_per_second

    async def run(
        self,
        blocks: Iterator[list[Row]],
        stopped: Callable[[], bool],
        keep: Callable[[list[Answer]], None],
        created: int,
    ) -> None:
        """Answer block after block in a thread, so that the service keeps replying meanwhile."""

        def step(rows: Iterator[list[Row]]) -> int:
            block = next(rows, None)
            if block is None:
                return 0
            keep([answer(row, created) for row in block])
            return len(block)

        pieces = blocks if self._pace is None else _cut(blocks, max(1, int(self._pace / 10)))
        due = time.monotonic()
        while not stopped() and (count := await asyncio.to_thread(step, pieces)):
            if self._pace is not None:
                due += count / self._pace
                await asyncio.sleep(due - time.monotonic())


def _cut(blocks: Iterator[list[Row]], size: int) -> Iterator[list[Row]]:
    for block in blocks:
        rows = iter(block)
        while piece := list(islice(rows, size)):
            yield piece


def answer(row: Row, created: int) -> Answer:
    """The echo's answer to one row."""
    maker = MAKERS.get(row.url)
    if maker is None:
        return failure(
            row.custom_id,
            400,
            f"{row.url} is not offered by the echo; set an upstream.",
            kind="invalid_request_error",
        )
    try:
        body = decode(row.body)
        reply, usage = maker(row, body, created)
    except (msgspec.DecodeError, ValueError) as error:
        return failure(row.custom_id, 400, str(error), kind="invalid_request_error", code="invalid_value")
    return Answer(row.custom_id, 200, reply, usage=usage)
