"""`nightmail deploy` where no Prefect server is set, and sweeps again and again; for `clean` and one sweep see tests/tasks/maintenance/."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from flows.cli import maintain
from flows.cli.app import ended_by_sigterm
from flows.cli.main import main
from rigs.checkout import ROOT


@pytest.mark.slow
def test_without_a_server_it_says_what_to_start() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "deploy"],
        env=environ | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("nightmail: PREFECT_API_URL: not set; start a server with")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("every", ["10", "0m", "ten minutes", "-5m", "1.5h", ""])
def test_an_interval_that_is_none_is_refused(every: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", f"--every={every}"])
    assert ended.value.code == 2
    assert "--every" in capsys.readouterr().err


def sweeps_until(monkeypatch: pytest.MonkeyPatch, enough: Callable[[int], None]) -> list[float]:
    """Let every sweep call `enough` with its number, and no time pass between them; the seconds that were slept."""
    slept: list[float] = []
    count = 0

    def sweep() -> None:
        nonlocal count
        count += 1
        enough(count)

    class NoTime:
        def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    monkeypatch.setattr(maintain, "_sweep_once", sweep)
    monkeypatch.setattr(maintain, "SystemClock", NoTime)
    return slept


def test_it_sweeps_again_and_again_whatever_breaks_one_off_until_sigterm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def enough(count: int) -> None:
        if count == 2:
            raise ConnectionError("the server\nis away")
        if count == 4:
            signal.raise_signal(signal.SIGTERM)

    slept = sweeps_until(monkeypatch, enough)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--every", "10m"])
    assert ended.value.code == 0
    assert slept == [600.0] * 4
    said = capsys.readouterr().err
    assert (
        said
        == "nightmail: this sweep broke off (ConnectionError: the server is away); the next looks again\n"
    )
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_ends_a_wait_at_once() -> None:
    from configs.clock import SystemClock

    with ended_by_sigterm():
        timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM])
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            SystemClock().sleep(60)
        timer.join()


def test_ctrl_c_ends_it_as_it_ends_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def enough(count: int) -> None:
        raise KeyboardInterrupt

    sweeps_until(monkeypatch, enough)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "--every", "10m"])
    assert ended.value.code == 130
