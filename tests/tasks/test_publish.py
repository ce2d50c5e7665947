"""The output of a run: where it appears, and whose output it may replace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from configs.errors import ConfigError


def test_an_output_path_that_ends_in_parquet_is_one_file(works: Any) -> None:
    works.change("output.path", "out/letters.parquet")
    works.change("limits.max_requests", 4)
    works.run()
    assert (works.folder / "out/letters.parquet").is_file()
    assert works.column("id") == [f"t-{n}" for n in range(10)]
    assert json.loads((works.folder / "out/letters.receipt.json").read_text())["chunks"] == 3


def test_the_output_of_another_job_is_left_alone(works: Any) -> None:
    works.run()
    works.change("name", "other")
    with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
        works.run()


def test_a_trial_does_not_replace_what_another_key_published(works: Any) -> None:
    works.run(key="whole")
    with pytest.raises(
        ConfigError, match=r"holds 10 rows of whole, and this run is limited to 3; put \{key\}"
    ):
        works.run(key="trial", limit=3)
    works.run(key="trial", limit=3, overrides=["output.path=out/{key}"])
    assert len(works.column("id")) == 10
