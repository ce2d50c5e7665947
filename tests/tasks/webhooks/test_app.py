"""The receiver over HTTP: which deliveries are taken, which are sent again, and what is refused before it is read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from rigs.signed import OTHER_SECRET, SECRET, event, signed
from tasks.ledger.store import Ledger
from tasks.webhooks.app import build_app
from tasks.webhooks.receiver import Receiver

from .conftest import BATCH, RUN, Server

BODY = event(BATCH)
PATH = "/webhooks/openai"


@pytest.fixture
def client(receiver: Receiver) -> TestClient:
    """A client behind the proxy of another host."""
    return TestClient(
        build_app(receiver), base_url="https://hooks.example.com", raise_server_exceptions=False
    )


def test_a_genuine_one_is_taken_and_may_be_sent_again(client: TestClient, server: Server) -> None:
    for _ in range(2):
        answer = client.post(PATH, content=BODY, headers=signed(BODY))
        assert (answer.status_code, answer.content) == (204, b"")
    assert len(server.waked) == 1


def test_one_of_which_nobody_knows_is_not_to_be_sent_again(client: TestClient, server: Server) -> None:
    body = event("batch_of_others")
    assert client.post(PATH, content=body, headers=signed(body)).status_code == 204
    assert client.post("/webhooks/gemini", content=BODY, headers=signed(BODY)).status_code == 204
    assert server.waked == []


def test_a_forgery_is_refused_and_told(client: TestClient, ledger: Ledger, notes: list[str]) -> None:
    answer = client.post(PATH, content=BODY, headers=signed(BODY, secret=OTHER_SECRET))
    assert answer.status_code == 401
    assert client.post(PATH, content=BODY).status_code == 401
    assert [note.partition(":")[2].strip() for note in notes] == [
        "refused a webhook: The given webhook signature does not match the expected signature",
        "refused a webhook: The webhook is not signed",
    ]
    assert all(chunk.not_before is not None for chunk in ledger.chunks(RUN))
    assert SECRET[6:] not in answer.text + "".join(notes)


def test_what_cannot_be_done_now_is_to_be_sent_again(
    client: TestClient, server: Server, notes: list[str]
) -> None:
    server.away = 1
    assert client.post(PATH, content=BODY, headers=signed(BODY)).status_code == 503
    assert "the Prefect server does not answer" in notes[0]
    assert client.post(PATH, content=BODY, headers=signed(BODY)).status_code == 204
    assert len(server.waked) == 1


@pytest.mark.parametrize("length_is_said", [True, False])
def test_a_body_beyond_64_kib_is_not_read(client: TestClient, server: Server, length_is_said: bool) -> None:
    large = event(BATCH, text="x" * 70_000)
    pieces = (large[start : start + 1_000] for start in range(0, len(large), 1_000))
    content: bytes | Iterator[bytes] = large if length_is_said else pieces
    answer = client.post(PATH, content=content, headers=signed(large))
    assert answer.status_code == 413
    assert server.waked == []
    just_so = event(BATCH, text="x" * 65_000)
    assert client.post(PATH, content=just_so, headers=signed(just_so)).status_code == 204


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", PATH, 405),
        ("PUT", PATH, 405),
        ("POST", "/webhooks/anthropic", 404),
        ("POST", "/webhooks/", 404),
        ("POST", "/webhooks/openai/more", 404),
        ("POST", "/", 404),
    ],
)
def test_there_is_nothing_else(
    client: TestClient, server: Server, method: str, path: str, status: int
) -> None:
    assert client.request(method, path, content=BODY, headers=signed(BODY)).status_code == status
    assert server.waked == []
