"""Alembic's scripts, which bring the ledger's tables from one schema to the next."""
