"""`nightmail webhooks` as a command: what it needs, where it listens, and that it ends when it is told to."""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from rigs.command_line import nightmail, started
from rigs.signed import OTHER_SECRET, SECRET, event, signed
from rigs.workspace import Workspace


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret but those of the test."""
    for name in ("OPENAI_WEBHOOK_SECRET", "GEMINI_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The status of the answer."""
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_without_a_secret_it_says_which_ones_there_are(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nightmail("webhooks") == 2
    assert "OPENAI_WEBHOOK_SECRET or GEMINI_WEBHOOK_SECRET: not set" in capsys.readouterr().err


def test_a_key_in_place_of_a_secret_is_named_and_not_shown(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", "sk-secret")
    for command in ("webhooks", "console"):
        assert nightmail(command, "--port", "0") == 2
        said = capsys.readouterr().err
        assert said.startswith("nightmail: OPENAI_WEBHOOK_SECRET: is no signing secret")
        assert "sk-secret" not in said


def test_an_address_that_cannot_be_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert nightmail("webhooks", "--port", port) == 2
    assert f"--port {port}: Address already in use" in capsys.readouterr().err
    assert nightmail("webhooks", "--port", "0", "--host", "192.0.2.1") == 2  # for examples: nobody has it
    assert "--host 192.0.2.1: " in capsys.readouterr().err


def test_it_prints_its_addresses_answers_there_and_ends_when_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("GEMINI_WEBHOOK_SECRET", OTHER_SECRET)
    process = started(workspace, "webhooks", "--port", "0")
    body = event("batch_of_nobody")
    try:
        assert process.stdout is not None
        addresses = {urlsplit(process.stdout.readline().strip()) for _ in range(2)}
        assert {address.path for address in addresses} == {"/webhooks/openai", "/webhooks/gemini"}
        (openai,) = (address.geturl() for address in addresses if address.path.endswith("openai"))
        assert post(openai, body, signed(body)) == 204
        assert post(openai, body, signed(body, secret=OTHER_SECRET)) == 401
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said.count("\n") == 1
    assert said.startswith("openai: refused a webhook: ")
    assert not workspace.home.folder.exists()
