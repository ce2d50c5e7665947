"""What logs keep of an error that a flow or a step ends by: its line, once."""

from __future__ import annotations

import logging

import pytest
from prefect.states import get_state_exception

from configs.errors import ConfigError, NightmailError
from tasks.orchestration.failures import failed_by


def logged(name: str, error: Exception, said: str) -> None:
    """What Prefect does with an error that it caught, and with a state."""
    log = logging.getLogger(name)
    log.error("Encountered exception during execution: %r", error, exc_info=error)
    log.error(said)


@pytest.mark.parametrize("name", ["prefect.flow_runs", "prefect.task_runs", "prefect.engine"])
def test_prefects_words_on_an_expected_error_are_dropped_and_all_others_kept(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = ConfigError("job.yaml: 100 % wrong; correct it")
    state = failed_by(error)
    with caplog.at_level(logging.INFO):
        logged(name, error, f"Finished in state {state}")
        logging.getLogger(name).error("Task run failed with state: %r", state)
        assert caplog.messages == []
        logging.getLogger(name).error(str(error))
        logged(name, RuntimeError("a bug"), "Finished in state Failed('a bug')")
    assert caplog.messages == [
        str(error),
        "Encountered exception during execution: RuntimeError('a bug')",
        "Finished in state Failed('a bug')",
    ]
    assert caplog.records[1].exc_info


def test_the_caller_gets_the_very_error() -> None:
    error = NightmailError("no")
    state = failed_by(error)
    assert (state.type, state.message) == ("FAILED", "no")
    assert get_state_exception(state) is error
