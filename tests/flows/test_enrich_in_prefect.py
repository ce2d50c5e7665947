"""What a person sees of a deployed run: the form, names, states, artifacts, failures in one line."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml

from configs.options import options
from configs.request import RunRequest
from flows.cancel import cancel
from flows.enrich import enrich
from rigs.dask_cluster import DaskServers
from rigs.deployed import Deployed
from rigs.prefect_server import PrefectServer, logged, steps_of
from rigs.s3 import S3Prefix
from rigs.workspace import everything_once

if TYPE_CHECKING:
    from prefect.client.schemas.objects import TaskRun

pytestmark = pytest.mark.slow


def test_a_run_with_naps_has_a_name_a_message_a_tag_and_one_artifact_of_each_kind(
    deployed: Deployed, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTMAIL_LOG", "json")
    workspace = deployed.workspace
    workspace.change("timezone", "Asia/Tokyo")
    workspace.change("limits", {"max_requests": 5})
    workspace.faults("status:scheduling:1")
    # Long enough that it can be looked at while it sleeps.
    workspace.change("poll", {"first_seconds": 10, "max_seconds": 10})
    run = deployed.start(
        deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False, tags=["team"]),
        job=workspace.write(),
        date="2026-11-21",
    )
    # A sleeping run names no process; the id is cleared right after the state is set.
    napping = deployed.until(
        run, lambda found: found.state.name == "Sleeping" and not found.infrastructure_pid
    )
    wake = napping.state.state_details.scheduled_time.astimezone(ZoneInfo("Asia/Tokyo"))
    assert napping.name == "letters 2026-11-21"
    assert napping.state.message.startswith(f"0/2 batches done, 0/10 rows, next look {wake:%H:%M}; ")
    assert (
        f"batches: {prefect_server.url.removesuffix('/api')}/artifacts/key/batches-letters"
        in napping.state.message
    )
    assert set(napping.tags) == {"team", "0 % done"}
    assert len(json.loads(deployed.artifacts(run)["batches-letters"].data)) == 2

    over = deployed.until_over(run)
    assert over.state.name == "Completed", deployed.log[-3000:]
    assert over.state.message.startswith(f"10 rows (10 succeeded) to {workspace.folder}/out/letters; cost: ")
    assert over.tags == ["team"]
    shown = deployed.artifacts(run)
    assert set(shown) == {"progress-letters", "batches-letters", "receipt-letters"}
    table = json.loads(shown["batches-letters"].data)
    assert [(row["chunk"], row["state"], row["completed"]) for row in table] == [
        (1, "completed", 5),
        (2, "completed", 5),
    ]
    assert all(row["batch"].startswith("batch_") for row in table)
    assert float(shown["progress-letters"].data) == 100.0
    assert "10 rows" in shown["receipt-letters"].data
    steps = {step.name: step.state.message for step in steps_of(deployed.client, run) if step.state}
    assert {"prepare", "submit chunk 1", "poll chunk 2", "publish"} <= set(steps)
    assert steps["submit chunk 1"].startswith(f"posted batch {table[0]['batch']}: 5 rows in ")
    assert steps["merge chunk 1"].startswith("merged 5 rows: 5 succeeded; ")
    told = {f"Sleeping: {napping.state.message}", *filter(None, steps.values())}
    # What a process says last reaches the server after its flow run has ended.
    deployed.until(run, lambda _: told <= {text for _, text in logged(deployed.client, run)})
    assert not [
        text
        for _, text in logged(deployed.client, run)
        if text.startswith(("Finished in state Completed()", "Finished in state Sleeping"))
    ]
    assert workspace.column("llm_status") == ["succeeded"] * 10
    # A worker's own lines are among those of its processes, which it hands on as it finds time.
    deployed.until(run, lambda _: "publish" in {line.get("step") for line in deployed.json_lines})
    lines = deployed.json_lines
    assert {"prepare", "submit", "poll", "collect", "merge"} <= {line.get("step") for line in lines}
    assert {(line["job"], line["key"]) for line in lines if "step" in line} == {("letters", "2026-11-21")}
    assert "sk-secret" not in deployed.log


def test_a_finished_run_asks_its_unanswered_rows_again_when_told_to_and_sleeps_meanwhile(
    deployed: Deployed,
) -> None:
    workspace = deployed.workspace
    workspace.change("retry.max_attempts", 1)
    workspace.change("poll", {"first_seconds": 1, "max_seconds": 1})
    workspace.faults("row_error:500:t-1|t-2*1,status:in_progress:1")
    deployment = deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False)
    first = deployed.start(deployment, job=workspace.write(), key="k")
    deployed.until_over(first)
    receipt = deployed.artifacts(first)["receipt-letters"].data
    assert "2 rows may be answered when asked again: run the same job and key with `retry`." in receipt

    second = deployed.start(deployment, job=workspace.write(), key="k", retry=True)
    over = deployed.until_over(second)
    assert over.state.name == "Completed", over.state.message
    assert over.run_count >= 2, "it slept, and was told to retry each time it woke"
    assert workspace.statuses() == {"succeeded": 10}
    assert workspace.paid() == {"1/1": 1, "1/2": 1}


def test_a_rate_limit_while_polling_is_a_wait_and_no_failure(deployed: Deployed) -> None:
    workspace = deployed.workspace
    # So short that it is mostly over at once: each longer wait is a sleep, and a new process after it.
    workspace.service.fault("retrieve", "status:429", times=2, retry_after=0.02)
    run = deployed.start(
        deployed.deploy(enrich, "limited", enforce_parameter_schema=False),
        job=workspace.write(),
        key="limited",
    )
    assert deployed.until_over(run).state.name == "Completed", deployed.log[-3000:]
    # The server hears of steps in any order.
    deployed.until(run, lambda _: len(postponed_of(deployed, run)) == 2)
    assert {step.state.type.value for step in steps_of(deployed.client, run)} == {"COMPLETED"}
    postponed = postponed_of(deployed, run)
    assert [step.name for step in postponed] == ["poll chunk 1"] * 2
    assert "HTTP 429" in postponed[0].state.message
    assert [text for level, text in logged(deployed.client, run) if level >= logging.WARNING] == []
    assert "NoneType: None" not in deployed.log


def postponed_of(deployed: Deployed, run: UUID) -> list[TaskRun]:
    return [step for step in steps_of(deployed.client, run) if step.state and step.state.name == "Postponed"]


def test_on_a_cluster_the_tasks_are_phases_however_many_chunks_there_are(
    deployed: Deployed, dask_servers: DaskServers
) -> None:
    workspace = deployed.workspace
    workspace.change("limits", {"max_requests": 2})
    workspace.change("execution", {"engine": "dask", "address": dask_servers.address})
    run = deployed.start(
        deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False), job=workspace.write(), key="k"
    )
    assert deployed.until_over(run).state.name == "Completed", deployed.log[-3000:]
    assert {step.name for step in steps_of(deployed.client, run)} == {"prepare", "advance", "publish"}
    everything_once(workspace)


def test_the_form_refuses_a_job_that_is_not_among_the_files(deployed: Deployed) -> None:
    deployment = deployed.deploy(enrich, "form")
    with pytest.raises(httpx.HTTPStatusError) as refused:
        deployed.start(deployment, job="configs/jobs/absent.yaml")
    said = refused.value.response.json()["detail"]
    assert "'job'" in said
    assert "'configs/jobs/absent.yaml' is not one of" in said
    assert "configs/jobs/quickstart.yaml" in said
    with pytest.raises(httpx.HTTPStatusError) as refused:
        deployed.start(deployment, job="configs/jobs/quickstart.yaml", provider="nobody")
    assert "'provider'" in refused.value.response.json()["detail"]
    kept = deployed.client.read_deployment(deployment).parameter_openapi_schema["properties"]
    assert "configs/jobs/quickstart.yaml" in kept["job"]["enum"]
    assert kept["job"]["description"] == options(RunRequest)["job"].help


def test_a_job_in_a_bucket_needs_nothing_on_the_workers_disk(deployed: Deployed, s3: S3Prefix) -> None:
    tree = {**deployed.workspace.tree, "source": {"path": "../rows.csv", "key": "id"}}
    job = f"{s3.url}/jobs/bucket.yaml"
    s3.fs.pipe_file(job, yaml.safe_dump({**tree, "output": {"path": "../out"}}).encode())
    s3.fs.pipe_file(f"{s3.url}/rows.csv", b"id,text\na,one\nb,two\n")
    deployment = deployed.deploy(enrich, "bucket", enforce_parameter_schema=False, parameters={"job": job})
    environ = {**deployed.environ, **s3.server.environ}
    run = deployed.client.create_flow_run_from_deployment(
        deployment, parameters={"key": "k"}, job_variables={"env": environ}
    )
    over = deployed.until_over(run.id)
    assert (over.state.name, over.name) == ("Completed", "letters k"), deployed.log[-3000:]
    assert [name for name in s3.names("out") if name.endswith(".parquet")]


def test_a_dry_run_leaves_its_plan(deployed: Deployed) -> None:
    run = deployed.start(
        deployed.deploy(enrich, "form"),
        job="configs/jobs/quickstart.yaml",
        dry_run=True,
        limit=3,
        date="2026-11-20",
    )
    assert deployed.until_over(run).state.name == "Completed", deployed.log[-3000:]
    assert "Nothing was written or posted" in deployed.artifacts(run)["plan-quickstart"].data


def test_an_expected_failure_is_one_line(deployed: Deployed) -> None:
    workspace = deployed.workspace
    workspace.change("source.path", "gone.parquet")
    run = deployed.start(
        deployed.deploy(enrich, "ad-hoc", enforce_parameter_schema=False), job=workspace.write(), key="k"
    )
    stray = deployed.start(deployed.deploy(cancel, "cancel"), run="nobody/knows")
    over = deployed.until_over(run)
    assert over.state.name == "Failed"
    assert over.state.message.startswith(f"{workspace.folder}/gone.parquet")
    assert "\n" not in over.state.message
    over = deployed.until_over(stray)
    assert over.state.name == "Failed"
    assert over.state.message.startswith("nobody/knows: ")
    assert "tasks/cancel.py" not in deployed.log
    assert "tasks/runs/opening.py" not in deployed.log


def test_a_date_that_was_missed_is_skipped_and_says_how_to_run_it(deployed: Deployed) -> None:
    workspace = deployed.workspace
    workspace.change("run.start_within", "2h")
    now = datetime.now(UTC)
    run = deployed.on_schedule(enrich, "missed", now - timedelta(days=2), job=workspace.write())
    over = deployed.until_over(run)
    assert (over.state.type, over.state.name) == ("COMPLETED", "Skipped"), over.state.message
    missed = now.date() - timedelta(days=3)
    assert f"was skipped; to make up for it, run `backfill` with start and end {missed}" in over.state.message
    assert not workspace.home.folder.exists() or not workspace.ledger.recent_runs()


def test_a_late_run_is_of_the_day_it_was_scheduled_for(deployed: Deployed) -> None:
    workspace = deployed.workspace
    workspace.change("run.start_within", None)
    due = datetime.now(UTC) - timedelta(days=2)
    run = deployed.on_schedule(enrich, "late", due, job=workspace.write())
    over = deployed.until_over(run)
    day_before = due.date() - timedelta(days=1)
    assert over.state.name == "Completed", over.state.message
    assert over.name == f"letters {day_before}"
    assert [found.logical_date for found in workspace.ledger.recent_runs()] == [day_before]
