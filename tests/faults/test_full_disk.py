"""A disk that is really full, a small tmpfs: one line, nothing half-written left, and the same command goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from rigs.checkout import ROOT
from rigs.workspace import Workspace

pytestmark = pytest.mark.slow

ROWS = 1_000
# A mount namespace of its own: the tmpfs goes with the process, and nobody else sees it. Each run is a fork of its own.
SCRIPT = """
import os, subprocess, sys

import flows.enrich, tasks.providers.openai.openai
from flows.cli.main import main

small, kept, size = sys.argv[1:]

def run(name):
    child = os.fork()
    if child == 0:
        try:
            main(["run", "job.yaml", "--key", "k"])
        except SystemExit as ended:
            os._exit(ended.code)
    print(f"{name}: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", file=sys.stderr, flush=True)

if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", small]).returncode:
    sys.exit(77)
run("first")
ends = (".new", ".part", ".old", ".publishing")
print("left", [name for _, _, names in os.walk(small) for name in names if name.endswith(ends)], file=sys.stderr)
subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
run("then")
subprocess.run(["cp", "-a", small, kept], check=True)
"""


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(workspace: Workspace, name: str) -> None:
    small, kept = workspace.folder / "small", workspace.folder / "kept"
    small.mkdir()
    workspace.source(ROWS, noise=[os.urandom(500).hex() for _ in range(ROWS)])
    workspace.change("output.path", str(small / name))
    workspace.change("limits.max_requests", 200)
    workspace.write()
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", SCRIPT, str(small), str(kept), "200"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=workspace.folder,
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("mounting is not allowed here")
    said = done.stderr.splitlines()
    (line,) = [text for text in said[: said.index("first: 3")] if text.startswith("nightmail: ")]
    assert "No space left on device; make room" in line
    assert "run the same command again" in line
    assert "left []" in said
    assert said[-1] == "then: 0"
    workspace.change("output.path", str(kept / name))
    assert set(workspace.paid().values()) == {1}
    assert workspace.column("id") == [f"t-{n}" for n in range(ROWS)]
    assert workspace.statuses() == {"succeeded": ROWS}
