"""Check the Prefect server for `nightmail doctor`: is one configured, does it answer, which version is it?"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import httpx

from tasks.diagnostics.facts import Fact, Grade
from tasks.orchestration.server_url import server_url


def server_facts() -> Iterator[Fact]:
    """Check whether a Prefect server is configured, answers, and has the same version as this client."""
    url = server_url()
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
    client_version = version("prefect")
    same_version = server_version == client_version
    yield Fact(
        "Prefect",
        Grade.OK if same_version else Grade.ODD,
        f"{url} answers; server {server_version}, client {client_version}",
    )
