"""The `step` decorator: a function that is a Prefect task inside a flow run, and a plain function outside one.

So the same pipeline runs in a deployment, with every step in the UI, and from a terminal without any server.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed

from configs.errors import NightmailError, TransientError
from tasks.orchestration.failures import failed_by

POSTPONED = "Postponed"
"""The state of a step that is done again later."""

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str, run_name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function as a step. `run_name` is a format string over its parameters, shown in the UI.

    Prefect must not cache, persist or retry anything: only the ledger knows what is done, and a repeated step could
    post a batch twice.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def without_traceback(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
            try:
                return function(*args, **kwargs)
            # Expected, and raised again below, without a traceback in the log.
            except TransientError as error:
                # The run waits and does the step again: a rate limit is no failure to anybody who looks at the flow run.
                return Completed(name=POSTPONED, message=str(error), data=error)
            except NightmailError as error:
                return failed_by(error)

        as_task: Any = task(
            name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False, retries=0
        )(without_traceback)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if FlowRunContext.get() is None:
                return function(*args, **kwargs)
            result: R | State[Any] = as_task(*args, **kwargs)
            if isinstance(result, State):
                raise _error_in(result)
            return result

        return call

    return decorate


def _error_in(state: State[Any]) -> NightmailError:
    """The error that the state was made with; Prefect may have wrapped it."""
    return cast(NightmailError, getattr(state.data, "result", state.data))
