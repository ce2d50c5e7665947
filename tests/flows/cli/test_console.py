"""`nightmail console` as a command: where it listens, and that it ends when it is told to."""

from __future__ import annotations

import signal
import urllib.request

import pytest

from rigs.command_line import nightmail, started
from rigs.ports import free_port
from rigs.workspace import Workspace


@pytest.mark.parametrize("words", [("--port", "65536"), ("--port", "-1"), ("--jobs", "nowhere")])
def test_an_option_that_cannot_be_is_named(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    assert nightmail("console", *words) == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.com", ""])
def test_it_listens_to_nobody_but_this_machine(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    assert nightmail("console", "--host", host, "--port", "0") == 2
    assert "--host" in capsys.readouterr().err
    assert not workspace.home.folder.exists()


def test_a_port_that_is_taken_is_named(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert nightmail("console", "--port", str(port)) == 2
    assert f"--port {port}: Address already in use; choose another one" in capsys.readouterr().err


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_answers_there_and_ends_when_told(
    workspace: Workspace, told: signal.Signals
) -> None:
    process = started(workspace, "console", "--port", "0")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as answer:
            assert b"There are no runs yet." in answer.read()
            assert "server" not in answer.headers
    finally:
        process.send_signal(told)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said == ""
    assert not workspace.home.folder.exists()
