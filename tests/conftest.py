"""Fixtures for every room's tests: see tests/rigs/."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("rigs", "fakes")

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("nightmail", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("nightmail")

pytest_plugins = [
    "rigs.batch_service",
    "rigs.browser",
    "rigs.clock",
    "rigs.moved_clock",
    "rigs.dask_cluster",
    "rigs.real_time",
    "rigs.postgres",
    "rigs.prefect_server",
    "rigs.workspace",
    "rigs.s3",
    "rigs.vendor_fakes",
    "rigs.deployed",
    "rigs.site",
]
