"""`nightmail deploy` where no Prefect server is set; for `clean` and `sweep` see tests/tasks/maintenance/."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_without_a_server_it_says_what_to_start() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "deploy"],
        env=environ | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("nightmail: PREFECT_API_URL: not set; start a server with")
    assert len(done.stderr.splitlines()) == 1
