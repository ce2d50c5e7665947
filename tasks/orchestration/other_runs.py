"""Other flow runs, as a sweep sees and moves them; where there is no server, there are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

SLEEPING: Final = "Sleeping"
"""The state of a run that a worker takes up again at its time; see durable_sleep.py."""

PROCESS_GONE = "its process is gone; it goes on from where it was"


@dataclass(frozen=True)
class Seen:
    """A flow run as the server has it.

    `since` is when it came into its state, `due` when it is to start (of a scheduled one), `heard` its last heartbeat
    in this state, `crashed` when it crashed (looked up for a crashed one alone).
    """

    id: str
    flow: str
    title: str
    kind: str
    name: str
    since: datetime
    deployed: bool  # a worker can take it up
    due: datetime | None = None
    heard: datetime | None = None
    crashed: tuple[datetime, ...] = ()

    @property
    def is_asleep(self) -> bool:
        """Whether a worker takes it up again at a time that it has set itself."""
        return self.deployed and (self.kind, self.name) == ("SCHEDULED", SLEEPING)


class FlowRuns(Protocol):
    """What a sweep needs of the server."""

    def unsettled(self, now: datetime, late_since: datetime) -> Iterator[Seen]:
        """Ours that are at work or paused, have crashed, or were due before `late_since` and still wait."""

    def see(self, origin: str) -> Seen | None:
        """That flow run; None when there is no such flow run."""

    def wake(self, seen: Seen, why: str = PROCESS_GONE) -> bool:
        """Let a worker take it up now, and say why; False, and nothing done, when it is not as it was seen any more."""

    def end(self, seen: Seen) -> bool:
        """Say that it is cancelled; False, and nothing done, when it is not as it was seen any more."""

    def stop_paying(self, origin: str, now: datetime) -> None:
        """Let a `cancel` run do what it does for a cancelled run, at most once an hour."""

    def tell(self, problem: str, seen: Seen, message: str) -> None:
        """Emit `nightmail.run.PROBLEM`, which an automation hands on to a person; the same event for the same state."""

    def completed(self, now: datetime) -> None:
        """Emit `nightmail.sweep.completed`, for whose absence an automation waits."""


class NoServer:
    """Knows of no flow run."""

    def unsettled(self, now: datetime, late_since: datetime) -> Iterator[Seen]:  # noqa: ARG002
        return iter(())

    def see(self, origin: str) -> Seen | None:  # noqa: ARG002
        return None

    def wake(self, seen: Seen, why: str = PROCESS_GONE) -> bool:  # noqa: ARG002
        return False

    def end(self, seen: Seen) -> bool:  # noqa: ARG002
        return False

    def stop_paying(self, origin: str, now: datetime) -> None: ...
    def tell(self, problem: str, seen: Seen, message: str) -> None: ...
    def completed(self, now: datetime) -> None: ...
