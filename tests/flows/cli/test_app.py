"""Interrupts: several that come together are one, so that none strikes in the midst of what the first has begun."""

from __future__ import annotations

import signal
import time

import pytest

from flows.cli.app import interrupt_at_intervals


def test_interrupts_that_come_together_are_one_and_a_later_one_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    handler = interrupt_at_intervals()
    raised = []
    for at in (100.0, 100.1, 100.4, 100.6, 100.7, 101.1):
        now = at
        try:
            handler(signal.SIGINT, None)
        except KeyboardInterrupt:
            raised.append(at)
    assert raised == [100.0, 100.6, 101.1]
