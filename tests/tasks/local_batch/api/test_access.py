"""Who may call the embedded service, and how much may be sent to it."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rigs.batch_service import KEY, BatchService
from tasks.local_batch.access_token import make_token, read_token
from tasks.local_batch.api import access
from tasks.local_batch.protocol.api_error import ApiError

ROUTES = [
    ("GET", "/health"),
    ("GET", "/v1/files"),
    ("GET", "/v1/batches"),
    ("POST", "/v1/files"),
    ("POST", "/v1/batches"),
    ("DELETE", "/v1/files/file-1"),
    ("GET", "/v1/files/file-1/content"),
    ("GET", "/nowhere"),
    ("POST", "/_faults"),
]


def status(service: BatchService, method: str, path: str, body: object = None, **headers: str) -> int:
    at = urlsplit(service.url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, named)  # type: ignore[arg-type]  # an iterator is sent chunked
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer wrong", KEY, f"Basic {KEY}", "Bearer \xff"])
def test_without_the_token_nothing_is_answered(
    shared_batch_service: BatchService, method: str, path: str, given: str
) -> None:
    headers = {"authorization": given} if given else {}
    assert status(shared_batch_service, method, path, **headers) == 401


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"origin": "https://example.com"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "example.com"}, 400),
        ({"host": "localhost"}, 200),
    ],
)
def test_web_pages_and_foreign_names_are_refused(
    shared_batch_service: BatchService, headers: dict[str, str], expected: int
) -> None:
    authorised = {"authorization": f"Bearer {KEY}", **headers}
    assert status(shared_batch_service, "GET", "/health", **authorised) == expected


def test_a_body_that_does_not_say_how_long_it_is_ends_at_the_limit(
    shared_batch_service: BatchService,
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1 << 20
            yield b"x" * (1 << 20)

    try:
        found = status(shared_batch_service, "POST", "/v1/batches", endless(), authorization=f"Bearer {KEY}")
    except OSError:  # the connection was closed while it still sent
        assert sent < 64 << 20
    else:
        assert found == 413


def test_an_upload_is_bounded_while_it_comes() -> None:
    blocks = iter([b"12345678", b"9", b"abc", b"never asked for"])

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": next(blocks), "more_body": True}

    async def read_all() -> None:
        limited = access.bounded(receive, limit=10)
        while True:
            await limited()

    with pytest.raises(ApiError) as caught:
        asyncio.run(read_all())
    assert caught.value.status == 413
    assert next(blocks) == b"never asked for"


def test_the_token_is_made_once_for_its_owner(tmp_path: Path) -> None:
    assert read_token(tmp_path) == ""
    token = make_token(tmp_path)
    assert len(token) > 30
    assert make_token(tmp_path) == token == read_token(tmp_path)
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
