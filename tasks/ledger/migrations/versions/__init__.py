"""One script for each version of the ledger's schema; Alembic loads them as files."""
