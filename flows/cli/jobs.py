"""The command `jobs`: the job files, whether they are right, and whether the Prefect server has them so."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from configs.clock import SystemClock
from configs.errors import NightmailError
from flows.cli import terminal
from flows.cli.app import ALL_ANSWERED, USAGE, AsJson, app, prefect_server

if TYPE_CHECKING:
    from tasks.runs.jobs import CheckedJob

_KEYS = [
    "job",
    "file",
    "schedule",
    "next_start",
    "source",
    "provider",
    "model",
    "output",
    "deployed",
    "problem",
]
_COLUMNS = ("job", "schedule", "next_start", "source", "model", "deployed")


@app.command
def jobs(*, as_json: AsJson = False) -> int:
    """List the jobs, check them as `plan` does but for their rows, and compare them with what is deployed. 2 if one is wrong."""
    from flows.deploy.files import FOLDER, fixed_names
    from tasks.orchestration.blocks import load_home
    from tasks.runs.jobs import checked_jobs

    checked = checked_jobs(load_home(os.environ), SystemClock(), fixed_names(FOLDER))
    problems = [each.problem for each in checked if each.problem]
    deployed: dict[str, str] | None = None
    note = "no Prefect server"
    try:
        deployed = _deployed(checked) if prefect_server() else None
    except NightmailError as error:
        note = str(error)
    rows = [_row(each, deployed) for each in checked]
    if all(each.job for each in checked):  # or it may be that file's
        names = {row["job"] for row in rows}
        rows += [
            {**dict.fromkeys(_KEYS), "job": name, "deployed": state}
            for name, state in (deployed or {}).items()
            if name not in names
        ]
    if as_json:
        terminal.show_json(rows)
    else:
        terminal.show_table(
            _COLUMNS,
            [[_shown(row[column]) for column in _COLUMNS] for row in rows],
            shorten=("source", "deployed"),
            drop=("model",),
        )
    for problem in problems:
        terminal.say(f"nightmail: {problem}", logging.ERROR)
    if deployed is None:
        terminal.say(f"not compared: {note}")
    elif any(state != "yes" for state in deployed.values()):
        terminal.say("`nightmail deploy` makes the deployments those of the files.")
    return USAGE if problems else ALL_ANSWERED


def _shown(value: Any) -> Any:
    """A cell: of a time also its zone, which is the schedule's."""
    return f"{value:%Y-%m-%d %H:%M %Z}" if isinstance(value, datetime) else value


def _row(checked: CheckedJob, deployed: dict[str, str] | None) -> dict[str, Any]:
    job = checked.job
    name = job.name if job else checked.file.rpartition("/")[2].rpartition(".")[0]
    values: dict[str, Any] = {
        "job": name,
        "file": checked.file,
        "next_start": checked.next_start,
        "deployed": (deployed or {}).get(name) if job else None,
        "problem": checked.problem,
    }
    if job:
        schedule = job.schedule
        values |= {
            "schedule": schedule and (schedule.cron if schedule.active else f"{schedule.cron} (off)"),
            "source": job.source.path,
            "provider": job.provider.name,
            "model": job.prompt.model,
            "output": job.output.path,
        }
    return {key: values.get(key) for key in _KEYS}


def _deployed(checked: Sequence[CheckedJob]) -> dict[str, str]:
    """`yes`, `no` or what differs, by the names of the jobs and of those whose file is gone."""
    from flows.deploy.files import FOLDER
    from flows.deploy.jobs import DeployedJob
    from flows.deploy.server import compare_jobs

    found = compare_jobs(FOLDER, [DeployedJob(each.file, each.job) for each in checked if each.job])
    return {
        name: "no" if changed is None else f"differs: {', '.join(changed)}" if changed else "yes"
        for name, changed in found.items()
    }
