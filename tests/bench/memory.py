"""Peak memory of `nightmail run` and `plan` over rows of 100 KB and over 200 columns, and the step that reached it.

    python tests/bench memory [--only csv one-group] [--rows 500] [--plan] [--keep FOLDER]

Every command runs in a process of its own, with the embedded service and its echoes; the service's peak stands beside.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from rigs.memory import DATASETS, Peaks, measured, write_job


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python tests/bench memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="*", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--rows", type=int, help="instead of each dataset's own number")
    parser.add_argument("--plan", action="store_true", help="`plan --limit 400` instead of `run`")
    parser.add_argument("--keep", type=Path, help="a folder in which the datasets stay for the next time")
    given = parser.parse_args()
    words = ["plan", "job.yaml", "--limit", "400"] if given.plan else ["run", "job.yaml"]
    print(
        f"load {os.getloadavg()[0]:.1f}; MB\n{'dataset':<14}{'source':>7}{'peak':>6}{'service':>9}{'seconds':>9}  by step"
    )
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.only:
            folder = Path(temporary) / name
            folder.mkdir()
            size = _prepare(name, given.rows, folder, given.keep)
            _show(name, size, measured(folder, *words))
            shutil.rmtree(folder, ignore_errors=True)


def _prepare(name: str, rows: int | None, folder: Path, keep: Path | None) -> int:
    """Write the source and the job; the source's bytes."""
    dataset = DATASETS[name]
    place = keep / f"{name}-{rows or dataset.rows}" if keep else folder
    place.mkdir(parents=True, exist_ok=True)
    source = place / dataset.file
    if not source.exists():
        dataset.write(source, rows or dataset.rows)
    write_job(folder, str(source))
    return source.stat().st_size


def _show(name: str, size: int, peaks: Peaks) -> None:
    steps = "  ".join(f"{step} {most:.0f}" for step, most in peaks.steps.items())
    print(
        f"{name:<14}{size / 1e6:>7.0f}{peaks.most:>6.0f}{peaks.children:>9.0f}{peaks.seconds:>9.1f}  {steps}",
        flush=True,
    )
    if peaks.code:
        print(f"  exit {peaks.code}: {peaks.said}")
