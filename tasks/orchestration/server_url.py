"""Which Prefect server is configured, found without importing Prefect where nothing can name one: that takes half a second."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

_ABOUT_LOGS = "PREFECT_LOGGING_"


def server_url() -> str | None:
    """The URL of the API that is configured; None where there is none, and runs go without a server."""
    if "prefect.settings" not in sys.modules and not may_be_configured():
        return None
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def may_be_configured() -> bool:
    """Whether any place that Prefect reads its settings from may name a server; what it says is Prefect's to tell."""
    names = (name.upper() for name in os.environ)
    return (
        any(name.startswith("PREFECT_") and not name.startswith(_ABOUT_LOGS) for name in names)
        or Path("prefect.toml").exists()
        or _dotenv_speaks_of_prefect()
        or _pyproject_has_settings()
        or _profile_has_server()
    )


def _dotenv_speaks_of_prefect() -> bool:
    try:
        return b"PREFECT" in Path(".env").read_bytes().upper()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _pyproject_has_settings() -> bool:
    return "prefect" in _tables(Path("pyproject.toml"), unreadable={"tool": {"prefect": {}}}).get("tool", {})


def _profile_has_server() -> bool:
    """Whether the active profile names one. One that is not in the file is Prefect's own default, which has none."""
    unreadable = {"active": "?", "profiles": {"?": {"PREFECT_API_URL": ""}}}
    found = _tables(Path.home() / ".prefect" / "profiles.toml", unreadable)
    active = found.get("profiles", {}).get(found.get("active"), {})
    return any(name.upper().startswith("PREFECT_API") for name in active)


def _tables(path: Path, unreadable: dict[str, Any]) -> dict[str, Any]:
    """What a TOML file holds: nothing where there is none, `unreadable` where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return unreadable
