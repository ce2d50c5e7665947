"""What `nightmail doctor` finds out about the Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
from prefect import __version__
from prefect.settings import get_current_settings

from tasks.diagnostics.facts import Fact, Grade


def server_facts() -> Iterator[Fact]:
    """Whether a Prefect server is configured, answers, and has the version of this client."""
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
