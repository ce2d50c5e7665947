"""Fixtures for every room's tests: see tests/rigs/."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("rigs", "fakes")

pytest_plugins = [
    "rigs.batch_service",
    "rigs.clock",
    "rigs.postgres",
    "rigs.prefect_server",
    "rigs.workspace",
    "rigs.s3",
    "rigs.vendor_fakes",
    "rigs.deployed",
    "rigs.site",
]
