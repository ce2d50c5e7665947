"""How candidates are compared: each run in a process of its own, rounds interleaved, medians shown side by side.

Peak memory is VmHWM, imports included. Seconds are those inside a candidate's `with watch` blocks; those of a whole command
are its process's, imports included. Use the ratios, not the seconds.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

COLUMNS = ("wall s", "cpu s", "x ours", "krows/s", "MB/s", "peak MB")
_MEASURED = ("seconds", "cpu", "peak")


class Watch:
    """Wall and CPU seconds spent inside `with` blocks."""

    wall = cpu = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


@dataclass(frozen=True)
class Options:
    """What a candidate's process is told: how many rows, and what only some benchmarks take."""

    rows: int = 100_000
    answer_bytes: int = 270  # UTF-8 bytes of an answer
    schema: bool = False  # answers are JSON, validated and parsed


Candidate = Callable[[Path, Path, Watch, Options], None]
Command = Callable[[Path, Path], list[str]]
"""Of an input and an empty folder, the command line of a process that measures itself: its last line of output is JSON with
`cpu` and `peak`."""


@dataclass(frozen=True)
class Benchmark:
    """What is compared. `ours` is one of the candidates; `commands` run in other environments, `absent` says why some do not.

    `write_input` writes the input into a new folder and gives its size in bytes; `compare` raises SystemExit unless the
    outputs say the same; `around` gives the environment variables of all candidates while it is open.
    """

    about: str
    candidates: Mapping[str, Candidate]
    write_input: Callable[[Path, Options], int]
    compare: Callable[[Mapping[str, Path]], None]
    commands: Mapping[str, Command] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    around: Callable[[Path], AbstractContextManager[Mapping[str, str]]] = lambda _: nullcontext({})


@dataclass(frozen=True)
class Line:
    """A candidate's medians over all rounds."""

    benchmark: str
    candidate: str
    rows: int
    seconds: float
    cpu: float
    ratio: float  # of CPU seconds to those of ours
    megabytes: float
    peak: float


def measure(
    name: str, benchmark: Benchmark, given: Options, rounds: int, skip: frozenset[str]
) -> Iterator[Line]:
    """Run all candidates round after round, after one that is not counted and whose outputs are compared."""
    names = [each for each in (*benchmark.candidates, *benchmark.commands) if each not in skip]
    results: dict[str, list[dict[str, float]]] = {each: [] for each in names}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "input"
        size = benchmark.write_input(folder, given)
        with benchmark.around(Path(temporary)) as environ:
            for turn in range(rounds + 1):
                for each in names:
                    found = _run(name, benchmark, each, folder, given, environ)
                    if turn:
                        results[each].append(found)
                if not turn:
                    benchmark.compare({each: folder.parent / each for each in names})
    ours = statistics.median(each["cpu"] for each in results["ours"])
    for each, found_in_rounds in results.items():
        seconds, cpu, peak = (statistics.median(one[key] for one in found_in_rounds) for key in _MEASURED)
        yield Line(name, each, given.rows, seconds, cpu, cpu / ours, size / 1e6, peak)


def run_child(benchmark: Benchmark, candidate: str, folder: Path, given: Options) -> None:
    """What a candidate's process does: its work, then its numbers on the last line."""
    watch, out = Watch(), folder.parent / candidate
    out.mkdir(exist_ok=True)
    benchmark.candidates[candidate](folder, out, watch, given)
    print(json.dumps({"seconds": watch.wall, "cpu": watch.cpu, "peak": peak_mb()}))


def peak_mb() -> float:
    """The most memory that this process held so far."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def _run(
    name: str, benchmark: Benchmark, candidate: str, folder: Path, given: Options, more: Mapping[str, str]
) -> dict[str, float]:
    from configs.arrow_settings import arrow_settings

    out = folder.parent / candidate
    if candidate in benchmark.commands:
        with emptied(out):
            command = benchmark.commands[candidate](folder, out)
    else:
        options = ["--answer-bytes", str(given.answer_bytes), *(["--schema"] if given.schema else [])]
        command = [sys.executable, str(HERE), name, "--rows", str(given.rows), *options]
        command += ["--child", candidate, str(folder)]
    began = time.perf_counter()
    environ = {**arrow_settings(), **os.environ, **more}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=folder, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {candidate} exits {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": time.perf_counter() - began, **found}


@contextmanager
def emptied(folder: Path) -> Iterator[None]:
    """The folder anew: commands of other packages go on with what they find."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield


def options_of(given: argparse.Namespace, rows: int) -> Options:
    """What the command line says of one size."""
    return Options(rows, given.answer_bytes, given.schema)


def header() -> str:
    """The table's first line."""
    return f"{'':<10}{'candidate':<22}{'rows':>11}" + "".join(f"{each:>10}" for each in COLUMNS)


def as_text(line: Line) -> str:
    """A line of the table. `x ours` compares CPU seconds: what waits costs nothing."""
    return (
        f"{line.benchmark:<10}{line.candidate:<22}{line.rows:>11,}{line.seconds:>10.2f}{line.cpu:>10.2f}{line.ratio:>10.2f}"
        f"{line.rows / line.seconds / 1e3:>10.0f}{line.megabytes / line.seconds:>10.0f}{line.peak:>10.0f}"
    )
