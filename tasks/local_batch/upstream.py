"""Have rows answered by an OpenAI-compatible real-time endpoint: each row is posted by itself, a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple

import httpx
import orjson

from configs.foreign_text import Redactor
from tasks.local_batch.protocol.lines import Answer, RequestLine, http_error, reply_lost, token_usage
from tasks.stages.wire.billing import is_billing_refusal

# 408, 409, 429 and 5xx as OpenAI's own SDK retries them; 425 Too Early; 529 is Anthropic's word for overloaded.
RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# Errors of an upstream itself. Any other above 499 is a gateway's, which may have lost the answer, as 504 says.
_REFUSED_BY_UPSTREAM: Final = frozenset({500, 503, 529})
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
MAX_TRIES: Final = 6
MAX_WAIT_SECONDS: Final = 60.0
# A long answer of a slow model takes minutes; OpenAI's SDK waits 600 s for one too.
TIMEOUT: Final = httpx.Timeout(600, connect=10)
# Of a whole call: the above starts anew with every byte, so that an answer which trickles would have no end.
CALL_SECONDS: Final = 1200.0
# Model servers say 503 while they load, which takes a large model minutes: no row is given up meanwhile.
LOADING_STATUS: Final = 503
LOADING_SECONDS: Final = 900.0


class _Reply(NamedTuple):
    """What came of a call; `again` says whether another may be made, and `retry_after` when the upstream wants it."""

    answer: Answer
    again: bool
    retry_after: str | None = None


class UpstreamAnswerer:
    """An `Answerer` that posts each row to a base URL; `concurrency` bounds the requests of all batches together.

    With `asks_once` the upstream charges: a call that may have been answered, though its reply is lost, is not made again.
    """

    def __init__(
        self,
        base_url: str,
        *,
        concurrency: int,
        api_key: str | None,
        asks_once: bool = False,
        first_wait_seconds: float = 0.5,
        loading_seconds: float = LOADING_SECONDS,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._asks_once = asks_once
        self._loading_seconds = loading_seconds
        self._call_seconds = call_seconds
        self._last_not_loading = time.monotonic()  # when it last said anything but "loading"
        self._slots = asyncio.Semaphore(concurrency)
        self._first_wait_seconds = first_wait_seconds
        headers = {"content-type": "application/json"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._redactor = Redactor([api_key])  # an upstream may repeat it, and answers are kept
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
        blocks: Iterator[list[RequestLine]],
        stopped: Callable[[], bool],
        keep: Callable[[list[Answer]], None],
        sending: Callable[[str], Awaitable[None]],
        created: int,  # noqa: ARG002 - the upstream dates its own answers
    ) -> None:
        """Post rows as slots come free. A row under way when the batch stops is still waited for: it is paid."""

        async def answer_row(row: RequestLine) -> None:
            try:
                if self._asks_once:
                    await sending(row.custom_id)
                answer = await self.ask(row, stopped)
            finally:
                self._slots.release()
            if answer is not None:
                keep([answer])

        async with asyncio.TaskGroup() as group:
            for block in blocks:
                for row in block:
                    # Taken before the task is made: a batch of 50,000 rows must not become 50,000 waiting tasks.
                    await self._slots.acquire()
                    if stopped():
                        self._slots.release()
                        return
                    group.create_task(answer_row(row))

    async def ask(self, row: RequestLine, stopped: Callable[[], bool] = lambda: False) -> Answer | None:
        """The upstream's answer to a row; None when the batch stopped while the row waited to be tried again."""
        tries = 0
        while True:
            reply = await self._post(row)
            if not reply.again:
                self._last_not_loading = time.monotonic()
                return reply.answer
            if not self._is_loading(reply.answer):
                tries += 1
            if tries == MAX_TRIES:
                return reply.answer
            await asyncio.sleep(self._wait_seconds(tries, reply.retry_after))
            if stopped():
                return None

    async def _post(self, row: RequestLine) -> _Reply:
        """Post a row once."""
        url = self._base_url + row.url.removeprefix("/v1")
        try:
            async with asyncio.timeout(self._call_seconds):
                response = await self._client.post(url, content=bytes(row.body))
        except (httpx.RequestError, TimeoutError) as error:
            message = f"The upstream did not answer at {url}: {type(error).__name__}."
            if self._asks_once and not isinstance(error, _NEVER_SENT):
                return _Reply(reply_lost(row.custom_id, message), again=False)
            return _Reply(http_error(row.custom_id, 502, message, kind="server_error"), again=True)
        answer = _answer(row, response, self._redactor.file_bytes(response.content))
        if self._asks_once and _is_in_doubt(answer):
            message = f"What came from {url} is no answer (HTTP {response.status_code})."
            return _Reply(reply_lost(row.custom_id, message), again=False)
        # By the status that came, not the answer's: a page of HTML with status 200 is no better the second time.
        again = response.status_code in RETRIED and not _cannot_pay(answer)
        return _Reply(answer, again, response.headers.get("retry-after"))

    def _is_loading(self, answer: Answer) -> bool:
        """Whether the upstream has only said "loading" for less than the patience there is for it."""
        if answer.status != LOADING_STATUS:
            self._last_not_loading = time.monotonic()
            return False
        return time.monotonic() - self._last_not_loading < self._loading_seconds

    def _wait_seconds(self, tries: int, retry_after: str | None) -> float:
        # Jitter, so that rows which failed together do not come back together.
        jitter = random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        wait = self._first_wait_seconds * float(2 ** max(0, tries - 1)) * jitter
        if retry_after is not None:
            with contextlib.suppress(ValueError):  # an HTTP date
                wait = max(0.0, float(retry_after))
        return min(wait, MAX_WAIT_SECONDS)


def _answer(row: RequestLine, response: httpx.Response, body: bytes) -> Answer:
    """The response as a row's answer, the bytes of its body kept as they are given."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = response.status_code if response.status_code >= 400 else 502
        message = f"The upstream sent no JSON (HTTP {response.status_code})."
        return http_error(row.custom_id, status, message, kind="server_error")
    if b"\n" in body or b"\r" in body:  # pretty-printed: a result must be one line
        body = orjson.dumps(parsed)
    usage = token_usage(parsed.get("usage")) if response.is_success and isinstance(parsed, dict) else None
    return Answer(row.custom_id, response.status_code, body, usage=usage)


def _is_in_doubt(answer: Answer) -> bool:
    """Whether the upstream may have answered, and what came is not its answer: a gateway's error, or no JSON."""
    return answer.status is not None and answer.status >= 500 and answer.status not in _REFUSED_BY_UPSTREAM


def _cannot_pay(answer: Answer) -> bool:
    """Whether it refuses since the account has no money: a second call would be refused as well."""
    body = orjson.loads(answer.body)
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return False
    said = {name: str(error[name]) for name in ("code", "type", "message") if error.get(name)}
    return is_billing_refusal(said.get("code", said.get("type")), said.get("message"), answer.status)
