"""Chunk work in processes of this machine, which begin with the first work and end with whoever began them."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any, TypeVar

from configs.errors import StorageError, TerminalError
from tasks.execution.pool_worker import Reply, serve

W = TypeVar("W")
R = TypeVar("R")

_AHEAD = 2  # works per process that are taken: while the oldest is awaited, none is idle
_LIVES = 3  # how often a work is begun whose process was killed
_SPAWN = multiprocessing.get_context("spawn")
_ONE_SPAWNS = threading.Lock()


class ProcessPool:
    """An engine of up to `processes` processes. Each is begun when no other is idle, and stays for the next work.

    Each has a connection of its own: one that is killed, for want of memory say, takes its own work alone with it, and that
    is begun again in another.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._room = threading.BoundedSemaphore(processes)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._closings = 0

    def results(self, function: Callable[[W], R], works: Iterable[W]) -> Iterator[R]:
        """The results in the order of the works."""
        waiting: deque[Future[R]] = deque()
        with ThreadPoolExecutor(self.processes, thread_name_prefix="work") as threads:
            try:
                for work in works:
                    waiting.append(threads.submit(self.run, function, work))
                    if len(waiting) >= _AHEAD * self.processes:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def run(self, function: Callable[[W], R], work: W) -> R:
        """The result of one work, once a process is idle."""
        with self._room:
            for _ in range(_LIVES):
                closings = self._closings
                worker = self._take()
                try:
                    reply = worker.ask(function, work)
                except (EOFError, OSError):
                    self._bury(worker)
                    if closings != self._closings:
                        raise StorageError(
                            f"{function.__name__}: its process was ended before it was done; run the same command again"
                        ) from None
                    continue
                except BaseException:  # an interrupt: its reply would be taken for the next one's
                    self._bury(worker)
                    raise
                self._give_back(worker, closings)
                result: R = _result_of(reply)
                return result
        raise TerminalError(
            f"{function.__name__}: its process was killed {_LIVES} times, mostly because memory ran out (the kernel's log"
            " says so); set execution.processes or limits.max_rows lower, then run the same command again"
        )

    def close(self) -> None:
        """Kill all processes: what they write has names of its own, and is nobody's until it is adopted."""
        with self._lock:
            self._closings += 1
            workers, self._all, self._idle = self._all, set(), []
        for worker in workers:
            worker.end()

    def _take(self) -> _Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            worker = _Worker()
            self._all.add(worker)
            return worker

    def _give_back(self, worker: _Worker, closings: int) -> None:
        with self._lock:
            if closings == self._closings:
                self._idle.append(worker)

    def _bury(self, worker: _Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.end()


class _Worker:
    """A process and the connection to it."""

    def __init__(self) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process: SpawnProcess = _SPAWN.Process(target=serve, args=(theirs,), name="work", daemon=True)
        with _without_main_module():
            self._process.start()
        theirs.close()  # so that its end is the connection's

    def ask(self, function: Callable[[Any], Any], work: Any) -> Reply:
        """Its reply; EOFError or OSError when it died."""
        self._connection.send((function, work))
        reply: Reply = self._connection.recv()
        return reply

    def end(self) -> None:
        """Kill it, if it lives."""
        self._process.kill()
        self._process.join()


def _result_of(reply: Reply) -> Any:
    result, error, where = reply
    if error is not None:
        raise error from RuntimeError(where)  # shown with --debug
    return result


@contextmanager
def _without_main_module() -> Iterator[None]:
    """A process that is spawned imports the main module of this one, a command's or Prefect's: this keeps it from that."""
    with _ONE_SPAWNS:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
