"""A Prefect server on PostgreSQL, as compose.yaml has it.

On SQLite its event consumers lock each other out now and then; an event that fails four times is put aside, and those
that follow it wait a quarter of an hour for it. What automations do would be seen too late here.
"""

from __future__ import annotations

import pytest

from rigs.postgres import MakeDatabase
from rigs.prefect_server import PrefectServer, StartPrefectServer


@pytest.fixture(scope="module")
def prefect_server(prefect_server_with: StartPrefectServer, postgres_url: MakeDatabase) -> PrefectServer:
    """A fresh server for the module; wait for it with `prefect_client`."""
    database = postgres_url().replace("+psycopg", "+asyncpg")
    return prefect_server_with(PREFECT_SERVER_DATABASE_CONNECTION_URL=database)
