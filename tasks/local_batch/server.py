"""Serve one folder in the foreground until told to stop, or until nothing has happened for long enough."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import uvicorn

from configs.errors import ConfigError, RunBusy
from configs.private_files import make_private_folder
from tasks.local_batch.access_token import make_token, read_token
from tasks.local_batch.api.app import build_app
from tasks.local_batch.api.handlers import Handlers
from tasks.local_batch.api.idle_timer import IdleTimer
from tasks.local_batch.batches.runner import BatchRunner
from tasks.local_batch.echo.answerer import EchoAnswerer
from tasks.local_batch.faults.batch_faults import FaultRegistry
from tasks.local_batch.faults.http_faults import ConnectionAwareProtocol
from tasks.local_batch.launch import health
from tasks.local_batch.protocol.lines import Answerer
from tasks.local_batch.settings import ServiceSettings
from tasks.local_batch.single_instance import ServiceAddress, lock_exclusively, read_address, write_address
from tasks.local_batch.state.store import Store

_EXPIRY_CHECK_SECONDS: Final = 3_600.0
_LOCK_PATIENCE_SECONDS: Final = 3.0  # for a service that is just going down
_STOP_SECONDS: Final = 2  # for calls under way; batches need none, they go on at the next start
_BACKLOG: Final = 1024
# Longer than clients keep connections, so that the one a client takes up again is never just being closed.
_KEEP_ALIVE_SECONDS: Final = 120


def serve(settings: ServiceSettings, environ: Mapping[str, str], on_ready: Callable[[str], None]) -> None:
    """Serve the folder; returns when the service was stopped.

    `on_ready` gets the base URL, ending in /v1. RunBusy when the folder has a service already.
    """
    make_private_folder(settings.folder)
    other = read_address(settings.folder)
    alive = other is not None and health(other.url, read_token(settings.folder)) is not None
    lock = lock_exclusively(settings.folder, patience_seconds=0 if alive else _LOCK_PATIENCE_SECONDS)
    if lock is None:
        owner = f"{other.url} (process {other.pid})" if other else "another process"
        raise RunBusy(f"{settings.folder}: already served by {owner}; stop that one or use another folder")
    umask = os.umask(0o077)  # rows and answers are their owner's
    try:
        with _listen(settings) as listener:
            asyncio.run(_serve(settings, environ, listener, on_ready))
    finally:
        os.umask(umask)
        os.close(lock)


async def _serve(
    settings: ServiceSettings,
    environ: Mapping[str, str],
    listener: socket.socket,
    on_ready: Callable[[str], None],
) -> None:
    store = Store(settings.folder)
    store.remove_leftovers()
    faults = FaultRegistry(store, allowed=settings.allow_faults)
    runner = BatchRunner(store, _answerer(settings, environ), faults)
    url = "http://{}:{}".format(*listener.getsockname())

    def ready() -> None:
        write_address(settings.folder, ServiceAddress(url, os.getpid()))
        on_ready(f"{url}/v1")

    token = make_token(settings.folder)
    timer = IdleTimer(build_app(Handlers(settings, store, runner, faults), token, ready))
    server = uvicorn.Server(_config(timer, settings))
    background = (
        asyncio.create_task(_stop_when_idle(server, timer, runner, settings.idle_exit_seconds)),
        asyncio.create_task(_delete_expired_files(store)),
    )
    await server.serve(sockets=[listener])
    for task in background:
        task.cancel()


def _config(app: IdleTimer, settings: ServiceSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # The slower pure-Python parser only where faults need to reach the connection.
        http=ConnectionAwareProtocol if settings.allow_faults else "auto",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def _answerer(settings: ServiceSettings, environ: Mapping[str, str]) -> Answerer:
    if settings.upstream is None:
        return EchoAnswerer(settings.rows_per_second)
    from tasks.local_batch.upstream import UpstreamAnswerer  # brings httpx, which echoes do without

    if urlsplit(settings.upstream).scheme not in ("http", "https"):
        raise ConfigError(
            f"upstream {settings.upstream!r}: give a base URL such as http://127.0.0.1:11434/v1"
        )
    key = environ.get(settings.api_key_env) if settings.api_key_env else None
    return UpstreamAnswerer(
        settings.upstream, concurrency=settings.concurrency, api_key=key, asks_once=settings.asks_once
    )


async def _delete_expired_files(store: Store) -> None:
    while True:
        await asyncio.sleep(_EXPIRY_CHECK_SECONDS)
        await asyncio.to_thread(store.delete_expired_files)


async def _stop_when_idle(
    server: uvicorn.Server, timer: IdleTimer, runner: BatchRunner, idle_seconds: float | None
) -> None:
    if idle_seconds is None:
        return
    while runner.open_batches or timer.idle_seconds < idle_seconds:
        await asyncio.sleep(min(1.0, idle_seconds / 4))
    server.should_exit = True


def _listen(settings: ServiceSettings) -> socket.socket:
    """A listening socket on loopback; when no port is asked for, the one of last time if it is free.

    The same address again lets a run that is still polling go on after the service was restarted.
    """
    previous = read_address(settings.folder)
    last_port = urlsplit(previous.url).port if previous else None
    for port in [settings.port] if settings.port else [last_port or 0, 0]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        listener.listen(_BACKLOG)
        return listener
    raise ConfigError(f"port {settings.port} is taken: choose another one, or leave it out")
