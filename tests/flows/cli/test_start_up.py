"""What the commands load: each large module takes a tenth of a second to a whole one, and only those that need it pay for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rigs.checkout import ROOT
from rigs.workspace import Workspace

HEAVY = (
    *(
        "aiohttp",
        "anthropic",
        "botocore",
        "dask",
        "fastapi",
        "fsspec",
        "google.genai",
        "jinja2",
        "numpy",
        "openai",
    ),
    *("pandas", "prefect", "pyarrow", "quicktok", "s3fs", "sqlalchemy", "uvicorn"),
)
"""The modules that are looked for."""

EXPLAINS = frozenset[str]()
LOOKS = frozenset({"numpy", "sqlalchemy"})
OPENS = LOOKS | {"fsspec", "jinja2", "pyarrow"}
PLANS = OPENS | {"quicktok"}
RUNS = PLANS | {"aiohttp", "openai"}  # aiohttp comes with openai, wherever it is installed

# The commands one after the other in one process; after each, which of the modules are there.
_PROBE = """
import contextlib, io, json, sys
from flows.cli.main import main
for words in sys.argv[2:]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(words.split())
    print(json.dumps([name for name in sys.argv[1].split() if name in sys.modules]))
"""


# A call to the embedded service, whose start ends when the SDK is there: without being asked for by the thread that starts it.
_STARTING = """
import sys, time
from contextlib import suppress
from configs.errors import TransientError
from configs.home import Home
from configs.providers.local import LocalProvider
from tasks.providers.openai import local

def start(*_, **__):
    deadline = time.monotonic() + 120
    while "openai" not in sys.modules:
        assert time.monotonic() < deadline, "the SDK is not imported meanwhile"
        time.sleep(0.01)
    return "http://127.0.0.1:9/v1"

local.ensure_running = start
service = local.connect(LocalProvider(), Home.from_environment({"NIGHTMAIL_HOME": "home"}), {})
assert "openai" not in sys.modules
with suppress(TransientError):
    service.retrieve("batch_1")
"""


def loaded(folder: Path, *commands: str) -> list[set[str]]:
    """Which of `HEAVY` are loaded after each command; nothing names a Prefect server, unless `folder` does."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, " ".join(HEAVY), *commands],
        cwd=folder,
        env={**others, "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [set(json.loads(line)) for line in done.stdout.splitlines()]


def beyond(folder: Path, *budgets: tuple[str, frozenset[str]]) -> dict[str, set[str]]:
    """What commands have loaded beyond what they may, by command; each may have what those before it may."""
    found = loaded(folder, *(command for command, _ in budgets))
    pairs = zip(budgets, found, strict=True)
    return {command: modules - may for (command, may), modules in pairs if modules - may}


def test_help_and_what_looks_at_runs_load_neither_arrow_nor_prefect_nor_an_sdk(tmp_path: Path) -> None:
    explaining = (
        "--help",
        "run --help",
        "submit --help",
        "stats --help",
        "rows --help",
        "console --help",
        "schema source",
        "webhooks --help",
    )
    looking = ("status", "status --json", "batches")
    budgets = [*((each, EXPLAINS) for each in explaining), *((each, LOOKS) for each in looking)]
    assert beyond(tmp_path, *budgets) == {}


def test_what_posts_nothing_loads_neither_prefect_nor_an_sdk(tmp_path: Path) -> None:
    job = ROOT / "configs/jobs/quickstart.yaml"
    opening = ("doctor", "cancel nobody/k", "approve nobody/k", "clean", "sweep", "rows nobody/k")
    planning = (f"plan {job}", f"render {job} --out requests", f"run {job} --dry-run")
    serving = ("console --jobs nowhere", PLANS | {"uvicorn"})
    budgets = [*((each, OPENS) for each in opening), *((each, PLANS) for each in planning), serving]
    assert beyond(tmp_path, *budgets) == {}
    assert [*(tmp_path / "requests").iterdir()]  # or the question would prove nothing


def test_the_sdk_is_imported_while_the_embedded_service_starts(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", _STARTING], cwd=tmp_path, env=environ, check=True)


def test_a_configured_prefect_server_is_asked(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PREFECT_API_URL=http://127.0.0.1:9/api")
    assert "prefect" in loaded(tmp_path, "sweep")[0]


@pytest.mark.slow
def test_no_run_and_nothing_that_looks_at_one_loads_more_than_it_needs(workspace: Workspace) -> None:
    workspace.faults("row_error:400:t-3")  # its report shows a row of every status
    workspace.change("prompt.schema", {"type": "object", "properties": {"n": {"type": "integer"}}})
    job = workspace.write()
    request = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": request}
    (workspace.folder / "ready.jsonl").write_text(json.dumps(line))
    running = (
        f"run {job} --key k",
        f"backfill {job} --start 2026-11-20 --end 2026-11-20",
        "submit ready.jsonl --provider local",
        f"run {job} --key k --retry",
        "sweep",
        "clean --yes",
    )
    assert beyond(workspace.folder, (f"plan {job}", PLANS), *((each, RUNS) for each in running)) == {}
    looking = ("status", "status letters/k", "batches --json")
    assert beyond(workspace.folder, *((each, LOOKS) for each in looking)) == {}
    for words in ("status --csv", "stats"):  # or the question would prove nothing
        assert loaded(workspace.folder, words)[0] == LOOKS | {"pandas", "pyarrow"}
