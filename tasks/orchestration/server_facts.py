"""Check the Prefect server for `nightmail doctor`: is one configured, does it answer, which version is it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from prefect import __version__
from prefect.settings import get_current_settings

from tasks.diagnostics.facts import Fact, Grade


def server_facts() -> Iterator[Fact]:
    """Check whether a Prefect server is configured, answers, and has the same version as this client."""
    url = get_current_settings().api.url
    if url is None:
        yield Fact("Prefect", Grade.NOTE, "no server is configured: runs go without one")
        return
    try:
        httpx.get(f"{url}/health", timeout=10).raise_for_status()
        server_version: Any = httpx.get(f"{url}/admin/version", timeout=10).json()
    except (httpx.HTTPError, ValueError) as error:
        yield Fact(
            "Prefect",
            Grade.BAD,
            f"{url} does not answer ({type(error).__name__}); start it or unset PREFECT_API_URL",
        )
        return
    same_version = server_version == __version__
    yield Fact(
        "Prefect",
        Grade.OK if same_version else Grade.ODD,
        f"{url} answers; server {server_version}, client {__version__}",
    )
