"""A deployment for each job: made, left alone, changed, removed; and what `nightmail jobs` says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from configs.errors import ConfigError
from configs.load import load_job
from configs.schedule import Schedule
from rigs.checkout import ROOT
from rigs.command_line import nightmail
from rigs.prefect_server import PrefectServer

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


TREE = {
    "source": {"path": "../rows.csv"},
    "prompt": {"model": "m", "user": "Say {{ text }}"},
    "output": {"path": "../out/{job}"},
}


class Jobs:
    """A folder of jobs, and a deploy of them and of `ad-hoc` alone."""

    def __init__(self, folder: Path, server: PrefectServer) -> None:
        self.folder = folder / "jobs"
        self.folder.mkdir()
        self._files = folder
        self._server = server
        pages = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
        pages["deployments"] = [each for each in pages["deployments"] if each["name"] == "ad-hoc"]
        self.prefect_file = folder / "prefect.yaml"
        self.prefect_file.write_text(yaml.safe_dump(pages))
        (folder / "automations.yaml").write_text("{}")
        (folder / "rows.csv").write_text("text\nhello\n")

    def write(self, name: str, **more: Any) -> Path:
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**TREE, "name": name, **more}))
        return file

    def deploy(self, *, dry_run: bool = False) -> list[str]:
        from flows.deploy.server import deploy

        lines = list(deploy(self._files, self._server.environ, dry_run=dry_run))
        return [line for line in lines if "ad-hoc" not in line and "work pool" not in line]


@pytest.fixture
def jobs(
    tmp_path: Path,
    prefect_server: PrefectServer,
    prefect_client: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> Jobs:
    """An empty folder of jobs, which NIGHTMAIL_JOBS_URL names, and a server without deployments of jobs."""
    from flows.deploy.jobs import job_deployments

    monkeypatch.setenv("NIGHTMAIL_JOBS_URL", str(tmp_path / "jobs"))
    monkeypatch.setenv("NIGHTMAIL_HOME", str(tmp_path / "home"))
    for left in [*job_deployments(prefect_client)]:
        prefect_client.delete_deployment(left.id)
    return Jobs(tmp_path, prefect_server)


@pytest.mark.slow
def test_each_job_has_a_deployment_that_follows_its_file(
    jobs: Jobs, prefect_client: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import IntervalSchedule

    file = jobs.write(
        "letters", description="Sort letters.", schedule={"cron": "30 22 * * *"}, timezone="Asia/Tokyo"
    )
    jobs.write("reviews")
    made = ["created deployment enrich/letters", "created deployment enrich/reviews"]
    assert jobs.deploy(dry_run=True) == [line.replace("created", "would create") for line in made]
    assert jobs.deploy() == made
    assert jobs.deploy() == [line.replace("created", "unchanged") for line in made]

    letters = prefect_client.read_deployment_by_name("enrich/letters")
    assert (letters.description, letters.parameters) == ("Sort letters.", {"job": str(file)})
    assert sorted(letters.tags) == ["enrich", "job:letters", "nightmail"]
    (schedule,) = letters.schedules
    assert schedule.schedule.model_dump(include={"cron", "timezone"}) == {
        "cron": "30 22 * * *",
        "timezone": "Asia/Tokyo",
    }
    ad_hoc = prefect_client.read_deployment_by_name("enrich/ad-hoc")
    same = {
        "entrypoint",
        "path",
        "pull_steps",
        "job_variables",
        "work_pool_name",
        "concurrency_options",
        "enforce_parameter_schema",
    }
    assert letters.model_dump(include=same) == ad_hoc.model_dump(include=same)
    assert letters.global_concurrency_limit is not None

    # Its form: few fields, and no other job. PostgreSQL keeps the fields in an order of its own.
    fields = letters.parameter_openapi_schema["properties"]
    assert sorted(fields, key=lambda name: fields[name]["position"]) == [
        "job",
        "date",
        "limit",
        "dry_run",
        "key",
        "redo",
        "retry",
        "snapshot",
    ]
    run = prefect_client.create_flow_run_from_deployment(letters.id, parameters={"limit": 3})
    assert run.parameters == {"job": str(file), "limit": 3}
    with pytest.raises(httpx.HTTPStatusError) as refused:
        prefect_client.create_flow_run_from_deployment(letters.id, parameters={"job": "other.yaml"})
    assert "'other.yaml' is not one of" in refused.value.response.json()["detail"]

    # What somebody added in the UI stays, what is in the file is what holds.
    weekly = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=604_800))
    prefect_client.create_deployment_schedules(letters.id, [weekly])
    assert jobs.deploy() == [line.replace("created", "unchanged") for line in made]
    jobs.write("letters", schedule={"cron": "0 5 * * *", "active": False})
    assert (
        jobs.deploy(dry_run=True)[1] == "would update deployment enrich/letters (description, schedule job)"
    )
    assert nightmail("jobs", "--json") == 0
    shown = {row["job"]: row["deployed"] for row in json.loads(capsys.readouterr().out)}
    assert shown == {"letters": "differs: description, schedule job", "reviews": "yes"}
    assert "updated deployment enrich/letters (description, schedule job)" in jobs.deploy()
    letters = prefect_client.read_deployment_by_name("enrich/letters")
    assert sorted(str(each.slug) for each in letters.schedules) == ["None", "job"]
    assert [each.active for each in letters.schedules if each.slug == "job"] == [False]
    jobs.write("letters")
    assert "updated deployment enrich/letters (schedule job)" in jobs.deploy()
    letters = prefect_client.read_deployment_by_name("enrich/letters")
    assert [each.slug for each in letters.schedules] == [None]


@pytest.mark.slow
def test_a_deployment_whose_job_is_gone_goes_once_its_runs_are_over(
    jobs: Jobs, prefect_client: SyncPrefectClient, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect.states import Completed, Running, Scheduled

    for name in ("letters", "reviews"):
        jobs.write(name, schedule={"cron": "30 22 * * *"})
    jobs.deploy()
    letters, reviews = (
        prefect_client.read_deployment_by_name(f"enrich/{name}") for name in ("letters", "reviews")
    )
    ours = {"nightmail", "enrich"}
    by_hand = prefect_client.create_deployment(
        letters.flow_id, "by-hand", tags=[*ours], entrypoint=letters.entrypoint
    )
    old = prefect_client.create_deployment(
        letters.flow_id, "nightly", tags=[*ours], entrypoint=letters.entrypoint
    )
    asleep = prefect_client.create_flow_run_from_deployment(letters.id)
    prefect_client.set_flow_run_state(asleep.id, Running(), force=True)
    prefect_client.set_flow_run_state(asleep.id, Scheduled(name="Sleeping"), force=True)
    for name in ("letters", "reviews"):
        (jobs.folder / f"{name}.yaml").unlink()
    jobs.write("third")
    kept = "kept deployment enrich/letters, switched off: a run of it is not over; deploy again when it is"

    foreseen = jobs.deploy(dry_run=True)
    assert prefect_client.read_deployment(reviews.id).schedules[0].active
    assert prefect_client.read_deployment(letters.id).schedules[0].active
    assert nightmail("jobs") == 0
    assert "its file is gone" in capsys.readouterr().out
    done = jobs.deploy()
    assert sorted(done) == sorted(
        [
            "created deployment enrich/third",
            "deleted deployment enrich/reviews",
            "deleted deployment enrich/nightly",
            kept,
        ]
    )
    assert len(foreseen) == len(done)
    assert not prefect_client.read_deployment(letters.id).schedules[0].active
    assert prefect_client.read_flow_run(asleep.id).deployment_id == letters.id

    prefect_client.set_flow_run_state(asleep.id, Completed(), force=True)
    assert "deleted deployment enrich/letters" in jobs.deploy()
    assert {each.name for each in prefect_client.read_deployments()} == {"ad-hoc", "by-hand", "third"}
    assert old != by_hand


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{}", "deployments:", "deployments: []\nretired: [enrich/nightly]"])
def test_a_file_without_deployments_leaves_those_of_the_jobs_alone(
    jobs: Jobs, prefect_client: SyncPrefectClient, text: str
) -> None:
    jobs.write("letters", schedule={"cron": "30 22 * * *"})
    jobs.deploy()
    before = prefect_client.read_deployment_by_name("enrich/letters")
    jobs.prefect_file.write_text(text)
    for dry_run in (True, False):
        assert [line for line in jobs.deploy(dry_run=dry_run) if "enrich/letters" in line] == []
    assert prefect_client.read_deployment_by_name("enrich/letters") == before


def names_of_one(jobs: Jobs) -> str:
    jobs.write("letters")
    (jobs.folder / "second.yaml").write_text((jobs.folder / "letters.yaml").read_text())
    return "'letters' is that of"


def name_of_a_fixed_one(jobs: Jobs) -> str:
    jobs.write("ad-hoc")
    return "'ad-hoc' is that of a deployment of prefect.yaml; give it another"


def wrong_file(jobs: Jobs) -> str:
    jobs.write("letters", schedule={"cron": "now"})
    return "schedule.cron: is no cron expression of five fields"


def no_file(_: Jobs) -> str:
    return "holds no job file"


@pytest.mark.slow
@pytest.mark.parametrize("make", [names_of_one, name_of_a_fixed_one, wrong_file, no_file])
def test_jobs_that_cannot_be_deployed_are_one_line_and_change_nothing(
    jobs: Jobs, prefect_client: SyncPrefectClient, make: Callable[[Jobs], str]
) -> None:
    before = {each.name for each in prefect_client.read_deployments()}
    said = make(jobs)
    with pytest.raises(ConfigError) as caught:
        jobs.deploy()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {each.name for each in prefect_client.read_deployments()} == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cron": "0 22 LW * *"}, "schedule.cron: Prefect refuses '0 22 LW * *'; write another"),
        ({"timezone": "Nowhere"}, "schedule.timezone: Prefect refuses 'Nowhere'; write another"),
    ],
)
def test_a_schedule_that_prefect_refuses_is_named_with_its_file(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    from flows.deploy.differences import Wanted
    from flows.deploy.jobs import DeployedJob, wanted_of_jobs

    file = tmp_path / "letters.yaml"
    file.write_text(yaml.safe_dump({**TREE, "name": "letters"}))
    # As if the check of the job file had let it pass.
    let_pass = Schedule(cron="30 22 * * *").model_copy(update=changes)
    job = load_job(file).model_copy(update={"schedule": let_pass})
    with pytest.raises(ConfigError) as caught:
        wanted_of_jobs([DeployedJob(str(file), job)], [Wanted({"name": "ad-hoc", "tags": []}, "enrich", {})])
    assert str(caught.value) == f"{file}: {said}"
