"""Sleep until a run is to be looked at again: in this process, or in a deployment without one (durable_sleep.py)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from configs.clock import Clock
from configs.errors import StorageError
from tasks.orchestration.current_run import current_flow_run

PAUSED_FOR_BILLING = "Paused for billing"
"""The state of a run whose account cannot pay."""

WAITS_FOR_APPROVAL = "Waiting for approval"
"""The state of a run that posts nothing before a person agrees to its price."""


_ASKS_EVERY = 10.0  # seconds, whether a sleep in this process is over


def sleep_until(
    wake: datetime,
    reason: str,
    clock: Clock,
    paused: str | None = None,
    is_look_due: Callable[[], bool] = lambda: False,
) -> None:
    """Sleep until `wake`; in a deployment, end this process and let a worker start the flow run again then.

    `reason` becomes the state's message. What waits for a person comes into a state called `paused` instead, so that Prefect's
    UI offers Resume (tasks/orchestration/resumed.py sees it); a sweep wakes it when its time is over. What waits for something
    else ends its sleep once `is_look_due`.
    """

    def is_over() -> bool:
        with suppress(StorageError):  # a ledger that is away ends no sleep
            return paused is None and is_look_due()
        return False

    if is_over():
        return
    if _is_deployed():
        from tasks.orchestration.durable_sleep import fall_asleep

        fall_asleep(wake, reason, clock, paused, is_over)
        return
    # Counted down: a clock that is set back meanwhile makes it no longer.
    left = (wake - clock.now()).total_seconds()
    while left > _ASKS_EVERY and paused is None:
        clock.sleep(_ASKS_EVERY)
        left -= _ASKS_EVERY
        if is_over():
            return
    clock.sleep(left)


def end_if_overtaken() -> None:
    """End this process, and leave its flow run as it is, when the flow run has gone on without it; else return.

    For a process that stood still until others took it for dead: whatever it says of the flow run now is out of date.
    """
    if not _is_deployed():
        return
    from tasks.orchestration.durable_sleep import end_without_a_word

    end_without_a_word()


def _is_deployed() -> bool:
    flow_run = current_flow_run()
    return flow_run is not None and flow_run.deployed
