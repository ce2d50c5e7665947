"""A Prefect server on PostgreSQL, as compose.yaml has it.

On SQLite its event consumers lock each other out now and then; an event that fails four times is put aside, and those
that follow it wait a quarter of an hour for it. What automations do would be seen too late here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def prefect_server(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: Callable[[], str], new_prefect_server: type
) -> Iterator[Any]:
    """A fresh server for the module; wait for it with `prefect_client`."""
    database = postgres_url().replace("+psycopg", "+asyncpg")
    server = new_prefect_server(
        tmp_path_factory.mktemp("prefect"), PREFECT_SERVER_DATABASE_CONNECTION_URL=database
    )
    server.start()
    yield server
    server.stop()
