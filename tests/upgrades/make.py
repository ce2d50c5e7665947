"""`python tests/upgrades/make.py VERSION`: keep runs of this version for later ones to finish, in tests/upgrades/data/VERSION.tar.xz.

What is kept: the ledger, run folders and outputs, and the state of the embedded batch service that has their batches. VERSION
is that of pyproject.toml; of a state on the way to it `0.2.0.dev7`, by the newest migration. Of an earlier version, checked
out in DIR: `--checkout DIR`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from scenarios import CHUNK_ROWS, REQUESTS, ROWS, SCENARIOS, Scenario, Step  # noqa: E402

from rigs.kept_home import MANIFEST, SERVICE, SOURCE, pack, service_batches  # noqa: E402

MOST_BYTES = 300_000
_OF_A_PROCESS = ("token", "service.json", "service.log", "start.lock")
_LONG_AGO = 1_763_766_000  # when the source was written; in whole seconds, which every archive keeps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--checkout", type=Path, default=HERE.parents[1])
    options = parser.parse_args()
    checkout = options.checkout.resolve()
    sys.path.insert(0, str(checkout))
    archive = HERE / "data" / f"{options.version}.tar.xz"
    with tempfile.TemporaryDirectory(prefix="nightmail-") as name:
        folder = Path(name).resolve()
        runs = make_runs(folder, checkout)
        leave_no_traces(folder)
        pack(folder, archive)
        refuse_traces(folder)
    size = archive.stat().st_size
    if size > MOST_BYTES:
        sys.exit(
            f"{archive}: {size:,} bytes, and it may have {MOST_BYTES:,}; leave something out of scenarios.py"
        )
    print(f"{archive}: {runs} runs, {size:,} bytes")


def make_runs(folder: Path, checkout: Path) -> int:
    """Let runs of the checkout get where the scenarios say; how many."""
    revision = max(path.name[:4] for path in checkout.glob("tasks/ledger/migrations/versions/0*.py"))
    scenarios = [scenario for scenario in SCENARIOS if scenario.since <= revision]
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("NIGHTMAIL_", "PREFECT_"))
    }
    environ |= {"PYTHONPATH": str(checkout), "NIGHTMAIL_HOME": str(folder / "home")}
    write_sources(folder)
    with serving(folder / SERVICE, environ), taking(folder, environ) as take:
        for scenario in scenarios:
            (folder / f"{scenario.name}.yaml").write_text(yaml.safe_dump(job_of(scenario)))
            for step in scenario.steps:
                take(step, scenario)
    posted = service_batches(folder)
    runs = []
    with closing(sqlite3.connect(folder / "home/ledger.db")) as ledger:
        query = "select id, key from runs where job = ? order by generation desc limit 1"
        for scenario in scenarios:
            run_id, key = ledger.execute(query, (scenario.name,)).fetchone()
            mine = {
                name.removeprefix(f"{run_id}/"): n
                for name, n in posted.items()
                if name.startswith(f"{run_id}/")
            }
            about = {"job": scenario.name, "key": key, "id": run_id, "words": scenario.words}
            runs.append({**about, "posted": mine, "paid": scenario.paid})
    (folder / MANIFEST).write_text(json.dumps({"revision": revision, "runs": runs}, indent=1))
    return len(runs)


def write_sources(folder: Path) -> None:
    """Rows, and the same as ready requests."""
    numbers = range(ROWS)
    pq.write_table(
        pa.table({"id": [f"t-{n}" for n in numbers], "text": [f"word {n}" for n in numbers]}), folder / SOURCE
    )
    asked = [{"model": "m", "messages": [{"role": "user", "content": f"Say word {n}"}]} for n in numbers]
    lines = [
        json.dumps({"custom_id": f"t-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body})
        + "\n"
        for n, body in enumerate(asked)
    ]
    (folder / REQUESTS).write_text("".join(lines))
    for name in (SOURCE, REQUESTS):
        os.utime(folder / name, (_LONG_AGO, _LONG_AGO))


def job_of(scenario: Scenario) -> dict[str, Any]:
    """The job file; its batches never expire at the service, for nobody knows when they are gone on with."""
    metadata = {"nightmail_faults": scenario.faults, "scenario": scenario.name}
    return {
        "name": scenario.name,
        "source": {"path": SOURCE, "key": "id"},
        "prompt": {"model": "m", "user": "Say {{ text }}"},
        "provider": {"name": "local", "completion_window": "3650d", "metadata": metadata},
        "limits": {"max_requests": CHUNK_ROWS},
        "poll": {"first_seconds": 0.05, "max_seconds": 0.1},
        "output": {"path": f"out/{scenario.name}"},
        **scenario.job,
    }


@contextmanager
def serving(folder: Path, environ: dict[str, str]) -> Iterator[None]:
    """A batch service in that folder which misbehaves when it is asked to; it is stopped in the end."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "tasks.local_batch", "--folder", str(folder), "--allow-faults"]
    service = subprocess.Popen(command, env=environ, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    try:
        assert service.stdout.readline().startswith("READY")
        yield
    finally:
        service.terminate()
        service.wait(60)


@contextmanager
def taking(folder: Path, environ: dict[str, str]) -> Iterator[Callable[[Step, Scenario], None]]:
    """What runs a command in the folder to its end, or where it is stopped."""
    command = [sys.executable, str(HERE / "stopped.py")]
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        orders, answers = child.stdin, child.stdout
        assert orders is not None
        assert answers is not None

        def take(step: Step, scenario: Scenario) -> None:
            orders.write(json.dumps({**asdict(step), "job": scenario.name}) + "\n")
            orders.flush()
            code = int(answers.readline())
            expected = -9 if step.kill else 130 if step.sleeps is not None else 0
            if code != expected:
                said = (folder / "said.log").read_text()
                sys.exit(f"{scenario.name}: ended with {code}, not {expected}\n{said}")

        yield take
        orders.close()


def leave_no_traces(folder: Path) -> None:
    """Remove what names this machine, and the service's token."""
    (folder / "said.log").unlink()
    for name in _OF_A_PROCESS:
        (folder / SERVICE / name).unlink(missing_ok=True)
    with closing(sqlite3.connect(folder / "home/ledger.db")) as ledger, ledger:
        ledger.execute(
            "update runs set lease_owner = 'worker' || substr(lease_owner, instr(lease_owner, '/'))"
        )


def refuse_traces(folder: Path) -> None:
    """End with an error if the folder still says where it was made."""
    told = (str(folder), str(HERE.parents[1]), socket.gethostname())
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for name in told:
            if name.encode() in content:
                sys.exit(f"{path}: says {name}")


if __name__ == "__main__":
    main()
