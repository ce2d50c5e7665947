"""Faults that pass quickly."""

from __future__ import annotations

import pytest


@pytest.fixture
def fast_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second, not seconds, after a transient error."""
    import datetime

    from tasks import advance

    monkeypatch.setattr(advance, "fault_delay", lambda *_: datetime.timedelta(seconds=0.02))
