"""Looking requests up among many earlier answers.

    python tests/bench look-ups [--entries 10000000]

Makes an index of so many answers, adds a hundredth to it, and looks all of them up in micro-batches. Its memory is that of the
process without the pages of mapped files, which the system takes back when it wants to (RssAnon).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from harness import Watch
from reuse import MICRO_BATCH, write_index


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python tests/bench look-ups",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--entries", type=int, default=1_000_000)
    entries = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as temporary:
        look_ups(entries, Path(temporary))


def look_ups(entries: int, folder: Path) -> None:
    """Make an index of so many answers, merge a hundredth into it, and look all of them up; printed."""
    import numpy as np

    from tasks.reuse.index import open_index

    fingerprints = np.random.default_rng(7).integers(0, 2**64, (entries, 2), np.uint64)
    making, merging, opening, looking = Watch(), Watch(), Watch(), Watch()
    with making:
        write_index(folder / "first.index", fingerprints)
    with (folder / "first.index").open("rb") as file:
        index = open_index(file)
    with merging:
        write_index(folder / "second.index", fingerprints[: entries // 100] + np.uint64(1), index, run=2)
    del index
    before = most = anonymous_mb()
    with opening, (folder / "second.index").open("rb") as file:
        index = open_index(file)
    for start in range(0, entries, MICRO_BATCH):
        with looking:
            places = index.find(fingerprints[start : start + MICRO_BATCH])
        if (places < 0).any():
            raise SystemExit("an answer is not found")
        if start % (MICRO_BATCH * 256) == 0:
            most = max(most, anonymous_mb())
    size = (folder / "second.index").stat().st_size
    print(
        f"{entries:,} answers, {size / 1e6:,.0f} MB: {entries / looking.wall:,.0f} look-ups/s"
        f" ({entries / looking.cpu:,.0f} per second of processor time), {most - before:.1f} MB of memory;"
        f" made in {making.cpu:.1f} s of processor time, a hundredth merged in {merging.cpu:.1f} s, opened and checked in"
        f" {opening.cpu:.2f} s; load {os.getloadavg()[0]:.1f}"
    )


def anonymous_mb() -> float:
    """Memory of this process that is not a mapped file's."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024
