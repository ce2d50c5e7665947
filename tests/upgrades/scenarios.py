"""Where runs of a version are left, for later versions to go on with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KEY = "2026-11-21"
ROWS = 6
CHUNK_ROWS = 2
REQUESTS = "ready-requests.jsonl"
ALL = {"1/1": 1, "2/1": 1, "3/1": 1}
"""A batch for each chunk, by chunk and attempt."""


@dataclass(frozen=True)
class Step:
    """A command, and where it is stopped. By itself it ends in exit code 0.

    `kill`: when a chunk comes into that state for the `times`th time, or right `before` the ledger says so. `sleeps`: as it
    falls asleep while so many chunks are in each state. `range_rows`: of the ranges that its source is prepared in.
    """

    words: tuple[str, ...]
    kill: str | None = None
    times: int = 1
    before: bool = False
    sleeps: dict[str, int] | None = None
    range_rows: int | None = None


@dataclass(frozen=True)
class Scenario:
    """A run of the job `name`, and how it got where it is left; the last step that runs it is what goes on with it.

    `job`: what its job file has besides. `paid`: the batches that it has cost once it is finished, by chunk, attempt and
    posting. `faults`: what the service did wrong until then. `since`: the migration that its version has at least.
    """

    name: str
    steps: tuple[Step, ...]
    job: dict[str, Any] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=lambda: ALL)
    faults: str = ""
    since: str = "0001"

    @property
    def words(self) -> tuple[str, ...]:
        """The command that goes on with the run."""
        return next(step.words for step in reversed(self.steps) if step.words[0] != "cancel")


def runs(name: str, *more: str, **stop: Any) -> Step:
    """`nightmail run` of the job of that name."""
    return Step(("run", f"{name}.yaml", "--key", KEY, *more), **stop)


def killed(state: str, name: str = "", **stop: Any) -> Scenario:
    """A run that was killed at a chunk's coming into that state."""
    name = name or f"killed-{state}"
    return Scenario(name, (runs(name, kill=state, **stop),))


STUCK = "stuck:in_progress"
POSTED = {"submitted": 3}

SCENARIOS = (
    Scenario("finished", (runs("finished"),), {"reuse": True}),
    Scenario("asleep", (runs("asleep", sleeps=POSTED),), faults=STUCK),
    Scenario(
        "half-collected",
        (runs("half-collected", sleeps={"merged": 2, "submitted": 1}),),
        faults=f"{STUCK}*1",
    ),
    killed("prepared"),
    killed("intended", times=2),
    killed("uploaded", times=2),
    killed("submitted", "killed-created", times=2, before=True),
    killed("submitted", times=2),
    killed("ended", times=2),
    killed("collected", times=2),
    killed("merged", times=3),
    Scenario(
        "between-attempts",
        (runs("between-attempts", kill="again"),),
        paid={**ALL, "2/2": 1},
        faults="row_error:500:t-3",
    ),
    Scenario("in-its-redo", (runs("in-its-redo"), runs("in-its-redo", "--redo", kill="submitted", times=2))),
    Scenario(
        "cancelled",
        (runs("cancelled", sleeps=POSTED), Step(("cancel", f"cancelled/{KEY}"))),
        paid={**ALL, "1/2": 1, "2/2": 1, "3/2": 1},
        faults=STUCK,
    ),
    Scenario(
        "paused",
        (runs("paused", sleeps={"uploaded": 1}),),
        {"limits": {"max_requests": ROWS}},
        paid={"1/1": 1, "1/1.2": 1},
        faults="fail:insufficient_quota:1",
    ),
    Scenario(
        "ready-requests",
        (
            Step(
                ("submit", REQUESTS, "--name", KEY, "--provider", "local", "--window", "3650d"),
                kill="submitted",
            ),
        ),
        paid={"1/1": 1},
        since="0012",
    ),
    Scenario(
        "between-ranges",
        (runs("between-ranges", kill="submitted", range_rows=CHUNK_ROWS),),
        since="0013",
    ),
)
