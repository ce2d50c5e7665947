"""Peak memory of `nightmail submit` of a file of many ready requests, by step.

    python tests/bench submit [--lines 1000000] [--models 1] [--plan]

The command runs in a process of its own, with the embedded service and its echoes; the service's peak stands beside.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rigs.memory import measured


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python tests/bench submit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--plan", action="store_true", help="`--dry-run` instead of posting")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write(folder / "requests.jsonl", given.lines, given.models)
        size = (folder / "requests.jsonl").stat().st_size
        words = ["submit", "requests.jsonl", "--provider", "local", *(["--dry-run"] if given.plan else [])]
        peaks = measured(folder, *words)
    steps = "  ".join(f"{step} {most:.0f}" for step, most in peaks.steps.items())
    print(
        f"{given.lines:,} lines, {size / 1e6:,.0f} MB: {peaks.most:.0f} MB at most, the service {peaks.children:.0f} MB,"
        f" {peaks.seconds:.0f} s  {steps}"
    )
    if peaks.code:
        print(f"  exit {peaks.code}: {peaks.said}")


def _write(path: Path, lines: int, models: int) -> None:
    with path.open("w") as file:
        for n in range(lines):
            body = {
                "model": f"model-{n % models}",
                "messages": [{"role": "user", "content": f"Say {n}. " + "Tell me more. " * 20}],
                "max_completion_tokens": 200,
            }
            line = {"custom_id": f"r-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
