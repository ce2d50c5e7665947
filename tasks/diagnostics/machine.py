"""`nightmail doctor`: what of this machine and of a batch service is ready for a run. Facts in, no opinions out."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from configs.errors import NightmailError
from configs.home import Home
from configs.providers import SETTINGS
from tasks.diagnostics.facts import Fact, Grade
from tasks.ledger import database
from tasks.storage.run_folder import RunFolder, join

_EXTRAS = {"anthropic": "anthropic", "gemini": "google.genai", "aws": "prefect_aws", "postgres": "psycopg"}


def local_facts(
    home: Home, environ: Mapping[str, str], use_credentials: Callable[[Home], None]
) -> Iterator[Fact]:
    """What can be known without asking anybody. `use_credentials` lets s3:// URLs be opened as runs open them."""
    yield Fact("nightmail", Grade.NOTE, f"{version('nightmail')} on Python {platform.python_version()}")
    yield _ledger(home)
    yield _run_folder(home, use_credentials)
    yield from _keys(environ)
    missing = [name for name, module in _EXTRAS.items() if not _importable(module)]
    yield Fact("extras", Grade.NOTE, f"not installed: {', '.join(missing)}" if missing else "all installed")


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


def _run_folder(home: Home, use_credentials: Callable[[Home], None]) -> Fact:
    """A file written, read and deleted; a local folder that does not exist yet is only looked at."""
    if "://" not in home.runs_url and not Path(home.runs_url).exists():
        near = next(folder for folder in Path(home.runs_url).parents if folder.exists())
        if os.access(near, os.W_OK | os.X_OK):
            return Fact("run folder", Grade.OK, f"none yet; the first run makes {home.runs_url}")
        return Fact(
            "run folder", Grade.BAD, f"{near} is not writable; set NIGHTMAIL_HOME or NIGHTMAIL_RUNS_URL"
        )
    try:
        use_credentials(home)
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
