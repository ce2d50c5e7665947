"""Draft a migration of the ledger: python deployments/new_migration.py NNNN "add a budget to runs".

Compares tasks/ledger/schema.py with the schema that the migrations so far make (on a SQLite in memory) and writes the
difference to tasks/ledger/migrations/versions/. Read it before you trust it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parents[1] / "tasks" / "ledger" / "migrations"


def main(revision: str, message: str) -> None:
    with sa.create_engine("sqlite://").begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.upgrade(config, "head")
        command.revision(config, message, rev_id=revision, autogenerate=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
