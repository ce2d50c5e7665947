"""`nightmail doctor`: what of this machine and of a batch service is ready for a run. Facts in, no opinions out."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from configs.errors import NightmailError
from configs.home import Home
from configs.providers import SETTINGS
from tasks.diagnostics.facts import Fact, Grade
from tasks.ledger import database
from tasks.orchestration.blocks import use_s3_credentials
from tasks.storage.run_folder import RunFolder, join

_EXTRAS = {"anthropic": "anthropic", "gemini": "google.genai", "aws": "prefect_aws", "postgres": "psycopg"}


def local_facts(home: Home, environ: Mapping[str, str]) -> Iterator[Fact]:
    """What can be known without asking a provider."""
    yield Fact("nightmail", Grade.NOTE, f"{version('nightmail')} on Python {platform.python_version()}")
    yield _ledger(home)
    yield _run_folder(home)
    yield from _keys(environ)
    missing = [name for name, module in _EXTRAS.items() if not _importable(module)]
    yield Fact("extras", Grade.NOTE, f"not installed: {', '.join(missing)}" if missing else "all installed")
    yield from _prefect()


def _ledger(home: Home) -> Fact:
    try:
        if not database.exists(home.ledger_url):
            return Fact("ledger", Grade.OK, f"none yet; the first run makes it ({home.ledger_url})")
        current, head = database.revisions(home.ledger_url)
    except NightmailError as error:
        return Fact("ledger", Grade.BAD, str(error))
    if current == head:
        return Fact("ledger", Grade.OK, f"reachable, at its newest schema ({current})")
    return Fact("ledger", Grade.NOTE, f"reachable, at schema {current}; the next run brings it to {head}")


def _run_folder(home: Home) -> Fact:
    """A file written, read and deleted; a local folder that does not exist yet is only looked at."""
    if "://" not in home.runs_url and not Path(home.runs_url).exists():
        near = next(folder for folder in Path(home.runs_url).parents if folder.exists())
        if os.access(near, os.W_OK | os.X_OK):
            return Fact("run folder", Grade.OK, f"none yet; the first run makes {home.runs_url}")
        return Fact(
            "run folder", Grade.BAD, f"{near} is not writable; set NIGHTMAIL_HOME or NIGHTMAIL_RUNS_URL"
        )
    try:
        use_s3_credentials(home)
        folder = RunFolder(join(home.runs_url, f".doctor-{os.getpid()}"))
        with folder.write("probe") as file:
            file.write(b"ok")
        with folder.read("probe") as back:
            same = back.read() == b"ok"
        folder.remove("")
    except NightmailError as error:
        return Fact("run folder", Grade.BAD, str(error))
    if not same:
        return Fact("run folder", Grade.BAD, f"{home.runs_url}: what was written does not come back")
    return Fact("run folder", Grade.OK, f"writable ({home.runs_url})")


def _keys(environ: Mapping[str, str]) -> Iterator[Fact]:
    for name, kind in SETTINGS.items():
        field = kind.model_fields.get("api_key_env")
        if field is not None and name != "local":
            there = bool(environ.get(str(field.default)))
            yield Fact(f"{name} key", Grade.NOTE, f"{field.default} is {'set' if there else 'not set'}")


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _prefect() -> Iterator[Fact]:
    import httpx
    from prefect import __version__
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        yield Fact("Prefect", Grade.NOTE, "no server is configured: runs go without one")
        return
    try:
        httpx.get(f"{url}/health", timeout=10).raise_for_status()
        theirs: Any = httpx.get(f"{url}/admin/version", timeout=10).json()
    except (httpx.HTTPError, ValueError) as error:
        yield Fact(
            "Prefect",
            Grade.BAD,
            f"{url} does not answer ({type(error).__name__}); start it or unset PREFECT_API_URL",
        )
        return
    same = theirs == __version__
    yield Fact(
        "Prefect", Grade.OK if same else Grade.ODD, f"{url} answers; server {theirs}, client {__version__}"
    )
