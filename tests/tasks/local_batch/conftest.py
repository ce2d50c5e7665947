"""The embedded service, shared by the tests that need no restart of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rigs.batch_service import BatchService

if TYPE_CHECKING:
    from openai import OpenAI


@pytest.fixture
def service(shared_batch_service: BatchService) -> BatchService:
    """The echoing service that these tests share."""
    return shared_batch_service


@pytest.fixture
def client(service: BatchService) -> OpenAI:
    """The genuine SDK, pointed at the shared service."""
    return service.client()
