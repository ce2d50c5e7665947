"""What `nightmail doctor` finds out about this machine: ledger, run folder, keys, optional packages."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from configs.errors import NightmailError
from configs.extras import AWS, POSTGRES
from configs.home import Home
from configs.providers.base import KeyedProviderSettings
from configs.providers.registry import PROVIDERS
from tasks.diagnostics.facts import Fact, Grade
from tasks.ledger import database
from tasks.storage.run_folder import RunFolder, join


def local_facts(
    home: Home, environ: Mapping[str, str], use_credentials: Callable[[Home], None]
) -> Iterator[Fact]:
    """What can be known without asking anybody. `use_credentials` lets s3:// URLs be opened as runs open them."""
    yield Fact("nightmail", Grade.NOTE, f"{version('nightmail')} on Python {platform.python_version()}")
    yield _ledger(home)
    yield _run_folder(home, use_credentials)
    yield from _keys(environ)
    yield _extras()


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
    for name, kind in PROVIDERS.items():
        if issubclass(kind, KeyedProviderSettings):
            variable = kind.default_key_variable()
            state = "set" if environ.get(variable) else "not set"
            yield Fact(f"{name} key", Grade.NOTE, f"{variable} is {state}")


def _extras() -> Fact:
    extras = [*filter(None, (kind.extra for kind in PROVIDERS.values())), AWS, POSTGRES]
    missing = ", ".join(extra.name for extra in extras if not extra.is_installed)
    return Fact("extras", Grade.NOTE, f"not installed: {missing}" if missing else "all installed")
