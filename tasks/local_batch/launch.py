"""Finds the running batch service of a folder, or starts one."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from configs.errors import ConfigError, TransientError
from tasks.local_batch.settings import Settings
from tasks.local_batch.single_instance import announced, claim

IDLE_EXIT_SECONDS: Final = 300.0
START_SECONDS: Final = 30.0
LOG: Final = "service.log"
_MAX_LOG_BYTES: Final = 1 << 20
_ROOT: Final = Path(__file__).resolve().parents[2]


def ensure_running(
    folder: Path,
    *,
    upstream: str | None = None,
    concurrency: int = 4,
    api_key_env: str | None = None,
    rows_per_second: float | None = None,
) -> str:
    """The base URL, ending in /v1, of the folder's service; a detached one is started when there is none.

    A service that answers by other settings is replaced once it has no open batch. ConfigError when it cannot be
    (somebody keeps it standing, or it is at work for another upstream), TransientError when none comes up.
    """
    wanted = Settings(
        folder.absolute(), 0, upstream, concurrency, api_key_env, rows_per_second, IDLE_EXIT_SECONDS
    )
    folder = wanted.folder
    folder.mkdir(parents=True, exist_ok=True)
    url = _suitable(wanted)
    if url is not None:
        return url
    (folder / "start.lock").touch()
    turn = claim(folder / "start.lock", patience_seconds=START_SECONDS)
    if turn is None:
        raise TransientError(f"{folder}: another start of the batch service hangs; see {folder / LOG}")
    try:
        return _suitable(wanted) or _start(wanted)
    finally:
        os.close(turn)


def health(url: str, *, timeout_seconds: float = 5.0) -> dict[str, Any] | None:
    """What the service at `url` (any path) says about itself; None when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/health")
        reply = connection.getresponse()
        found = orjson.loads(reply.read()) if reply.status == 200 else None
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) else None


def _suitable(wanted: Settings) -> str | None:
    """The running service's URL if it answers as wanted; one that does not is asked to stop."""
    at = announced(wanted.folder)
    state = health(at.url) if at is not None else None
    if at is None or state is None or state.get("pid") != at.pid or state.get("folder") != str(wanted.folder):
        return None
    base = f"{at.url}/v1"
    answering = state.get("answering") or {}
    if answering == wanted.answering():
        return base
    same_upstream = answering.get("upstream") == wanted.upstream
    if state.get("standing") or state.get("open_batches"):
        if same_upstream:  # only its pace differs
            return base
        raise ConfigError(
            f"{wanted.folder}: its batch service {at.url} (process {at.pid}) answers from "
            f"{answering.get('upstream') or 'echoes'}, not {wanted.upstream or 'echoes'}; "
            "wait until it is done, stop it, or set another NIGHTMAIL_HOME"
        )
    os.kill(at.pid, signal.SIGTERM)
    return None


def _start(wanted: Settings) -> str:
    log = wanted.folder / LOG
    mode = "ab" if log.exists() and log.stat().st_size < _MAX_LOG_BYTES else "wb"
    with log.open(mode) as sink:
        process = subprocess.Popen(  # noqa: S603 - our own module
            _command(wanted),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        at = announced(wanted.folder)
        if at is not None and at.pid == process.pid and health(at.url):
            return f"{at.url}/v1"
        time.sleep(0.02)
    process.kill()
    raise TransientError(f"{wanted.folder}: the batch service did not start; see {log}")


def _search_path() -> list[str]:
    return [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def _command(wanted: Settings) -> list[str]:
    options = {
        "--folder": str(wanted.folder),
        "--idle-exit-seconds": str(wanted.idle_exit_seconds),
        "--concurrency": str(wanted.concurrency),
        "--upstream": wanted.upstream,
        "--api-key-env": wanted.api_key_env,
        "--rows-per-second": None if wanted.rows_per_second is None else str(wanted.rows_per_second),
    }
    # -P: the current folder must not shadow modules of the service
    command = [sys.executable, "-P", "-m", "tasks.local_batch"]
    return command + [part for name, value in options.items() if value is not None for part in (name, value)]
