"""Where a trial publishes and what its run is called: never as a real run."""

from __future__ import annotations

import datetime

import pytest

from configs.errors import ConfigError
from configs.load import run_key
from configs.trials import is_trial, key_without_mark, trial_key, trial_output


@pytest.mark.parametrize(
    ("output", "of_trial"),
    [
        ("/data/out/letters", "/data/out/_trial/letters/k"),
        ("/data/out/letters/", "/data/out/_trial/letters/k"),
        ("/data/out/letters.parquet", "/data/out/_trial/letters/k.parquet"),
        ("/letters", "/_trial/letters/k"),
        ("file:///data/letters", "file:///data/_trial/letters/k"),
        ("s3://bucket/letters", "s3://bucket/_trial/letters/k"),
        ("s3://bucket/out/date=2026-11-21/", "s3://bucket/out/_trial/date=2026-11-21/k"),
        ("s3://bucket/out/letters.v2.parquet", "s3://bucket/out/_trial/letters.v2/k.parquet"),
    ],
)
def test_a_trial_publishes_beside_the_output_where_readers_of_the_folder_above_do_not_look(
    output: str, of_trial: str
) -> None:
    assert trial_output(output, "k") == of_trial


@pytest.mark.parametrize("output", ["s3://bucket", "s3://bucket/", "/"])
def test_an_output_with_nothing_beside_it_is_refused(output: str) -> None:
    with pytest.raises(ConfigError, match="has nothing beside it where a trial could go"):
        trial_output(output, "k")


def test_no_real_run_can_have_the_key_of_a_trial() -> None:
    key = trial_key("by-hand")
    assert is_trial(key)
    assert not is_trial("by-hand")
    assert key_without_mark(key) == key_without_mark("by-hand") == "by-hand"
    with pytest.raises(ConfigError, match="give --key by-hand and --limit"):
        run_key(datetime.date(2026, 11, 21), key)


def test_a_key_leaves_room_for_the_mark() -> None:
    assert len(trial_key("k" * 57)) == 63
    with pytest.raises(ConfigError, match="at most 57 characters"):
        trial_key("k" * 58)
