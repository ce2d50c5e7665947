from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def service(shared_batch_service: Any) -> Any:
    """The echoing service that these tests share."""
    return shared_batch_service


@pytest.fixture
def client(service: Any) -> Any:
    """The genuine SDK, pointed at the shared service."""
    return service.client()
