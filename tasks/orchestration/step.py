"""The `step` decorator: a function that is a Prefect task inside a flow run, and a plain function outside one.

So the same pipeline runs in a deployment, with every step in the UI, and from a terminal without any server, where Prefect is
not even imported: that takes a second.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from configs.errors import NightmailError, TransientError
from configs.foreign_text import printable
from tasks.orchestration.current_run import flow_run_context, is_in_task
from tasks.orchestration.failures import failed_by, told_by_steps
from tasks.runs.step_lines import StepLine
from tasks.stages.report.formatting import duration

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

POSTPONED = "Postponed"
"""The state of a step that is done again later."""

P = ParamSpec("P")
R = TypeVar("R")


def step(
    name: str,
    run_name: str,
    line: Callable[..., StepLine | None] | None = None,
    *,
    when: Callable[..., bool] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function as a step. `run_name` is a format string over its parameters, shown in the UI. `line` makes of its
    result and its arguments what it has done, for the log and for the message of its state; None for nothing.

    Steps that it calls are no tasks of their own. `when` is given its parameters, and says whether it is a step at all.

    Prefect must not cache, persist or retry anything: only the ledger knows what is done, and a repeated step could
    post a batch twice.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        log = logging.getLogger(function.__module__)

        def told(
            log: logging.Logger | logging.LoggerAdapter[Any], *args: P.args, **kwargs: P.kwargs
        ) -> tuple[R, str | None]:
            """The result, and what it has said in the log, if that is kept anywhere."""
            began = time.monotonic()
            result = function(*args, **kwargs)
            done = line(result, *args, **kwargs) if line and log.isEnabledFor(logging.INFO) else None
            if done is None:
                return result, None
            seconds = time.monotonic() - began
            text = printable(f"{done.text} ({duration(seconds)})")
            log.info("%s", text, extra={**done.fields, "step": name, "seconds": round(seconds, 3)})
            return result, text

        @functools.wraps(function)
        def without_traceback(*args: P.args, **kwargs: P.kwargs) -> State[Any]:
            from prefect.logging import get_run_logger
            from prefect.states import Completed

            told_by_steps()
            try:
                result, message = told(get_run_logger(), *args, **kwargs)
            # Expected, and raised again below, without a traceback in the log.
            except TransientError as error:
                # The run waits and does the step again: a rate limit is no failure to anybody who looks at the flow run.
                return Completed(name=POSTPONED, message=str(error), data=error)
            except NightmailError as error:
                return failed_by(error)
            return Completed(message=message, data=result)

        @functools.cache
        def as_task() -> Any:
            from prefect import task
            from prefect.cache_policies import NO_CACHE

            return task(
                name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False, retries=0
            )(without_traceback)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if flow_run_context() is None or is_in_task() or not (when is None or when(*args, **kwargs)):
                return told(log, *args, **kwargs)[0]
            state: State[Any] = as_task()(*args, **kwargs)
            data = getattr(state.data, "result", state.data)  # Prefect may have wrapped it
            if isinstance(data, NightmailError):
                raise data
            return cast("R", data)

        return call

    return decorate
