"""Set up a Prefect server from the files in `deployments/`; running it again changes nothing."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from configs.errors import ConfigError
from configs.request import ROOT
from flows.deploy.differences import differences, wanted_by
from flows.deploy.files import read_mapping
from flows.deploy.jobs import (
    DeployedJob,
    job_deployments,
    jobs_to_deploy,
    make_deployment,
    remove_deployment,
    wanted_of_jobs,
)
from tasks.orchestration.blocks import load_home

_BLOCKS = {"webhook/nightmail-alerts": "NIGHTMAIL_WEBHOOK_URL"}  # and the variable with its URL
_ID_FIELDS = {
    "deployment": "deployment_id",
    "block": "block_document_id",
}  # automations.yaml names deployments and blocks; Prefect wants their ids
_GONE = "its file is gone"
_PLACEHOLDER_ID = str(UUID(int=0))  # in a dry run, for objects that do not exist yet


@dataclass
class DeployTarget:
    """The server that is set up. With `dry_run`, no request changes anything on it."""

    client: SyncPrefectClient
    folder: Path
    environ: Mapping[str, str]
    dry_run: bool
    # Of deployments and blocks, by their names in the files.
    ids: dict[str, str] = field(default_factory=dict)

    def action_text(self, verb: str, subject: str) -> str:
        """`created work pool x`, or `would create …` in a dry run."""
        return f"would {verb} {subject}" if self.dry_run else f"{verb.removesuffix('e')}ed {subject}"


def deploy(folder: Path, environ: Mapping[str, str], *, dry_run: bool) -> Iterator[str]:
    """Create or update work pool, deployments, block and automations; yields a line for each.

    `folder` holds prefect.yaml and automations.yaml. Raises ConfigError when a file is wrong or the server refuses.
    """
    deployments = read_mapping(folder / "prefect.yaml")
    entries = deployments.get("deployments") or []
    rules = read_mapping(folder / "automations.yaml")
    with _connected() as client:
        target = DeployTarget(client, folder, environ, dry_run)
        for pool in sorted({entry["work_pool"]["name"] for entry in entries}):
            yield _work_pool(target, pool)
        yield from _deployments(target, entries, deployments.get("retired") or [])
        for name, variable in _BLOCKS.items():
            yield from _webhook_block(target, name, environ.get(variable))
        for entry in rules.get("automations") or []:
            yield _automation(target, entry)
        for name in rules.get("retired") or []:
            yield from _retired_automation(target, name)


def compare_jobs(folder: Path, jobs: Sequence[DeployedJob]) -> dict[str, list[str] | None]:
    """What a deploy would change of the deployments of these jobs, and of those that there are beside them: the fields by name,
    None for one that there is not yet.

    Raises as `deploy` does.
    """
    entries = read_mapping(folder / "prefect.yaml").get("deployments") or []
    with _connected() as client, contextlib.chdir(ROOT):
        wanted = wanted_of_jobs(jobs, [wanted_by(entry) for entry in entries])
        found = {each.entry["name"]: differences(client, each) for each in wanted}
        return {**{each.name: [_GONE] for each in job_deployments(client)}, **found}


@contextlib.contextmanager
def _connected() -> Iterator[SyncPrefectClient]:
    """A client of the configured server; what goes wrong with that is a ConfigError."""
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        server_message = " ".join(error.response.text.split())[:300]
        raise ConfigError(
            f"{error.request.url.path}: the Prefect server refuses it: {server_message}"
        ) from error
    except httpx.HTTPError as error:
        raise ConfigError(f"the Prefect server went away ({type(error).__name__}); run it again") from error


def _work_pool(target: DeployTarget, name: str) -> str:
    """Create the work pool as one of processes. An existing pool is left as it is: its type is the operator's choice."""
    try:
        found = target.client.read_work_pool(name)
    except ObjectNotFound:
        if not target.dry_run:
            target.client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        return target.action_text("create", f"work pool {name} (process)")
    return f"unchanged work pool {name} ({found.type})"


def _deployments(target: DeployTarget, entries: list[dict[str, Any]], retired: list[str]) -> Iterator[str]:
    """Deploy what is new or differs: the entries of prefect.yaml by Prefect's own command, and the jobs'. What nobody wants any
    more is removed."""
    jobs = jobs_to_deploy(load_home(target.environ)) if entries else []
    # Where entrypoints are relative to, and where the workers will look for them.
    with contextlib.chdir(ROOT):
        fixed = [wanted_by(entry) for entry in entries]
        of_jobs = wanted_of_jobs(jobs, fixed) if entries else []
        found = {each.name: differences(target.client, each) for each in (*fixed, *of_jobs)}
        yield from (f"unchanged deployment {name}" for name, changed in found.items() if changed == [])
        changed_names = [each.name for each in fixed if found[each.name] != []]
        if changed_names and not target.dry_run:
            _prefect_deploy(target, changed_names)
        yield from (_changed(target, name, found[name]) for name in changed_names)
        for each in of_jobs:
            if found[each.name] != []:
                if not target.dry_run:
                    make_deployment(target.client, each)
                yield _changed(target, each.name, found[each.name])
    for each in fixed:
        does_not_exist = target.dry_run and found[each.name] is None
        target.ids[each.name] = (
            _PLACEHOLDER_ID if does_not_exist else str(target.client.read_deployment_by_name(each.name).id)
        )
    # A file without entries says nothing of the jobs, which are deployed like one of them: theirs are left alone.
    of_earlier_jobs = job_deployments(target.client) if entries else ()
    yield from _unwanted_deployments(target, set(found), of_earlier_jobs, retired)


