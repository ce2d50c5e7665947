"""The web console over a home, as a client of its own process and as a server for a browser; and a ledger that is full."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import uvicorn

from configs.clock import SystemClock
from configs.home import Home
from flows.cli.console import plan_of
from tasks.console.app import build_app
from tasks.console.context import Actions, Console
from tasks.console.outcomes import Done, new_form_id
from tasks.console.server import listen
from tasks.ledger.database import open_database
from tasks.ledger.schema import batches, chunks, events, runs

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from configs.request import RunRequest
    from tasks.ledger.records import RunRecord

START = datetime(2026, 11, 1, 17, 40, tzinfo=UTC)
STATUSES = ("completed", "completed", "completed", "expired", "failed", "running")


class Noted:
    """Actions that only note what was asked for."""

    how = "The test notes it."

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []

    def run(self, request: RunRequest) -> Done:
        self.asked.append(("run", request))
        return Done(("noted",))

    def cancel(self, run: RunRecord) -> Done:
        self.asked.append(("cancel", run.id))
        return Done(("noted",))

    def approve(self, run: RunRecord) -> Done:
        self.asked.append(("approve", run.id))
        return Done(("noted",))


def console_over(home: Home, *job_files: str | Path, actions: Actions | None = None) -> Console:
    """The console of a home with these job files."""
    return Console(
        home=home,
        clock=SystemClock(),
        find_jobs=lambda: [str(file) for file in job_files],
        plan=lambda request: plan_of(request, home),
        actions=actions,
    )


def form_of(console: Console, **fields: str) -> dict[str, str]:
    """What a form of the console's own pages sends: each call is another form."""
    return {"token": console.token, "form_id": new_form_id(), **fields}


def client_of(console: Console) -> TestClient:
    """A client that calls the console without a socket."""
    from starlette.testclient import TestClient

    return TestClient(build_app(console), base_url="http://localhost:8500", raise_server_exceptions=False)


@contextmanager
def served(console: Console) -> Iterator[str]:
    """The console on a port of its own; its address without the last slash."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(build_app(console), ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


def fill(
    url: str,
    spec: dict[str, Any],
    *,
    job: str = "",
    count: int = 400,
    batches_each: int = 5,
    text: str = "",
    first: int = 0,
    **of_batches: Any,
) -> list[str]:
    """Put that many runs with batches into a ledger, as if they had been; their ids.

    `text` is in whatever others write; `first` is the number of the first; `of_batches` are further columns of the batches.
    """
    made = [
        _run(number, spec, job or spec["name"], batches_each, text) for number in range(first, first + count)
    ]
    with open_database(url).begin() as connection:
        connection.execute(runs.insert(), [run for run, _, _ in made])
        connection.execute(chunks.insert(), [chunk for _, of_run, _ in made for chunk in of_run])
        connection.execute(
            batches.insert(), [{**batch, **of_batches} for _, _, of_run in made for batch in of_run]
        )
        connection.execute(
            events.insert(),
            [
                {
                    "run_id": run["id"],
                    "at": run["created_at"],
                    "kind": "created",
                    "detail": f"prepared {text}",
                }
                for run, _, _ in made
            ],
        )
        connection.execute(sa.text("ANALYZE"))
    return [run["id"] for run, _, _ in made]


def _run(
    number: int, spec: dict[str, Any], job: str, count: int, text: str
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    begun = START + timedelta(hours=number)
    open_run = number % 10 == 9
    run = {
        "id": f"run{number:05d}",
        "job": job,
        "key": f"key-{number:04d}",
        "generation": 1,
        "logical_date": begun.date(),
        "state": "running" if open_run else "finished" if number % 7 else "cancelled",
        "spec": spec,
        "identity": {},
        "folder": f"{spec['name']}/key-{number:04d}",
        "created_at": begun,
        "finished_at": None if open_run else begun + timedelta(hours=6),
        "fence": 1,
        "bad_lines": 0,
    }
    of_chunks = [_chunk(run, chunk, open_run, begun, text) for chunk in range(1, count + 1)]
    return run, of_chunks, [_batch(run, chunk, begun, number, text) for chunk in range(1, count + 1)]


def _chunk(run: dict[str, Any], number: int, open_run: bool, begun: datetime, text: str) -> dict[str, Any]:
    return {
        "run_id": run["id"],
        "number": number,
        "first_row": 1000 * (number - 1),
        "rows": 1000,
        "state": "submitted" if open_run and number > 2 else "merged",
        "attempt": 1,
        "posting": 1,
        "requests": 1000,
        "bytes": 500_000,
        "tokens_estimate": 120_000,
        "not_before": begun + timedelta(days=300) if open_run else None,
        "waiting_for": f"the batch at the provider {text}" if open_run else None,
        "faults": 0,
        "unreliable_replies": 0,
    }


def _batch(run: dict[str, Any], chunk: int, begun: datetime, number: int, text: str) -> dict[str, Any]:
    running = run["state"] == "running" and chunk > 2
    status = "running" if running else STATUSES[(number + chunk) % 5]
    failed = status == "failed"
    posted = begun + timedelta(minutes=5 * chunk)
    ended = None if running else posted + timedelta(minutes=40 + 7 * chunk)
    return {
        "run_id": run["id"],
        "chunk": chunk,
        "attempt": 1,
        "posting": 1,
        "submission_key": f"{run['id']}/{chunk}/1",
        "account": "https://api.example.com/v1" if number % 2 else "https://other.example.com/v1",
        "model": "gpt-5.4-mini",
        "provider": "openai",
        "requests": 1000,
        "bytes": 500_000,
        "tokens_estimate": 120_000,
        "file_id": f"file-{number:05d}-{chunk}",
        "batch_id": f"batch_{number:05d}_{chunk}",
        "status": status,
        "history": [["queued", posted.isoformat()], ["running", (posted + timedelta(minutes=9)).isoformat()]],
        "total": 1000,
        "completed": 0 if failed else 400 if running else 990,
        "failed": 1000 if failed else 0,
        "result_files": [] if running or failed else [f"out-{number}-{chunk}"],
        "error_code": "invalid_request" if failed else None,
        "error_message": f"line 3: the model is not known {text}" if failed else None,
        "intended_at": posted,
        "submitted_at": posted,
        "ended_at": ended,
        "input_tokens": None if running or failed else 120_000,
        "output_tokens": None if running or failed else 40_000,
        "cost_usd": None if running or failed else 0.0421,
        "answered_requests": None if running else 0 if failed else 990,
        "polls": 0,
    }
