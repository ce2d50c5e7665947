"""Measure Nightmail side by side with the limit of the hardware, with what most people write, and with other packages.

    python tests/bench                                  prepare, merge and a whole run, at 100,000 rows
    python tests/bench prepare merge --rows 100000 1000000 10000000 --skip pandas
    python tests/bench merge --answer-bytes 13000       long answers; --schema: answers are JSON, validated and parsed
    python tests/bench whole --rows 20000               against other packages, each in an environment of its own

One line per candidate: medians over interleaved rounds, each in a process of its own; `x ours` compares processor time. What
is measured of one command alone has a table of its own:

    python tests/bench memory | submit | console | look-ups | open-batches [--help]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE), str(HERE.parent)]

from harness import Benchmark, as_text, header, measure, options_of, run_child  # noqa: E402

COMPARED = ("prepare", "merge", "whole", "reuse")
BY_DEFAULT = ("prepare", "merge", "whole")
ALONE = {
    "memory": "memory",
    "submit": "submit",
    "console": "console",
    "look-ups": "look_ups",
    "open-batches": "open_batches",
}


def main() -> None:
    """The command line."""
    if len(sys.argv) > 1 and sys.argv[1] in ALONE:
        run: Callable[[], None] = import_module(ALONE[sys.argv.pop(1)]).main
        run()
        return
    given = _parser().parse_args()
    skip = frozenset(given.skip)
    if given.child:
        candidate, folder = given.child
        run_child(
            _benchmark(given.names[0], given, skip), candidate, Path(folder), options_of(given, given.rows[0])
        )
        return
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, medians of {given.rounds}\n{header()}")
    for name in given.names or BY_DEFAULT:
        benchmark = _benchmark(name, given, skip)
        for rows in given.rows:
            for line in measure(name, benchmark, options_of(given, rows), given.rounds, skip):
                print(as_text(line), flush=True)
        for package, why in benchmark.absent.items():
            print(f"{name:<10}{package:<22} left out: {why}")


def _benchmark(name: str, given: argparse.Namespace, skip: frozenset[str]) -> Benchmark:
    module = import_module(name)
    found: Benchmark = module.benchmark(given.peers, skip) if name == "whole" else module.BENCHMARK
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", choices=[*COMPARED, []], metavar="NAME", help=", ".join(COMPARED))
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--skip", nargs="+", default=[], help="candidates to leave out, e.g. pandas; peers: all packages"
    )
    parser.add_argument("--answer-bytes", type=int, default=270, help="UTF-8 bytes of an answer")
    parser.add_argument("--schema", action="store_true", help="answers are JSON, validated and parsed")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    peers = cache / "nightmail-bench"
    parser.add_argument(
        "--peers", type=Path, default=peers, help="folder for the environments of other packages"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
