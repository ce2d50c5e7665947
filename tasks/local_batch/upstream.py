"""Answers from any OpenAI-compatible real-time endpoint: each row is posted by itself, a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

import httpx
import orjson

from tasks.local_batch.protocol.lines import Answer, Row, failure, usage_of

RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
MAX_TRIES: Final = 6
MAX_WAIT_SECONDS: Final = 60.0
TIMEOUT: Final = httpx.Timeout(600, connect=10)
# Model servers say 503 while they load, which takes a large model minutes: no row is given up meanwhile.
LOADING: Final = 503
LOADING_SECONDS: Final = 900.0


class Upstream:
    """An `Answerer`. `concurrency` bounds the requests under way over all batches together."""

    def __init__(
        self,
        base_url: str,
        *,
        concurrency: int,
        api_key: str | None,
        first_wait_seconds: float = 0.5,
        loading_seconds: float = LOADING_SECONDS,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._loading_seconds = loading_seconds
        self._ready_at = time.monotonic()  # when it last said anything but "loading"
        self._slots = asyncio.Semaphore(concurrency)
        self._first_wait = first_wait_seconds
        headers = {"content-type": "application/json"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=TIMEOUT,
            mounts={"all://127.0.0.1": None, "all://localhost": None},  # never through a proxy
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )

    async def close(self) -> None:
        """Drop the connections."""
        await self._client.aclose()

    async def run(
        self,
        blocks: Iterator[list[Row]],
        stopped: Callable[[], bool],
        keep: Callable[[list[Answer]], None],
        created: int,  # noqa: ARG002 - the upstream dates its own answers
    ) -> None:
        """Post rows as slots come free. A row under way when the batch stops is still waited for: it is paid."""

        async def one(row: Row) -> None:
            try:
                answer = await self.ask(row, stopped)
            finally:
                self._slots.release()
            if answer is not None:
                keep([answer])

        async with asyncio.TaskGroup() as group:
            for block in blocks:
                for row in block:
                    await self._slots.acquire()
                    if stopped():
                        self._slots.release()
                        return
                    group.create_task(one(row))

    async def ask(self, row: Row, stopped: Callable[[], bool] = lambda: False) -> Answer | None:
        """The upstream's answer to a row; None when the batch stopped while the row waited to be tried again."""
        url = self._base + row.url.removeprefix("/v1")
        tries = 0
        while True:
            hint: str | None = None
            try:
                reply = await self._client.post(url, content=bytes(row.body))
            except httpx.TransportError as error:
                answer = failure(
                    row.custom_id,
                    502,
                    f"The upstream did not answer at {url}: {type(error).__name__}.",
                    kind="server_error",
                )
            else:
                answer = _answer(row, reply)
                if reply.status_code not in RETRIED:
                    self._ready_at = time.monotonic()
                    return answer
                hint = reply.headers.get("retry-after")
            if not self._still_loading(answer):
                tries += 1
            if tries == MAX_TRIES:
                return answer
            await asyncio.sleep(self._wait(tries, hint))
            if stopped():
                return None

    def _still_loading(self, answer: Answer) -> bool:
        if answer.status != LOADING:
            self._ready_at = time.monotonic()
            return False
        return time.monotonic() - self._ready_at < self._loading_seconds

    def _wait(self, tries: int, hint: str | None) -> float:
        wait = self._first_wait * float(2 ** max(0, tries - 1)) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, no secret
        if hint is not None:
            with contextlib.suppress(ValueError):
                wait = max(0.0, float(hint))
        return min(wait, MAX_WAIT_SECONDS)


def _answer(row: Row, reply: httpx.Response) -> Answer:
    body = reply.content
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = reply.status_code if reply.status_code >= 400 else 502
        return failure(
            row.custom_id,
            status,
            f"The upstream sent no JSON (HTTP {reply.status_code}).",
            kind="server_error",
        )
    if b"\n" in body or b"\r" in body:  # pretty-printed: a result must be one line
        body = orjson.dumps(parsed)
    usage = usage_of(parsed.get("usage")) if reply.is_success and isinstance(parsed, dict) else None
    return Answer(row.custom_id, reply.status_code, body, usage=usage)