def _changed(target: DeployTarget, name: str, changed: list[str] | None) -> str:
    if changed is None:
        return target.action_text("create", f"deployment {name}")
    return target.action_text("update", f"deployment {name} ({', '.join(changed)})")


def _unwanted_deployments(
    target: DeployTarget,
    names: Collection[str],
    of_jobs: Iterable[DeploymentResponse],
    retired: Sequence[str],
) -> Iterator[str]:
    """Delete the deployments of jobs whose file is gone, and those that an earlier version made: they would go on to start runs."""
    gone = {f"enrich/{each.name}": each for each in of_jobs}
    for name in retired:
        with contextlib.suppress(ObjectNotFound):
            gone.setdefault(name, target.client.read_deployment_by_name(name))
    for name, deployment in gone.items():
        if name in names:
            continue
        if remove_deployment(target.client, deployment, dry_run=target.dry_run):
            yield target.action_text("delete", f"deployment {name}")
        else:
            yield f"kept deployment {name}, switched off: a run of it is not over; deploy again when it is"


def _prefect_deploy(target: DeployTarget, names: list[str]) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy"]
    command += ["--prefect-file", str(target.folder / "prefect.yaml")]
    command += [word for name in names for word in ("--name", name)]
    environ = {**target.environ, "PREFECT_API_URL": str(target.client.api_url).rstrip("/")}
    completed = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if completed.returncode:
        server_message = " ".join((completed.stdout + completed.stderr).split())[-300:]
        raise ConfigError(f"{target.folder / 'prefect.yaml'}: prefect deploy failed: {server_message}")


def _webhook_block(target: DeployTarget, name: str, url: str | None) -> Iterator[str]:
    """Create or update a webhook block. Without a URL it yields nothing: the automations that need the block report that."""
    slug, _, block = name.partition("/")
    try:
        found = target.client.read_block_document_by_name(block, slug, include_secrets=True)
    except ObjectNotFound:
        found = None
    if found:
        target.ids[name] = str(found.id)
    if found and url in (None, "", found.data.get("url")):
        yield f"unchanged block {name}"
    elif url:
        block_id = _PLACEHOLDER_ID if target.dry_run else str(Webhook(url=url).save(block, overwrite=True))
        target.ids.setdefault(name, block_id)
        yield target.action_text("update" if found else "create", f"block {name}")


def _automation(target: DeployTarget, entry: dict[str, Any]) -> str:
    name = entry["name"]
    for wanted_name in (action[kind] for action in entry["actions"] for kind in _ID_FIELDS if kind in action):
        if wanted_name not in target.ids:
            reason = (
                f"{_BLOCKS[wanted_name]} is not set"
                if wanted_name in _BLOCKS
                else f"there is no {wanted_name}"
            )
            return f"skipped automation {name}: {reason}"
    wanted = AutomationCore.model_validate(
        {**entry, "actions": [_with_ids(target, a) for a in entry["actions"]]}
    )
    found = next(iter(target.client.read_automations_by_name(name)), None)
    if found is None:
        if not target.dry_run:
            target.client.create_automation(wanted)
        return target.action_text("create", f"automation {name}")
    fields = set(AutomationCore.model_fields)
    if found.model_dump(include=fields) == wanted.model_dump(include=fields):
        return f"unchanged automation {name}"
    if not target.dry_run:
        # With every field set: an update leaves fields alone that the file does not mention, such as `enabled`.
        complete = AutomationCore.model_validate(wanted.model_dump(exclude={"owner_resource"}))
        target.client.update_automation(found.id, complete)
    return target.action_text("update", f"automation {name}")


def _retired_automation(target: DeployTarget, name: str) -> Iterator[str]:
    """Delete an automation that an earlier version made: it would go on to act."""
    for automation in target.client.read_automations_by_name(name):
        if not target.dry_run:
            target.client.delete_automation(automation.id)
        yield target.action_text("delete", f"automation {name}")


def _with_ids(target: DeployTarget, action: dict[str, Any]) -> dict[str, Any]:
    """The action with ids in place of names."""
    return {
        _ID_FIELDS.get(key, key): target.ids[value] if key in _ID_FIELDS else value
        for key, value in action.items()
    }
