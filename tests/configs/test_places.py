"""What a relative path of a job file means, wherever the file lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.places import absolute, folder_of


@pytest.mark.parametrize(
    ("path", "folder", "whole"),
    [
        ("rows.csv", "/jobs", "/jobs/rows.csv"),
        ("../rows.csv", "/jobs", "/rows.csv"),
        ("/data/rows.csv", "/jobs", "/data/rows.csv"),
        ("s3://b/rows.csv", "/jobs", "s3://b/rows.csv"),
        ("rows.csv", "s3://b/jobs", "s3://b/jobs/rows.csv"),
        ("rows/*.csv", "s3://b", "s3://b/rows/*.csv"),
        ("../out/{date}", "s3://b/jobs/team", "s3://b/jobs/out/{date}"),
        ("../../out", "s3://b/jobs/team", "s3://b/out"),
        ("/data/rows.csv", "s3://b/jobs", "/data/rows.csv"),
        ("gs://c/out", "s3://b/jobs", "gs://c/out"),
    ],
)
def test_it_is_relative_to_the_folder_of_the_job(path: str, folder: str, whole: str) -> None:
    assert absolute(path, folder) == whole


@pytest.mark.parametrize("path", ["..", "../../out", "a/../../.."])
def test_nothing_leads_out_of_a_bucket(path: str) -> None:
    with pytest.raises(ConfigError, match=r"leads out of s3://b; write it as a whole URL"):
        absolute(path, "s3://b")


def test_the_folder_of_a_file(tmp_path: Path) -> None:
    assert folder_of("s3://b/jobs/x.yaml") == "s3://b/jobs"
    assert folder_of(str(tmp_path / "x.yaml")) == str(tmp_path.resolve())
