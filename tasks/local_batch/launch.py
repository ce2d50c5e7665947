"""Find the running batch service of a folder, or start one in the background."""

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
from configs.private_files import make_private_file, make_private_folder
from configs.request import module_search_path
from tasks.local_batch.access_token import read_token
from tasks.local_batch.settings import ServiceSettings
from tasks.local_batch.single_instance import lock_exclusively, read_address

IDLE_EXIT_SECONDS: Final = 300.0
START_SECONDS: Final = 30.0
LOG: Final = "service.log"
_START_LOCK: Final = "start.lock"
_POLL_SECONDS: Final = 0.02
_MAX_LOG_BYTES: Final = 1 << 20


def ensure_running(
    folder: Path,
    *,
    upstream: str | None = None,
    concurrency: int = 4,
    api_key_env: str | None = None,
    api_key: str | None = None,
    asks_once: bool = False,
    rows_per_second: float | None = None,
) -> str:
    """The base URL, ending in /v1, of the folder's service; a detached one is started when there is none.

    A new service finds the `api_key`, if it is given, in its environment.
    A service that answers by other settings is replaced once it has no open batch. ConfigError when it cannot be
    (somebody keeps it standing, or it is at work for another upstream), TransientError when none comes up.
    """
    wanted = ServiceSettings(
        folder.absolute(),
        upstream=upstream,
        concurrency=concurrency,
        api_key_env=api_key_env,
        asks_once=asks_once,
        rows_per_second=rows_per_second,
        idle_exit_seconds=IDLE_EXIT_SECONDS,
    )
    folder = wanted.folder
    make_private_folder(folder)
    url = _usable_service(wanted)
    if url is not None:
        return url
    # Two runs that start at once must not both start a service: the second one waits here, then finds the first's.
    make_private_file(folder / _START_LOCK)
    start_lock = lock_exclusively(folder / _START_LOCK, patience_seconds=START_SECONDS)
    if start_lock is None:
        raise TransientError(f"{folder}: another start of the batch service hangs; see {folder / LOG}")
    try:
        return _usable_service(wanted) or _start(wanted, api_key)
    finally:
        os.close(start_lock)


def health(url: str, token: str, *, timeout_seconds: float = 5.0) -> dict[str, Any] | None:
    """What the service at `url` (any path) says about itself on /health; None when nobody answers.

    Through http.client: the service itself asks this before it starts, and starting stays light without httpx.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", "/health", headers={"authorization": f"Bearer {token}"})
        response = connection.getresponse()
        status = orjson.loads(response.read()) if response.status == 200 else None
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError):
        return None
    finally:
        connection.close()
    return status if isinstance(status, dict) else None


def _usable_service(wanted: ServiceSettings) -> str | None:
    """The running service's URL if it answers as wanted; one that does not is asked to stop."""
    address = read_address(wanted.folder)
    status = health(address.url, read_token(wanted.folder)) if address is not None else None
    if address is None or status is None:
        return None
    # The port may have gone to another program, or to another folder's service, since the address was written.
    if status.get("pid") != address.pid or status.get("folder") != str(wanted.folder):
        return None
    base = f"{address.url}/v1"
    answering = status.get("answering") or {}
    if answering == wanted.answering():
        return base
    same_upstream = answering.get("upstream") == wanted.upstream
    if status.get("standing") or status.get("open_batches"):
        if same_upstream:  # only its pace differs
            return base
        raise ConfigError(
            f"{wanted.folder}: its batch service {address.url} (process {address.pid}) answers from "
            f"{answering.get('upstream') or 'echoes'}, not {wanted.upstream or 'echoes'}; "
            "wait until it is done, stop it, or set another NIGHTMAIL_HOME"
        )
    os.kill(address.pid, signal.SIGTERM)
    return None


def _start(wanted: ServiceSettings, api_key: str | None) -> str:
    """Start a service that outlives this process, and wait until it answers."""
    log = wanted.folder / LOG
    key = {wanted.api_key_env: api_key} if wanted.api_key_env and api_key else {}
    make_private_file(log)
    mode = "ab" if log.exists() and log.stat().st_size < _MAX_LOG_BYTES else "wb"
    with log.open(mode) as sink:
        process = subprocess.Popen(  # noqa: S603 - our own module
            _command(wanted),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,  # Ctrl-C in the terminal of a run must not stop the batches of others
            env={**os.environ, **key, "PYTHONPATH": module_search_path()},
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        address = read_address(wanted.folder)
        # The process id tells the new service's address from the one its predecessor left in the file.
        is_new = address is not None and address.pid == process.pid
        if address is not None and is_new and health(address.url, read_token(wanted.folder)):
            return f"{address.url}/v1"
        time.sleep(_POLL_SECONDS)
    process.kill()
    raise TransientError(f"{wanted.folder}: the batch service did not start; see {log}")


def _command(wanted: ServiceSettings) -> list[str]:
    options = {
        "--folder": str(wanted.folder),
        "--idle-exit-seconds": str(wanted.idle_exit_seconds),
        "--concurrency": str(wanted.concurrency),
        "--upstream": wanted.upstream,
        "--api-key-env": wanted.api_key_env,
        "--rows-per-second": None if wanted.rows_per_second is None else str(wanted.rows_per_second),
    }
    # -P: the current folder must not shadow modules of the service
    command = [
        sys.executable,
        "-P",
        "-m",
        "tasks.local_batch",
        *(["--asks-once"] if wanted.asks_once else []),
    ]
    return command + [part for name, value in options.items() if value is not None for part in (name, value)]
