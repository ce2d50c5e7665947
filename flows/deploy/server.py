"""Set a Prefect server up as `deployments/` says, and say what was done: a second time, nothing."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import yaml
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from configs.errors import ConfigError
from flows.deploy.differences import differences

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deployments"
_BLOCKS = {"webhook/nightmail-alerts": "NIGHTMAIL_WEBHOOK_URL"}  # and where its URL comes from
_IDS = {
    "deployment": "deployment_id",
    "block": "block_document_id",
}  # names in automations.yaml, ids for Prefect
_NONE_YET = str(UUID(int=0))  # what a dry run puts for something that it would make


@dataclass
class Site:
    """A server being set up. With `dry_run` nothing is sent to it that changes anything."""

    client: SyncPrefectClient
    folder: Path
    environ: Mapping[str, str]
    dry_run: bool
    ids: dict[str, str] = field(default_factory=dict)  # of deployments and blocks, by the names in the files

    def did(self, verb: str, what: str) -> str:
        """`created work pool x`, or `would create …` in a dry run."""
        return f"would {verb} {what}" if self.dry_run else f"{verb.removesuffix('e')}ed {what}"


def deploy(folder: Path, environ: Mapping[str, str], *, dry_run: bool) -> Iterator[str]:
    """Make or update work pool, deployments, block and automations; a line for each, as it is done.

    `folder` holds prefect.yaml and automations.yaml. Raises ConfigError when a file or the server says no.
    """
    wanted = _read(folder / "prefect.yaml").get("deployments") or []
    rules = _read(folder / "automations.yaml")
    try:
        with get_client(sync_client=True) as client:
            site = Site(client, folder, environ, dry_run)
            for pool in sorted({entry["work_pool"]["name"] for entry in wanted}):
                yield _work_pool(site, pool)
            yield from _deployments(site, wanted)
            for name, variable in _BLOCKS.items():
                yield from _webhook_block(site, name, environ.get(variable))
            for entry in rules.get("automations") or []:
                yield _automation(site, entry)
            for name in rules.get("retired") or []:
                yield from _retired_automation(site, name)
    except PrefectHTTPStatusError as error:
        said = " ".join(error.response.text.split())[:300]
        raise ConfigError(f"{error.request.url.path}: the Prefect server says {said}") from error
    except httpx.HTTPError as error:
        raise ConfigError(f"the Prefect server went away ({type(error).__name__}); run it again") from error


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ConfigError(f"{file}: not there; `nightmail deploy` is run from a checkout, or give --folder")
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}; mend the YAML") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: not a mapping; see deployments/ in the checkout for one that is")
    return tree


def _work_pool(site: Site, name: str) -> str:
    """A pool of worker processes. One that is there is left as it is: its type is the operator's choice."""
    try:
        found = site.client.read_work_pool(name)
    except ObjectNotFound:
        if not site.dry_run:
            site.client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        return site.did("create", f"work pool {name} (process)")
    return f"unchanged work pool {name} ({found.type})"


def _deployments(site: Site, wanted: list[dict[str, Any]]) -> Iterator[str]:
    """Those that differ from the server's go through Prefect's own `prefect deploy`."""
    lines: dict[str, str] = {}
    with contextlib.chdir(
        ROOT
    ):  # where entrypoints are relative to, and where the workers will look for them
        found = dict(differences(site.client, entry) for entry in wanted)
    for name, changed in found.items():
        if changed is None:
            lines[name] = site.did("create", f"deployment {name}")
        elif changed:
            lines[name] = site.did("update", f"deployment {name} ({', '.join(changed)})")
        else:
            yield f"unchanged deployment {name}"
    if lines and not site.dry_run:
        _prefect_deploy(site, list(lines))
    yield from lines.values()
    for name, changed in found.items():
        absent = site.dry_run and changed is None
        site.ids[name] = _NONE_YET if absent else str(site.client.read_deployment_by_name(name).id)


def _prefect_deploy(site: Site, names: list[str]) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy"]
    command += ["--prefect-file", str(site.folder / "prefect.yaml")]
    command += [word for name in names for word in ("--name", name)]
    environ = {**site.environ, "PREFECT_API_URL": str(site.client.api_url).rstrip("/")}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())[-300:]
        raise ConfigError(f"{site.folder / 'prefect.yaml'}: prefect deploy failed: {said}")


def _webhook_block(site: Site, name: str, url: str | None) -> Iterator[str]:
    """Without a URL nothing is said here: the automations that wanted the block say it."""
    slug, _, block = name.partition("/")
    try:
        found = site.client.read_block_document_by_name(block, slug, include_secrets=True)
    except ObjectNotFound:
        found = None
    if found:
        site.ids[name] = str(found.id)
    if found and url in (None, "", found.data.get("url")):
        yield f"unchanged block {name}"
    elif url:
        made = _NONE_YET if site.dry_run else str(Webhook(url=url).save(block, overwrite=True))
        site.ids.setdefault(name, made)
        yield site.did("update" if found else "create", f"block {name}")


def _automation(site: Site, entry: dict[str, Any]) -> str:
    name = entry["name"]
    for wanted_name in (action[kind] for action in entry["actions"] for kind in _IDS if kind in action):
        if wanted_name not in site.ids:
            why = (
                f"{_BLOCKS[wanted_name]} is not set"
                if wanted_name in _BLOCKS
                else f"there is no {wanted_name}"
            )
            return f"skipped automation {name}: {why}"
    wanted = AutomationCore.model_validate(
        {**entry, "actions": [_with_ids(site, a) for a in entry["actions"]]}
    )
    found = next(iter(site.client.read_automations_by_name(name)), None)
    if found is None:
        if not site.dry_run:
            site.client.create_automation(wanted)
        return site.did("create", f"automation {name}")
    fields = set(AutomationCore.model_fields)
    if found.model_dump(include=fields) == wanted.model_dump(include=fields):
        return f"unchanged automation {name}"
    if not site.dry_run:
        # Every field outright: those that the file leaves out, such as `enabled`, Prefect would leave as they are.
        outright = AutomationCore.model_validate(wanted.model_dump(exclude={"owner_resource"}))
        site.client.update_automation(found.id, outright)
    return site.did("update", f"automation {name}")


def _retired_automation(site: Site, name: str) -> Iterator[str]:
    """One that an earlier version made would go on to act."""
    for found in site.client.read_automations_by_name(name):
        if not site.dry_run:
            site.client.delete_automation(found.id)
        yield site.did("delete", f"automation {name}")


def _with_ids(site: Site, action: dict[str, Any]) -> dict[str, Any]:
    """The action as Prefect wants it, with ids for names."""
    return {_IDS.get(key, key): site.ids[value] if key in _IDS else value for key, value in action.items()}
