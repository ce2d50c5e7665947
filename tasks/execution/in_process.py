"""Chunk work in this process: one after the other, whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

W = TypeVar("W")
R = TypeVar("R")


class InProcess:
    """An engine without processes of its own. Works wait for each other, so that memory is one chunk."""

    processes = 1

    def __init__(self) -> None:
        self._one = threading.Lock()

    def results(self, function: Callable[[W], R], works: Iterable[W]) -> Iterator[R]:
        """Each result when it is asked for."""
        return (self.run(function, work) for work in works)

    def run(self, function: Callable[[W], R], work: W) -> R:
        """The result, after the works that other threads began before."""
        with self._one:
            return function(work)

    def close(self) -> None:
        """There is nothing to end."""
