"""The benchmarks run, on few rows: what they measure is for people to look at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rigs.checkout import ROOT

pytestmark = pytest.mark.soak


@pytest.mark.parametrize(
    ("words", "candidates"),
    [
        (("prepare", "merge", "--schema"), ["ours", "limit", "pandas"] * 2),
        (("reuse",), ["ours", "off", "found"]),
        (("whole", "--skip", "peers"), ["ours"]),
    ],
)
def test_every_candidate_has_a_line_and_all_of_them_agree(
    words: tuple[str, ...], candidates: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, str(ROOT / "tests" / "bench"), *words, "--rows", "300", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [line[1] for line in lines] == candidates
    assert all(float(number) >= 0 for line in lines for number in line[3:])
    assert {line[2] for line in lines} == {"300"}
