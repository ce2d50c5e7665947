"""A ledger with an open batch, the flow run that waits for it, and a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from configs.clock import SystemClock
from configs.home import Home
from rigs.console import fill
from rigs.signed import SECRET
from tasks.ledger.database import open_database
from tasks.ledger.schema import runs
from tasks.ledger.store import Ledger
from tasks.orchestration.other_runs import SLEEPING, NoServer, Seen
from tasks.providers.registry import webhook_readers
from tasks.webhooks.receiver import Receiver

BATCH, RUN, FLOW_RUN = (
    "batch_00009_3",
    "run00009",
    "f-9",
)  # of `fill`: the open run of ten, and its first open batch
BOTH = {"OPENAI_WEBHOOK_SECRET": SECRET, "GEMINI_WEBHOOK_SECRET": SECRET}


class Server(NoServer):
    """A Prefect server with one flow run; `away` calls get no answer."""

    def __init__(self) -> None:
        later = datetime.now(UTC) + timedelta(hours=1)
        self.flow_run = Seen(
            FLOW_RUN,
            "enrich",
            "letters k",
            "SCHEDULED",
            SLEEPING,
            datetime.now(UTC),
            deployed=True,
            due=later,
        )
        self.waked: list[str] = []
        self.away = 0

    @contextmanager
    def connected(self) -> Iterator[Server]:
        if self.away:
            self.away -= 1
            raise httpx.ConnectError("refused")
        yield self

    def see(self, origin: str) -> Seen | None:
        return self.flow_run if origin == FLOW_RUN else None

    def wake(self, seen: Seen, why: str = "") -> bool:
        self.waked.append(f"{seen.id}: {why}")
        self.flow_run = replace(seen, name="AwaitingRetry")
        return True


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with ten runs, one of which waits for its batches."""
    made = Home.from_environment({"NIGHTMAIL_HOME": str(tmp_path / "home")})
    Ledger(made.ledger_url, SystemClock())
    fill(made.ledger_url, {"name": "letters"}, count=10)
    with open_database(made.ledger_url).begin() as connection:
        connection.execute(runs.update().where(runs.c.id == RUN).values(origin=FLOW_RUN))
    return made


@pytest.fixture
def server() -> Server:
    """It knows the flow run of that run."""
    return Server()


@pytest.fixture
def notes() -> list[str]:
    """What the receiver has said."""
    return []


@pytest.fixture
def receiver(home: Home, server: Server, notes: list[str]) -> Receiver:
    """It takes webhooks of both providers."""
    clock = SystemClock()
    return Receiver(webhook_readers(BOTH, clock), home, clock, server.connected, notes.append)


@pytest.fixture
def ledger(home: Home) -> Ledger:
    """The ledger that it writes to."""
    return Ledger(home.ledger_url, SystemClock())
