"""Serves one folder in the foreground until it is told to stop, or has been idle for long enough."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import uvicorn

from configs.errors import ConfigError, RunBusy
from tasks.local_batch.api.handlers import Pulse, Service, build
from tasks.local_batch.batches.runner import Engine
from tasks.local_batch.echo.answerer import Echo
from tasks.local_batch.faults.batch_faults import Faults
from tasks.local_batch.faults.http_faults import ConnectionAwareProtocol
from tasks.local_batch.launch import health
from tasks.local_batch.protocol.lines import Answerer
from tasks.local_batch.settings import Settings
from tasks.local_batch.single_instance import Announcement, announce, announced, claim
from tasks.local_batch.state.store import Store

_SWEEP_SECONDS = 3_600.0  # between looks for expired files
_LOCK_PATIENCE_SECONDS = 3.0  # for a service that is just going down
_KEEP_ALIVE_SECONDS = (
    120  # longer than clients keep connections, so that a reused one is never just being closed
)


def serve(settings: Settings, environ: Mapping[str, str], on_ready: Callable[[str], None]) -> None:
    """Blocks. `on_ready` gets the base URL, ending in /v1. RunBusy when the folder has a service already."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    other = announced(settings.folder)
    alive = other is not None and health(other.url) is not None
    lock = claim(settings.folder, patience_seconds=0 if alive else _LOCK_PATIENCE_SECONDS)
    if lock is None:
        where = f"{other.url} (process {other.pid})" if other else "another process"
        raise RunBusy(f"{settings.folder}: already served by {where}; stop that one or use another folder")
    try:
        with _listen(settings) as listener:
            asyncio.run(_serve(settings, environ, listener, on_ready))
    finally:
        os.close(lock)


async def _serve(
    settings: Settings, environ: Mapping[str, str], listener: socket.socket, on_ready: Callable[[str], None]
) -> None:
    store = Store(settings.folder)
    store.tidy()
    faults = Faults(store, allowed=settings.allow_faults)
    answerer = _answerer(settings, environ)
    engine = Engine(store, answerer, faults)
    url = "http://{}:{}".format(*listener.getsockname())

    def ready() -> None:
        announce(settings.folder, Announcement(url, os.getpid()))
        on_ready(f"{url}/v1")

    async def close() -> None:
        store.close()

    pulse = Pulse(build(Service(settings, store, engine, faults), ready, close))
    server = uvicorn.Server(
        uvicorn.Config(
            pulse,
            http=ConnectionAwareProtocol if settings.allow_faults else "auto",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2,
        )
    )
    watch = asyncio.create_task(_stop_when_idle(server, pulse, engine, settings.idle_exit_seconds))
    broom = asyncio.create_task(_drop_expired(store))
    await server.serve(sockets=[listener])
    watch.cancel()
    broom.cancel()


def _answerer(settings: Settings, environ: Mapping[str, str]) -> Answerer:
    if settings.upstream is None:
        return Echo(settings.rows_per_second)
    from tasks.local_batch.upstream import Upstream

    if urlsplit(settings.upstream).scheme not in ("http", "https"):
        raise ConfigError(
            f"upstream {settings.upstream!r}: give a base URL such as http://127.0.0.1:11434/v1"
        )
    key = environ.get(settings.api_key_env) if settings.api_key_env else None
    return Upstream(settings.upstream, concurrency=settings.concurrency, api_key=key)


async def _drop_expired(store: Store) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(store.drop_expired)


async def _stop_when_idle(
    server: uvicorn.Server, pulse: Pulse, engine: Engine, idle_seconds: float | None
) -> None:
    if idle_seconds is None:
        return
    while engine.busy or pulse.idle_seconds < idle_seconds:
        await asyncio.sleep(min(1.0, idle_seconds / 4))
    server.should_exit = True


def _listen(settings: Settings) -> socket.socket:
    """A listening socket on loopback; without a wish, the port of last time if it is free."""
    before = announced(settings.folder)
    last = urlsplit(before.url).port if before else None
    for port in [settings.port] if settings.port else [last or 0, 0]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        listener.listen(1024)
        return listener
    raise ConfigError(f"port {settings.port} is taken: choose another one, or leave it out")
