"""What runs chunk work: pure functions of a picklable work, one after another or side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

W = TypeVar("W")
R = TypeVar("R")


class Engine(Protocol):
    """Runs top-level functions of one picklable argument, whose result can be pickled too.

    A work may run twice (its process was killed), so whatever it writes has a name of its own that its caller then adopts.
    What the function raises is raised here. TerminalError for a work whose process was killed every time.
    """

    @property
    def processes(self) -> int:
        """How many works run side by side; at least 1."""

    def results(self, function: Callable[[W], R], works: Iterable[W]) -> Iterator[R]:
        """The results in the order of the works, which are taken when there is room: a few per process are in flight."""

    def run(self, function: Callable[[W], R], work: W) -> R:
        """The result of one work, once there is room for it; several threads may wait at once."""

    def close(self) -> None:
        """Leave no process behind; the next work begins anew. What others still wait for raises StorageError."""
