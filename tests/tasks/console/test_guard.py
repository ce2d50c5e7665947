"""Which requests the console takes, and the headers of its answers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from configs.clock import SystemClock
from configs.home import Home
from rigs.console import Noted, client_of, console_over
from rigs.signed import SECRET, event, signed
from tasks.orchestration.other_runs import NoServer
from tasks.providers.registry import webhook_readers
from tasks.webhooks.receiver import Receiver

PAGES = (
    "/runs",
    "/batches",
    "/jobs",
    "/jobs/letters.yaml",
    "/budgets",
    "/runs/none",
    "/static/console.css",
    "/nowhere",
)
START = "/jobs/letters.yaml"


@pytest.fixture
def noted() -> Noted:
    """What was done."""
    return Noted()


@pytest.fixture
def token_and_client(home: Home, job_file: Path, noted: Noted) -> tuple[str, TestClient]:
    """A console with actions: its token, and a client of it."""
    console = console_over(home, job_file, actions=noted)
    return console.token, client_of(console)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8500", 200),
        ("127.0.0.1:8500", 200),
        ("LOCALHOST", 200),
        ("[::1]:8500", 200),
        ("127.0.0.1:9000", 200),  # through an ssh tunnel
        ("attacker.example:8500", 421),
        ("localhost.attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
        ("192.168.0.7:8500", 421),
        ("localhost@attacker.example", 421),
        ("attacker.example@localhost", 421),
        ("localhost/attacker.example", 421),
        ("localhost.", 421),
        ("127.1", 421),
        ("[::ffff:127.0.0.1]", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_request_to_another_host_is_refused(
    token_and_client: tuple[str, TestClient], host: str, status: int
) -> None:
    _, client = token_and_client
    assert client.get("/runs", headers={"host": host}).status_code == status


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_lets_nothing_in_and_is_shown_nowhere_else(
    token_and_client: tuple[str, TestClient], path: str
) -> None:
    _, client = token_and_client
    for answer in (
        client.get(path),
        client.get(path, headers={"host": "attacker.example"}),
        client.post(path),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [
        ({}, True, 200),
        ({"origin": "http://localhost:8500", "sec-fetch-site": "same-origin"}, True, 200),
        ({}, False, 403),
        ({"origin": "https://attacker.example"}, True, 403),
        ({"origin": "http://localhost:3000"}, True, 403),
        ({"origin": "null"}, True, 403),
        ({"origin": "http://["}, True, 403),
        ({"sec-fetch-site": "cross-site"}, True, 403),
        ({"sec-fetch-site": "same-site"}, True, 403),
        ({"content-length": "100000000"}, True, 413),
        ({"content-length": "x"}, True, 413),
    ],
)
def test_a_form_is_taken_only_from_our_own_pages(
    token_and_client: tuple[str, TestClient], noted: Noted, headers: dict[str, str], token: bool, status: int
) -> None:
    secret, client = token_and_client
    answer = client.post(
        START, data={"key": "k", "form_id": "f", **({"token": secret} if token else {})}, headers=headers
    )
    assert answer.status_code == status, answer.text
    assert len(noted.asked) == (status == 200)


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("none", "navigate", "document", 200),
        ("same-origin", "cors", "empty", 200),
        ("cross-site", "navigate", "document", 200),  # a link in a mail or a chat
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "no-cors", "image", 403),
        ("same-site", "cors", "empty", 403),
    ],
)
def test_other_pages_may_link_here_and_load_nothing(
    token_and_client: tuple[str, TestClient], site: str, mode: str, dest: str, status: int
) -> None:
    _, client = token_and_client
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    assert client.get("/jobs/letters.yaml", headers=headers).status_code == status


@pytest.mark.parametrize("token", ["", "é", "x" * 43])
def test_a_wrong_token_is_refused(token_and_client: tuple[str, TestClient], noted: Noted, token: str) -> None:
    _, client = token_and_client
    answer = client.post(START, data={"token": token, "form_id": "f"})
    assert answer.status_code == 403
    assert "open the page again" in answer.text
    assert noted.asked == []


def test_without_actions_every_form_is_refused_in_one_line(home: Home, job_file: Path) -> None:
    console = console_over(home, job_file)
    answer = client_of(console).post(START, data={"token": console.token})
    assert answer.status_code == 403
    assert answer.text == "nightmail: actions are off; start it with `nightmail console --allow-actions`\n"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_there_is_nothing_but_reading_and_forms(
    token_and_client: tuple[str, TestClient], method: str
) -> None:
    _, client = token_and_client
    assert client.request(method, "/runs").status_code == 405


def test_webhooks_come_from_elsewhere_and_pass_by_the_guard_while_nothing_else_does(
    home: Home, job_file: Path
) -> None:
    body = event("batch_of_nobody")
    headers = {**signed(body), "host": "hooks.example.com"}
    without = client_of(console_over(home, job_file))
    assert without.post("/webhooks/openai", content=body, headers=headers).status_code == 421
    clock = SystemClock()
    readers = webhook_readers({"OPENAI_WEBHOOK_SECRET": SECRET}, clock)
    receiver = Receiver(readers, home, clock, lambda: nullcontext(NoServer()), lambda _: None)
    client = client_of(replace(console_over(home, job_file), webhooks=receiver))
    assert client.post("/webhooks/openai", content=body, headers=headers).status_code == 204
    forged = {**headers, "webhook-id": "evt_2"}
    assert client.post("/webhooks/openai", content=body, headers=forged).status_code == 401
    assert client.get("/runs").status_code == 200
    for path in ("/runs", "/webhooks", "//webhooks/openai", START):
        assert client.post(path, content=body, headers=headers).status_code == 421
    assert not home.folder.exists()
