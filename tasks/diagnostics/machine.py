"""Check this machine for `nightmail doctor`: ledger, run folder, API keys, optional packages."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from configs.errors import NightmailError
from configs.extras import AWS, DASK, POSTGRES
from configs.home import Home
from configs.providers.base import KeyedProviderSettings
from configs.providers.registry import PROVIDERS
from tasks.diagnostics.facts import Fact, Grade
from tasks.ledger import database
from tasks.storage.run_folder import RunFolder, join


def machine_facts(
    home: Home, environ: Mapping[str, str], use_credentials: Callable[[Home], None]
) -> Iterator[Fact]:
    """All checks that need no provider. `use_credentials` activates the S3 credentials that runs use."""
    yield Fact("nightmail", Grade.NOTE, f"{version('nightmail')} on Python {platform.python_version()}")
    yield _check_ledger(home)
    yield _check_run_folder(home, use_credentials)
    yield from _check_keys(environ)
    yield _check_extras()


def _check_ledger(home: Home) -> Fact:
    try:
        if not database.exists(home.ledger_url):
            return Fact("ledger", Grade.OK, f"none yet; the first run makes it ({home.ledger_url})")
        current, head = database.revisions(home.ledger_url)
    except NightmailError as error:
        return Fact("ledger", Grade.BAD, str(error))
    if current == head:
        return Fact("ledger", Grade.OK, f"reachable, at its newest schema ({current})")
    return Fact("ledger", Grade.NOTE, f"reachable, at schema {current}; the next run brings it to {head}")


def _check_run_folder(home: Home, use_credentials: Callable[[Home], None]) -> Fact:
    """Write, read and delete a file. A local folder that does not exist yet is not made: `doctor` leaves no traces."""
    if "://" not in home.runs_url and not Path(home.runs_url).exists():
        existing_parent = next(folder for folder in Path(home.runs_url).parents if folder.exists())
        if os.access(existing_parent, os.W_OK | os.X_OK):
            return Fact("run folder", Grade.OK, f"none yet; the first run makes {home.runs_url}")
        return Fact(
            "run folder",
            Grade.BAD,
            f"{existing_parent} is not writable; set NIGHTMAIL_HOME or NIGHTMAIL_RUNS_URL",
        )
    try:
        use_credentials(home)
        # A folder of its own, so that two doctors at a time do not delete each other's file.
        folder = RunFolder(join(home.runs_url, f".doctor-{os.getpid()}"))
        with folder.write("probe") as file:
            file.write(b"ok")
        with folder.read("probe") as content:
            identical = content.read() == b"ok"
        folder.remove("")
    except NightmailError as error:
        return Fact("run folder", Grade.BAD, str(error))
    if not identical:
        return Fact("run folder", Grade.BAD, f"{home.runs_url}: what was written does not come back")
    return Fact("run folder", Grade.OK, f"writable ({home.runs_url})")


def _check_keys(environ: Mapping[str, str]) -> Iterator[Fact]:
    for name, settings_class in PROVIDERS.items():
        if issubclass(settings_class, KeyedProviderSettings):
            # Never the value, not even its length: the output is made to be shown to others.
            variable = settings_class.default_key_variable()
            state = "set" if environ.get(variable) else "not set"
            yield Fact(f"{name} key", Grade.NOTE, f"{variable} is {state}")


def _check_extras() -> Fact:
    extras = [
        *filter(None, (settings_class.extra for settings_class in PROVIDERS.values())),
        AWS,
        DASK,
        POSTGRES,
    ]
    missing = ", ".join(extra.name for extra in extras if not extra.is_installed)
    return Fact("extras", Grade.NOTE, f"not installed: {missing}" if missing else "all installed")
