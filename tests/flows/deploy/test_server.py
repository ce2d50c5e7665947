"""`nightmail deploy`: a fresh server is set up, a second time changes nothing, and what drifted is put right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from configs.errors import ConfigError
from rigs.checkout import ROOT
from rigs.prefect_server import PrefectServer

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

HOOK = "http://127.0.0.1:9/hooks/very-secret"


@pytest.fixture
def set_up(prefect_server: PrefectServer, prefect_client: SyncPrefectClient) -> Callable[..., list[str]]:
    """Deploy to the server; the lines that were said."""
    from flows.deploy.files import FOLDER
    from flows.deploy.server import deploy

    def run(*, dry_run: bool = False, folder: Path = FOLDER, **environ: str) -> list[str]:
        return list(deploy(folder, {**prefect_server.environ, **environ}, dry_run=dry_run))

    return run


def verbs(lines: list[str]) -> set[str]:
    return {line.split()[0] for line in lines}


def everything(client: SyncPrefectClient) -> dict[str, Any]:
    """What is on the server, with its times of change."""
    return {
        "pools": [(pool.name, pool.updated) for pool in client.read_work_pools()],
        "deployments": {d.name: d.model_dump() for d in client.read_deployments()},
        "automations": {a.name: a.model_dump() for a in client.read_automations()},
        "blocks": [(d.name, d.updated) for d in client.read_block_documents()],
    }


@pytest.mark.slow
def test_a_fresh_server_is_set_up_once(
    prefect_server: PrefectServer, prefect_client: SyncPrefectClient, set_up: Callable[..., list[str]]
) -> None:
    empty = everything(prefect_client)
    foreseen = set_up(dry_run=True, NIGHTMAIL_WEBHOOK_URL=HOOK)
    assert everything(prefect_client) == empty, "a dry run changes nothing"

    without = set_up()
    assert all("NIGHTMAIL_WEBHOOK_URL is not set" in line for line in without if line.startswith("skipped"))
    assert sum(line.startswith("skipped automation") for line in without) == 4
    with_alerts = set_up(NIGHTMAIL_WEBHOOK_URL=HOOK)
    done = {line for line in (*without, *with_alerts) if line.startswith("created")}
    assert done == {line.replace("would create", "created") for line in foreseen}

    before = everything(prefect_client)
    again = set_up(NIGHTMAIL_WEBHOOK_URL=HOOK)
    assert len(again) == len(foreseen)
    assert verbs(again) == {"unchanged"}
    assert everything(prefect_client) == before
    assert "very-secret" not in repr((foreseen, without, with_alerts, again))

    # Whoever knows only Prefect gets the same deployments.
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    command += ["--prefect-file", "deployments/prefect.yaml"]
    done_by_prefect = subprocess.run(
        command, env=prefect_server.environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done_by_prefect.returncode == 0, done_by_prefect.stdout
    assert verbs(set_up()) == {"unchanged"}


@pytest.mark.slow
def test_what_drifted_is_put_right_and_the_rest_is_left_alone(
    prefect_client: SyncPrefectClient, set_up: Callable[..., list[str]]
) -> None:
    set_up(NIGHTMAIL_WEBHOOK_URL=HOOK)
    quickstart = prefect_client.read_deployment_by_name("enrich/quickstart")
    (schedule,) = quickstart.schedules
    prefect_client.update_deployment_schedule(quickstart.id, schedule.id, active=False)
    sweep = prefect_client.read_deployment_by_name("sweep/sweep")
    prefect_client.update_deployment_schedule(sweep.id, sweep.schedules[0].id, active=False)
    (rule,) = prefect_client.read_automations_by_name("nightmail: a silent run is looked at")
    prefect_client.pause_automation(rule.id)

    lines = set_up(NIGHTMAIL_WEBHOOK_URL=HOOK + "-renewed")

    assert [line for line in lines if not line.startswith("unchanged")] == [
        "updated deployment sweep/sweep (schedule every-ten-minutes)",
        "updated deployment enrich/quickstart (schedule job)",
        "updated block webhook/nightmail-alerts",
        "updated automation nightmail: a silent run is looked at",
    ]
    again = set_up()  # without the variable, the block is kept as it is
    assert verbs(again) == {"unchanged"}, again
    for name in ("enrich/quickstart", "sweep/sweep"):
        assert prefect_client.read_deployment_by_name(name).schedules[0].active


def test_every_deployment_stands_in_the_file_once() -> None:
    entries = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())["deployments"]
    names = [entry["name"] for entry in entries]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("prefect.yaml", None, "prefect.yaml: does not exist"),
        ("prefect.yaml", "deployments: [", "prefect.yaml: while parsing"),
        ("automations.yaml", "- a\n- list", "automations.yaml: not a mapping"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(name: str, text: str | None, said: str, tmp_path: Path) -> None:
    from flows.deploy.server import deploy

    for file in ("prefect.yaml", "automations.yaml"):
        (tmp_path / file).write_text("{}")
    (tmp_path / name).unlink()
    if text:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        list(deploy(tmp_path, {}, dry_run=True))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_deployment_says_what_prefect_would_otherwise_guess() -> None:
    tree = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
    for entry in tree["deployments"]:
        assert {"name", "entrypoint", "description", "tags", "enforce_parameter_schema", "work_pool"} <= set(
            entry
        )
        assert "nightmail" in entry["tags"], "the automations know our runs by this tag"
        for schedule in entry.get("schedules", []):
            assert {"slug", "active"} <= set(schedule)


def test_a_run_is_looked_at_and_waked_after_three_silent_heartbeats() -> None:
    from tasks.maintenance.remedy import SILENT

    folder = ROOT / "deployments"
    (beat,) = {
        int(entry["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
        for entry in yaml.safe_load((folder / "prefect.yaml").read_text())["deployments"]
    }
    (rule,) = (
        rule
        for rule in yaml.safe_load((folder / "automations.yaml").read_text())["automations"]
        if "prefect.flow-run.heartbeat" in rule["trigger"].get("after", ())
    )
    assert rule["trigger"]["within"] >= SILENT.total_seconds() >= 3 * beat, "or the look comes too early"


@pytest.mark.soak
@pytest.mark.slow
def test_what_an_earlier_version_set_up_is_undone(
    prefect_client: SyncPrefectClient, set_up: Callable[..., list[str]]
) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.events.schemas.automations import AutomationCore

    set_up()
    (rule,) = prefect_client.read_automations_by_name("nightmail: a silent run is looked at")
    old = {**rule.model_dump(exclude={"id", "owner_resource"}), "name": "nightmail: a silent run has crashed"}
    prefect_client.create_automation(AutomationCore.model_validate(old))
    sweep = prefect_client.read_deployment_by_name("sweep/sweep")
    one_at_a_time = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    prefect_client.update_deployment(
        sweep.id, DeploymentUpdate(concurrency_limit=1, concurrency_options=one_at_a_time)
    )

    assert [line for line in set_up() if not line.startswith(("unchanged", "skipped"))] == [
        "updated deployment sweep/sweep (concurrency limit, collision strategy)",
        "deleted automation nightmail: a silent run has crashed",
    ]
    assert prefect_client.read_deployment_by_name("sweep/sweep").global_concurrency_limit is None
    assert verbs(set_up()) <= {"unchanged", "skipped"}


def test_no_automation_changes_a_state_by_itself() -> None:
    rules = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())["automations"]
    assert {action["type"] for rule in rules for action in rule["actions"]} == {
        "run-deployment",
        "call-webhook",
    }


def test_a_look_after_a_crash_comes_when_a_sweep_helps() -> None:
    from tasks.maintenance.remedy import SETTLED

    rules = yaml.safe_load((ROOT / "deployments" / "automations.yaml").read_text())["automations"]
    (delay,) = {action.get("schedule_after", 0) for rule in rules for action in rule["actions"]} - {0}
    assert delay > SETTLED.total_seconds()
