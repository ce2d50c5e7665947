"""What the commands load: pandas takes half a second and 35 MB, and only those that show its tables pay for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rigs.checkout import ROOT
from rigs.workspace import Workspace

# The commands one after the other in one process; after each, whether pandas is there.
_PROBE = """
import contextlib, io, sys
from flows.cli.main import main
for words in sys.argv[1:]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(words.split())
    print(words.split()[0], "pandas" in sys.modules)
"""


def loads_pandas(workspace: Workspace, *commands: str) -> list[str]:
    """Per command its first word, and whether pandas is loaded after it."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *commands],
        cwd=workspace.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_no_run_and_nothing_that_looks_at_one_loads_pandas(workspace: Workspace) -> None:
    workspace.faults("row_error:400:t-3")  # its report shows a row of every status
    workspace.change("prompt.schema", {"type": "object", "properties": {"n": {"type": "integer"}}})
    job = workspace.write()
    commands = (
        "--help",
        "status",
        f"plan {job}",
        f"run {job} --key k",
        "status",
        "status letters/k",
        "batches --json",
    )
    assert loads_pandas(workspace, *commands) == [f"{command.split()[0]} False" for command in commands]
    assert loads_pandas(workspace, "status --csv") == ["status True"]  # or the question would prove nothing
