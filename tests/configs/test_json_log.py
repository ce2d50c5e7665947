"""NIGHTMAIL_LOG=json: what a process says on stderr, as a collector reads it line by line."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.json_log import FIELDS, log_as_asked
from rigs.checkout import ROOT
from rigs.workspace import Workspace

_PROGRAM = """
import logging, os, warnings
from configs.json_log import about_run, log_as_asked
log_as_asked(os.environ)
log_as_asked(os.environ)  # the second flow of a process
log = logging.getLogger("tasks.some")
with about_run(run="r1", job="letters", key="k"):
    log.info("a\\u2028b\\nc at https://me:secret@host/x", extra={"chunk": 3, "password": "secret", "batch": None})
try:
    raise ValueError("bad")
except ValueError:
    log.exception("broken")
logging.getLogger("others").info("not heard")
warnings.warn("old")
"""


def objects(text: str) -> list[dict[str, Any]]:
    """Every line as JSON: one that is not is an error."""
    return [json.loads(line) for line in text.split("\n") if line]


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NIGHTMAIL_LOG": "json", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_record_is_one_line_with_what_is_known_of_it_and_nothing_else() -> None:
    said, broken, warned = objects(run("-c", _PROGRAM).stderr)
    at = datetime.fromisoformat(said.pop("time"))
    assert at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - at) < timedelta(hours=1)
    assert said == {
        "level": "INFO",
        "logger": "tasks.some",
        "message": "a\u2028b\nc at https://host/x",
        "run": "r1",
        "job": "letters",
        "key": "k",
        "chunk": 3,
    }
    assert (broken["level"], broken["message"]) == ("ERROR", "broken")
    assert "run" not in broken
    assert "ValueError: bad" in broken["traceback"]
    assert warned["logger"] == "py.warnings"


def test_a_run_of_the_command_line_is_told_in_json_from_the_first_step_to_the_last(
    workspace: Workspace,
) -> None:
    workspace.change("limits.max_requests", 5)
    done = run("-m", "flows.cli.main", "run", workspace.write(), "--key", "k", NO_COLOR="1")
    assert done.returncode == 0, done.stderr
    lines = objects(done.stderr)
    steps = [line for line in lines if "step" in line]
    assert {line["step"] for line in steps} == {"prepare", "submit", "poll", "collect", "merge", "publish"}
    assert {(line["run"], line["job"], line["key"]) for line in steps} == {(workspace.run_id, "letters", "k")}
    assert {line.get("chunk") for line in steps} == {None, 1, 2}
    assert {line["batch"] for line in steps if line["step"] == "submit"} == {
        batch.batch_id for batch in workspace.batches()
    }
    assert set().union(*lines) <= {"time", "level", "logger", "message", *FIELDS}
    assert os.environ["TEST_KEY"] not in done.stderr
    assert done.stdout.startswith("letters k: 10 rows (10 succeeded)")


def test_an_error_of_the_command_line_is_a_line_too() -> None:
    (line,) = objects(run("-m", "flows.cli.main", "run", "nowhere.yaml").stderr)
    assert (line["level"], line["logger"]) == ("ERROR", "nightmail")
    assert "nowhere.yaml" in line["message"]
    done = run("-m", "flows.cli.main", "status", NIGHTMAIL_LOG="yaml")
    assert done.returncode == 2
    assert done.stderr == "nightmail: NIGHTMAIL_LOG: 'yaml' is no format of logs; use text or json\n"


def test_the_page_explains_every_field() -> None:
    page = (ROOT / "deployments" / "README.md").read_text()
    assert "".join(f"| `{name}` | {meaning} |\n" for name, meaning in FIELDS.items()) in page


@pytest.mark.parametrize("words", [{}, {"NIGHTMAIL_LOG": ""}, {"NIGHTMAIL_LOG": "text"}])
def test_nothing_changes_unless_it_is_asked_for(words: dict[str, str]) -> None:
    before = logging.getLogger().handlers[:]
    log_as_asked(words)
    assert logging.getLogger().handlers == before


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="NIGHTMAIL_LOG: 'JSON' is no format"):
        log_as_asked({"NIGHTMAIL_LOG": "JSON"})
