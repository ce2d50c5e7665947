"""Chunk work on a Dask cluster, whose workers may be other machines. Needs the extra `dask`."""

from __future__ import annotations

import logging
import pickle
import threading
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from configs.errors import ConfigError, StorageError, TerminalError, TransientError
from configs.extras import DASK
from tasks.execution.dask_worker import check_software, perform, software

if TYPE_CHECKING:
    from distributed import Client, Future

W = TypeVar("W")
R = TypeVar("R")

_CONNECT_SECONDS = 30.0
_LOOK_SECONDS = 5.0  # how often is looked whether anybody is there to do the work
_CLOSE_SECONDS = 5.0
_AHEAD = 2  # works per thread that are with the cluster: while the oldest is awaited, no worker is idle


class DaskCluster:
    """The workers of the scheduler at `address`, as an engine. Connects at the first work.

    A worker that dies takes nothing with it: the scheduler gives its work to another, up to `allowed-failures` times
    (Dask's setting, 3). `processes` is the most works at a time; None is all threads of all workers, also of those that come later.

    Raises ConfigError where workers do not run the same software, TransientError while the scheduler cannot be reached or
    has had no worker for `alone_seconds`, TerminalError for a work that its workers die of.
    """

    def __init__(self, address: str, processes: int | None = None, *, alone_seconds: float = 300.0) -> None:
        if not DASK.is_installed:
            raise ConfigError(f"execution.engine dask: needs {DASK.install_hint}")
        self._address = address
        self._most = processes
        self._alone_seconds = alone_seconds
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._closings = 0

    @property
    def processes(self) -> int:
        """How many works run side by side, as the cluster is now; at least 1."""
        threads: int = self._ask(lambda client: sum(client.nthreads().values()))
        return max(1, min(threads, self._most or threads))

    def results(self, function: Callable[[W], R], works: Iterable[W]) -> Iterator[R]:
        """The results in the order of the works; a few works per thread of the cluster are in flight."""
        waiting: deque[Future] = deque()
        try:
            for work in works:
                waiting.append(self._submit(function, work))
                if len(waiting) >= (self._most or _AHEAD * self.processes):
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            for future in waiting:
                _give_up(future)

    def run(self, function: Callable[[W], R], work: W) -> R:
        """The result of one work; several threads may wait at once."""
        result: R = self._result(self._submit(function, work))
        return result

    def close(self) -> None:
        """Leave the cluster, where nobody waits any more for what is begun; the next work connects anew."""
        self._closings += 1
        with self._lock:
            client = self._client
        if client is not None:
            self._leave(client)

    def _submit(self, function: Callable[[W], R], work: W) -> Future:
        # As bytes: Dask searches arguments for futures, and the scheduler would unpack them.
        packed = pickle.dumps((function, work))
        key = f"{function.__name__}-{uuid.uuid4().hex}"  # never the result of an earlier work
        return self._ask(lambda client: client.submit(perform, software(), packed, key=key))

    def _result(self, future: Future) -> Any:
        from distributed import CancelledError

        closings = self._closings
        try:
            self._wait_for(future)
            if future.status == "error":
                raise self._explained(future.exception())
            return future.result()
        # RuntimeError: another thread has let go of the connection.
        except (CancelledError, OSError, RuntimeError) as error:
            if future.status == "error":  # its own
                raise
            if closings != self._closings:
                raise StorageError(
                    f"Dask at {self._address}: a work was given up before it was done; run the same command again"
                ) from None
            raise self._lost(future.client, error) from error
        finally:
            future.release()

    def _explained(self, error: BaseException) -> BaseException:
        """What Dask raised, in one line; what the work raised, as it is."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            return TerminalError(
                f"Dask at {self._address}: {error.allowed_failures + 1} workers died of one chunk, the last was"
                f" {error.last_worker.address}; mostly memory: give them more (--memory-limit), or the job smaller limits,"
                " then run the same command again"
            )
        return error

    def _wait_for(self, future: Future) -> None:
        """TransientError when there was no worker all the time that is allowed."""
        alone_since: float | None = None
        while True:
            try:
                future.exception(timeout=min(_LOOK_SECONDS, self._alone_seconds))
            except TimeoutError:
                if self._ask(lambda client: client.nthreads()):
                    alone_since = None
                    continue
                alone_since = alone_since or time.monotonic()
                if time.monotonic() - alone_since >= self._alone_seconds:
                    _give_up(future)
                    raise self._alone() from None
            else:
                return

    def _ask(self, question: Callable[[Client], Any]) -> Any:
        """What the scheduler says; a connection that is gone becomes a TransientError, and the next question makes another."""
        with self._lock:
            client = self._client = self._client or self._connect()
        try:
            return question(client)
        except (OSError, RuntimeError) as error:  # of a client that has been closed: RuntimeError
            raise self._lost(client, error) from error

    def _connect(self) -> Client:
        import distributed

        # What matters of its log and its many lines about versions is said below, in one.
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                client = distributed.Client(self._address, timeout=_CONNECT_SECONDS, set_as_default=False)
            except (OSError, ValueError) as error:
                raise self._unreachable(error) from error
        try:
            self._check(client)
        except BaseException:
            client.close(timeout=_CLOSE_SECONDS)
            raise
        return client

    def _check(self, client: Client) -> None:
        """That there is a worker, and that all have this process's software. Those that come later are asked with every work."""
        try:
            client.wait_for_workers(1, timeout=self._alone_seconds)
            # A worker that is given what it cannot load ends: so this first, which is Python's own.
            client.run_on_scheduler(import_module, perform.__module__)
            client.run(import_module, perform.__module__)
            for address, there in client.run(software).items():
                check_software(address, software(), there)
        except TimeoutError:
            raise self._alone() from None
        except ImportError as error:
            raise ConfigError(
                f"Dask at {self._address}: its scheduler or a worker cannot load Nightmail ({error}); start them from the image"
                " or checkout, and the environment, that the run is started from"
            ) from error
        except OSError as error:
            raise self._unreachable(error) from error

    def _alone(self) -> TransientError:
        return TransientError(
            f"Dask at {self._address}: has had no worker for {self._alone_seconds:,.0f} s; start one: dask worker"
            f" {self._address}; where some end at once, their log says why"
        )

    def _lost(self, client: Client, error: BaseException) -> TransientError:
        self._leave(client)
        return self._unreachable(error)

    def _leave(self, client: Client) -> None:
        """Let go of a connection; another thread may have made a new one by now."""
        with self._lock:
            if self._client is client:
                self._client = None
        client.close(timeout=_CLOSE_SECONDS)

    def _unreachable(self, error: BaseException) -> TransientError:
        text = " ".join(str(error).split())[:200]
        return TransientError(
            f"Dask at {self._address}: the scheduler cannot be reached ({text}); start it, or correct execution.address"
        )


def _give_up(future: Future) -> None:
    """Whatever becomes of it; whoever has lost its connection cannot say so, and the scheduler knows."""
    with suppress(OSError, RuntimeError):
        future.cancel()
