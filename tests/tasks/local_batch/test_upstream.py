"""Rows answered by an OpenAI-compatible real-time endpoint."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rigs.batch_service import StartBatchService
from tasks.local_batch.faults.unpaid import UNPAID
from tasks.local_batch.upstream import MAX_TRIES


class Model:
    """A real-time endpoint that counts what it is asked; `gate` makes it wait."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.under_way = self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self.closing = threading.Event()
        self.loading = 0  # calls that are told so
        self._lock = threading.Lock()
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model.keys.add(self.headers.get("authorization"))
                status, reply, headers = model.answer(self.path, body)
                if not status:
                    self.close_connection = True
                    return
                if reply == b"a byte at a time":
                    model.trickle(self)
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(reply))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        text = body["messages"][0]["content"]
        with self._lock:
            self.asked[text] += 1
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            times = self.asked[text]
        self.gate.wait(60)
        with self._lock:
            self.under_way -= 1
        assert path == "/v1/chat/completions"
        if times <= self.loading:
            return 503, b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}', {}
        if text == "bad":
            return (
                400,
                b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"no"}}',
                {},
            )
        if text == "page":
            return 404, b"<html>\n</html>", {}
        if text == "unpaid":
            unpaid = UNPAID["insufficient_quota"]
            return unpaid.status, json.dumps(unpaid.body).encode(), {}
        if text == "limited" and times == 1:
            return 429, b"{}", {"retry-after": "0"}
        if text == "lost":
            return 0, b"", {}
        if text == "trickling":
            return 200, b"a byte at a time", {}
        if text in ("gateway", "gateway's timeout"):
            return {"gateway": 502}.get(text, 504), b"<html>", {"retry-after": "0"}
        if text == "strange":
            return 200, b"<html>", {}
        if text == "compressed":
            return 200, b"no gzip", {"content-encoding": "gzip"}
        if text == "broken":
            return 500, b'{"error":{"message":"no","type":"server_error"}}', {"retry-after": "0"}
        if text == "shaky" and times == 1:
            return 503, b"<html>", {"retry-after": "0"}
        reply = {
            "choices": [{"message": {"content": f"« {text} »"}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        }
        return 200, json.dumps(reply, indent=1, ensure_ascii=False).encode(), {}

    def trickle(self, handler: BaseHTTPRequestHandler) -> None:
        """Send an answer that has no end, as fast as keeps every limit between two bytes."""
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("content-length", "1000000")
        handler.end_headers()
        with contextlib.suppress(OSError):  # the caller is gone
            while not self.closing.wait(0.01):
                handler.wfile.write(b" ")
                handler.wfile.flush()

    def close(self) -> None:
        self.closing.set()
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def model() -> Iterator[Model]:
    model = Model()
    yield model
    model.close()


def test_each_row_is_asked_once_and_failures_are_its_own(
    batch_service: StartBatchService, model: Model
) -> None:
    service = batch_service(
        upstream=model.url, concurrency=3, api_key_env="KEY", environ={"KEY": "upstreams-own"}
    )
    texts = [f"text {number}" for number in range(20)] + ["bad", "page", "unpaid", "limited", "shaky"]
    batch = service.run([service.chat(text, text) for text in texts])
    counts = batch.request_counts
    assert (batch.status, counts.completed, counts.failed) == ("completed", 22, 3)
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (66, 44)
    output = {line["custom_id"]: line["response"]["body"] for line in service.results(batch.output_file_id)}
    assert output["text 7"]["choices"][0]["message"]["content"] == "« text 7 »"
    errors = {line["custom_id"]: line["response"] for line in service.results(batch.error_file_id)}
    assert {name: error["status_code"] for name, error in errors.items()} == {
        "bad": 400,
        "page": 404,
        "unpaid": 429,
    }
    assert errors["bad"]["body"]["error"]["code"] == "no"
    assert model.asked == Counter(texts) + Counter(["limited", "shaky"])
    assert model.keys == {"Bearer upstreams-own"}
    assert model.most_at_once <= 3
    assert not any(
        b"upstreams-own" in path.read_bytes() for path in service.folder.rglob("*") if path.is_file()
    )


def test_a_killed_service_does_not_ask_answered_rows_again(
    batch_service: StartBatchService, model: Model
) -> None:
    service = batch_service(upstream=model.url, concurrency=2)
    rows = [service.chat(f"row-{number}", f"text {number}") for number in range(300)]
    created = service.submit(rows)
    service.wait(created.id, lambda batch: batch.request_counts.completed >= 30)
    service.kill()
    answered = (service.folder / "work" / created.id / "output.jsonl").read_bytes().count(b"\n")
    before = Counter(model.asked)
    service.start()
    batch = service.wait(created.id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 300)
    assert (model.asked - before).total() == 300 - answered
    assert model.asked.total() <= 300 + 2, "only what was under way may be asked twice"
    assert len({line["custom_id"] for line in service.results(batch.output_file_id)}) == 300


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_service_killed_at_calls_that_are_charged_does_not_make_them_again(
    batch_service: StartBatchService, model: Model, cancelled: bool
) -> None:
    service = batch_service(upstream=model.url, concurrency=2, asks_once=True)
    model.gate.clear()
    created = service.submit([service.chat(f"row-{number}", f"text {number}") for number in range(6)])
    service.wait(created.id, lambda batch: model.under_way == 2)
    under_way = {"row-" + text.removeprefix("text ") for text in model.asked}
    if cancelled:
        service.client().batches.cancel(created.id)
    service.kill()
    model.gate.set()
    service.start()
    batch = service.wait(created.id)
    counts = batch.request_counts
    assert (batch.status, counts.completed, counts.failed) == (
        ("cancelled", 0, 6) if cancelled else ("completed", 4, 2)
    )
    codes = {line["custom_id"]: line["error"]["code"] for line in service.results(batch.error_file_id)}
    assert {custom_id for custom_id, code in codes.items() if code == "reply_lost"} == under_way
    assert set(codes.values()) <= {"reply_lost", "batch_cancelled"}
    assert set(model.asked.values()) == {1}


def test_cancelling_waits_for_what_is_under_way_and_asks_no_more(
    batch_service: StartBatchService, model: Model
) -> None:
    service = batch_service(upstream=model.url, concurrency=2)
    model.gate.clear()
    created = service.submit([service.chat(f"row-{number}", f"text {number}") for number in range(10)])
    service.wait(created.id, lambda batch: model.under_way == 2)
    assert service.client().batches.cancel(created.id).status == "cancelling"
    model.gate.set()
    batch = service.wait(created.id)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("cancelled", 2, 8)
    assert model.asked.total() == 2


def asked_quickly(url: str, text: str = "", **settings: Any) -> Any:
    """The answer to one row, by an upstream whose waits are short."""
    import asyncio

    import msgspec

    from tasks.local_batch.protocol.lines import RequestLine
    from tasks.local_batch.upstream import UpstreamAnswerer

    async def ask() -> Any:
        upstream = UpstreamAnswerer(url, concurrency=1, api_key=None, first_wait_seconds=0.001, **settings)
        try:
            body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
            return await upstream.ask(RequestLine("a", "/v1/chat/completions", msgspec.Raw(body)))
        finally:
            await upstream.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("asks_once", [False, True])
def test_an_upstream_that_is_not_there_fails_the_row(asks_once: bool) -> None:
    answer = asked_quickly("http://127.0.0.1:9/v1", asks_once=asks_once)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["type"]) == (502, "server_error")
    assert "http://127.0.0.1:9/v1/chat/completions" in error["message"]


@pytest.mark.parametrize("text", ["lost", "gateway", "gateway's timeout", "strange", "compressed"])
def test_an_upstream_that_charges_is_not_asked_again_what_it_may_have_answered(
    model: Model, text: str
) -> None:
    answer = asked_quickly(model.url, text, asks_once=True)
    assert (answer.status, answer.error[0]) == (None, "reply_lost")
    assert "may have been answered, and paid for" in answer.error[1]
    assert model.asked[text] == 1


@pytest.mark.parametrize(
    ("text", "asked", "status"), [("shaky", 2, 200), ("limited", 2, 200), ("broken", MAX_TRIES, 500)]
)
def test_an_upstream_that_charges_is_asked_again_what_it_refused(
    model: Model, text: str, asked: int, status: int
) -> None:
    assert asked_quickly(model.url, text, asks_once=True).status == status
    assert model.asked[text] == asked


@pytest.mark.parametrize(("text", "asked"), [("lost", MAX_TRIES), ("gateway", MAX_TRIES), ("strange", 1)])
def test_one_that_charges_nothing_is_asked_again_when_a_reply_is_lost(
    model: Model, text: str, asked: int
) -> None:
    assert asked_quickly(model.url, text).status == 502
    assert model.asked[text] == asked


@pytest.mark.parametrize(("loading", "patience", "status"), [(40, 900.0, 200), (40, 0.0, 503)])
def test_a_model_that_is_loading_is_waited_for_longer_than_one_that_fails(
    model: Model, loading: int, patience: float, status: int
) -> None:
    model.loading = loading
    answer = asked_quickly(model.url, "hello", loading_seconds=patience)
    assert answer.status == status
    assert model.asked["hello"] == (loading + 1 if status == 200 else MAX_TRIES)


@pytest.mark.parametrize(("asks_once", "asked"), [(True, 1), (False, MAX_TRIES)])
def test_an_answer_that_trickles_has_an_end(model: Model, asks_once: bool, asked: int) -> None:
    answer = asked_quickly(model.url, "trickling", asks_once=asks_once, call_seconds=0.3)
    assert answer.error[0] == "reply_lost" if asks_once else answer.status == 502
    assert model.asked["trickling"] == asked


def test_an_answer_may_take_its_time(batch_service: StartBatchService, model: Model) -> None:
    service = batch_service(upstream=model.url, concurrency=1)
    model.gate.clear()
    created = service.submit([service.chat("slow", "slow"), service.chat("next", "next")])
    service.wait(created.id, lambda _: model.under_way == 1)
    threading.Timer(1.0, model.gate.set).start()
    batch = service.wait(created.id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 2)
    assert model.asked.total() == 2
