"""Runs that are held at a moment of their life while something is struck: the server, the worker or their own processes."""

from __future__ import annotations

import copy
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pyarrow.parquet as pq
import yaml

from rigs.site import Site, state_name

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from tasks.ledger.records import RunRecord


class HeldRun:
    """One run of a job of its own, named after the moment at which it is to be struck."""

    def __init__(self, site: Site, moment: str, nap_seconds: float) -> None:
        self.site, self.moment = site, moment
        self._held = self._has_slept = False
        self.job = moment.replace(" ", "-")
        tree = copy.deepcopy(site.workspace.tree)
        tree["name"] = self.job
        tree["output"] = {"path": f"out/{self.job}"}
        tree["poll"] = {"first_seconds": nap_seconds, "max_seconds": nap_seconds}
        # One that is cancelled has a batch that would cost money for ever; the others look several times.
        words = "stuck:in_progress" if moment == "cancelling" else "status:in_progress:3"
        tree["provider"]["metadata"] = {"nightmail_faults": f"{words},nonce-{uuid4().hex}"}
        file = site.workspace.folder / f"{self.job}.yaml"
        file.write_text(yaml.safe_dump(tree))
        deployment = site.client.read_deployment_by_name("enrich/ad-hoc")
        given = {"job": str(file), "key": "k"}
        self.id: UUID = site.client.create_flow_run_from_deployment(deployment.id, parameters=given).id

    def is_there(self) -> bool:
        """Whether it has come to its moment; holds its process there, if it has one then."""
        if self.moment == "asleep":  # not held: it may wake while others come
            return not self.engines() and self.state == "Sleeping"
        if self._held:
            return True
        if self.moment == "pending":
            self._held = self._freeze()
        elif self.moment == "waking":
            self._has_slept = self._has_slept or (not self.engines() and self.state == "Sleeping")
            self._held = self._has_slept and self._freeze()
        elif self.moment == "falling asleep":
            self._held = self._has_posted() and self._let_it_fall_asleep()
        else:
            self._held = self._freeze_when("Running")
        return self._held

    def engines(self) -> list[int]:
        """The processes that work on it, also those that have not said so yet."""
        return [process for process, run in engines() if run == str(self.id)]

    def flow_run(self) -> FlowRun:
        return self.site.client.read_flow_run(self.id)

    @property
    def state(self) -> str:
        return state_name(self.flow_run())

    def record(self) -> RunRecord | None:
        """Its run in the ledger."""
        home = self.site.workspace.home
        return self.site.workspace.ledger.latest_run(self.job, "k") if home.folder.exists() else None

    def batches(self) -> list[Any]:
        """What the provider has of it."""
        run = self.record()
        every = self.site.workspace.service.client().batches.list(limit=100)
        return [b for b in every if run and (b.metadata or {}).get("nightmail_key", "").startswith(run.id)]

    def most_paid(self) -> int:
        """How often the key was paid for that was paid most often."""
        return max(Counter((b.metadata or {})["nightmail_key"] for b in self.batches()).values(), default=0)

    def statuses(self) -> dict[str, int]:
        """Rows of its output by status."""
        table = pq.read_table(self.site.workspace.folder / "out" / self.job)
        return dict(Counter(table["llm_status"].to_pylist()))

    def _freeze(self) -> bool:
        """Hold its processes, if there are any; not one that is in the midst of a transaction, which would hold all others."""
        processes = self.engines()
        for process in processes:
            send(process, signal.SIGSTOP)
        if processes and self._holds_ledger():
            let_go(processes)
            return False
        return bool(processes)

    def _holds_ledger(self) -> bool:
        path = self.site.workspace.home.folder / "ledger.db"
        if not path.exists():
            return False
        with closing(sqlite3.connect(path, timeout=2, isolation_level=None)) as ledger:
            try:
                ledger.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False

    def _has_posted(self) -> bool:
        run = self.record()
        return run is not None and any(batch.batch_id for batch in self.site.workspace.ledger.batches(run.id))

    def _let_it_fall_asleep(self) -> bool:
        """In small steps: the time between its state and the end of its process is short."""
        let_go(self.engines())
        time.sleep(0.3)
        return self._freeze() and self.state == "Sleeping" and bool(self.engines())

    def _freeze_when(self, name: str) -> bool:
        """Hold its process if its state is called so, and is still when it stands."""
        if not self.engines() or self.state != name or self.record() is None:
            return False
        if self._freeze() and self.state == name and self.engines():
            return True
        let_go(self.engines())
        return False


def engines(home: Path | None = None) -> Iterator[tuple[int, str]]:
    """Processes that work on a flow run, and its id; those of one NIGHTMAIL_HOME, or all."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environ = dict(
                word.partition(b"=")[::2] for word in (folder / "environ").read_bytes().split(b"\0")
            )
            mine = home is None or environ.get(b"NIGHTMAIL_HOME") == os.fsencode(home)
            if mine and (run := environ.get(b"PREFECT__FLOW_RUN_ID")):
                yield int(folder.name), run.decode()


def is_frozen(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def send(process: int, what: signal.Signals) -> bool:
    """Send a signal; whether the process was there."""
    try:
        os.kill(process, what)
    except ProcessLookupError:
        return False
    return True


def let_go(processes: list[int]) -> None:
    for process in processes:
        send(process, signal.SIGCONT)
