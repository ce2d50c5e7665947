"""The `execution` section: what it takes, what it says to the rest, and that it is no part of what a run is."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from configs.execution import Execution
from configs.job import Job
from configs.load import identity

JOB = {"name": "j", "source": {"path": "a.csv"}, "output": {"path": "out"}}


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"processes": 4, "transfers": 1},
        {"engine": "dask", "address": "tcp://10.0.0.5:8786"},
        {"engine": "dask", "address": "tls://host:8786", "processes": 8},
        {"engine": "dask", "address": "tcp://[::1]:8786"},
    ],
)
def test_what_it_takes_survives_the_ledger(section: dict[str, Any]) -> None:
    execution = Execution.model_validate(section)
    assert Execution.model_validate(execution.model_dump(mode="json")) == execution


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"engine": "ray"}, "'local' or 'dask'"),
        ({"engine": "dask"}, "engine dask needs the address of a scheduler; add address: tcp://HOST:8786"),
        ({"address": "tcp://a:1"}, "add engine: dask, or remove it"),
        ({"engine": "dask", "address": "10.0.0.5:8786"}, "a scheduler's address such as tcp://"),
        *(
            ({"engine": "dask", "address": address}, "a scheduler's address such as tcp://")
            for address in (
                "",
                "tcp://",
                "tcp://host",
                "tcp://:8786",
                "tcp://host:",
                "tcp://host:0",
                "tcp://host:abc",
                "tcp://host:65536",
                "tcp://[10.0.0.5:8786",
                "tcp:host:8786",
                "http://host:8786",
            )
        ),
        ({"processes": 0}, "must be auto or a number from 1 to 1024"),
        ({"processes": True}, "must be auto or a number from 1 to 1024"),
        ({"processes": "many"}, "must be auto or a number from 1 to 1024"),
        ({"transfers": 0}, "greater than or equal to 1"),
        ({"transfers": 33}, "less than or equal to 32"),
        ({"workers": 2}, "Extra inputs are not permitted"),
    ],
)
def test_what_it_refuses(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Execution.model_validate(section)


def test_it_is_no_part_of_the_runs_identity() -> None:
    prompt = {"model": "m", "user": "{{ a }}"}
    before = Job.model_validate({**JOB, "prompt": prompt})
    after = Job.model_validate({**JOB, "prompt": prompt, "execution": {"processes": 4, "transfers": 9}})
    assert identity(before) == identity(after)
