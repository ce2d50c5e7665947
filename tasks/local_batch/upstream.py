"""Have rows answered by an OpenAI-compatible real-time endpoint: each row is posted by itself, a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Final

import httpx
import orjson

from configs.foreign_text import Redactor
from tasks.local_batch.protocol.lines import Answer, RequestLine, http_error, token_usage
from tasks.stages.wire.billing import is_billing_refusal

# 408, 409, 429 and 5xx as OpenAI's own SDK retries them; 425 Too Early; 529 is Anthropic's word for overloaded.
RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
MAX_TRIES: Final = 6
MAX_WAIT_SECONDS: Final = 60.0
# A long answer of a slow model takes minutes; OpenAI's SDK waits 600 s for one too.
TIMEOUT: Final = httpx.Timeout(600, connect=10)
# Model servers say 503 while they load, which takes a large model minutes: no row is given up meanwhile.
LOADING_STATUS: Final = 503
LOADING_SECONDS: Final = 900.0


class UpstreamAnswerer:
    """An `Answerer` that posts each row to a base URL; `concurrency` bounds the requests of all batches together."""

    def __init__(
        self,
        base_url: str,
        *,
        concurrency: int,
        api_key: str | None,
        first_wait_seconds: float = 0.5,
        loading_seconds: float = LOADING_SECONDS,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._loading_seconds = loading_seconds
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
        created: int,  # noqa: ARG002 - the upstream dates its own answers
    ) -> None:
        """Post rows as slots come free. A row under way when the batch stops is still waited for: it is paid."""

        async def answer_row(row: RequestLine) -> None:
            try:
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
            answer, response = await self._post(row)
            # By the status that came, not the answer's: a page of HTML with status 200 is no better the second time.
            if response is not None and (response.status_code not in RETRIED or _cannot_pay(answer)):
                self._last_not_loading = time.monotonic()
                return answer
            if not self._is_loading(answer):
                tries += 1
            if tries == MAX_TRIES:
                return answer
            retry_after = None if response is None else response.headers.get("retry-after")
            await asyncio.sleep(self._wait_seconds(tries, retry_after))
            if stopped():
                return None

    async def _post(self, row: RequestLine) -> tuple[Answer, httpx.Response | None]:
        """Post a row once: its answer, and the response that it was made of, if there was one."""
        url = self._base_url + row.url.removeprefix("/v1")
        try:
            response = await self._client.post(url, content=bytes(row.body))
        except httpx.TransportError as error:
            message = f"The upstream did not answer at {url}: {type(error).__name__}."
            return http_error(row.custom_id, 502, message, kind="server_error"), None
        return _answer(row, response, self._redactor.file_bytes(response.content)), response

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


def _cannot_pay(answer: Answer) -> bool:
    """Whether it refuses since the account has no money: a second call would be refused as well."""
    body = orjson.loads(answer.body)
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return False
    said = {name: str(error[name]) for name in ("code", "type", "message") if error.get(name)}
    return is_billing_refusal(said.get("code", said.get("type")), said.get("message"), answer.status)
