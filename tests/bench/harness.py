"""How candidates are compared: each run in a process of its own, rounds interleaved, medians shown side by side.

Peak memory is VmHWM, imports included; seconds are those inside the candidate's `with watch` blocks. Use the ratios,
not the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]


class Watch:
    """Wall and CPU seconds spent inside `with` blocks."""

    wall = cpu = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


Options = argparse.Namespace
Candidate = Callable[[Path, Path, Watch, Options], None]


def main(
    about: str,
    candidates: Mapping[str, Candidate],
    prepare: Callable[[Path, Options], int],
    compare: Callable[[Mapping[str, Path]], None],
    options: Callable[[argparse.ArgumentParser], None] = lambda _: None,
) -> None:
    """The command line of a benchmark. `prepare` writes the input and gives its size in bytes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip", nargs="*", default=[], help="candidates to leave out, e.g. pandas")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options(parser)
    given = parser.parse_args()
    if given.child:
        _child(candidates, given)
        return
    names = [name for name in candidates if name not in given.skip]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "input"
        size = prepare(folder, given)
        outs = {name: Path(temporary) / name for name in names}
        for name in names:  # a warm-up, and the outputs to compare
            _run(name, folder)
        if not given.skip:
            compare(outs)
        results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(given.rounds):
            for name in names:
                results[name].append(_run(name, folder))
    _table(results, given.rows, size)


def _child(candidates: Mapping[str, Candidate], given: Options) -> None:
    name, folder = given.child[0], Path(given.child[1])
    out = folder.parent / name
    out.mkdir(exist_ok=True)
    watch = Watch()
    candidates[name](folder, out, watch, given)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"seconds": watch.wall, "cpu": watch.cpu, "peak": peak}))


def _run(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--child", name, str(folder)]
    from flows.cli.main import arrow_settings

    environ = {**arrow_settings(), **os.environ}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(results: Mapping[str, list[dict[str, float]]], rows: int, size: int) -> None:
    best = statistics.median(each["seconds"] for each in results["ours"])
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB of input, load {os.getloadavg()[0]:.1f}")
    print(f"{'candidate':<10}{'seconds':>9}{'cpu':>8}{'x ours':>8}{'krows/s':>9}{'MB/s':>7}{'peak MB':>9}")
    for name, rounds in results.items():
        seconds, cpu, peak = (
            statistics.median(each[key] for each in rounds) for key in ("seconds", "cpu", "peak")
        )
        print(
            f"{name:<10}{seconds:>9.2f}{cpu:>8.2f}{seconds / best:>8.2f}{rows / seconds / 1e3:>9.0f}"
            f"{size / seconds / 1e6:>7.0f}{peak:>9.0f}"
        )
