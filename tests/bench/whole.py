"""A whole night without the waiting: rows in, answers on the same rows out, against other packages.

All of them post to one embedded service, whose echoes are instant, and ask for the same JSON object of one field. What is
compared is the processor time of the client's whole process, imports included: what it waits for the service is no
difference between them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness import HERE, Benchmark, Command, Options, Watch, peak_mb

_PEERS = {
    "langbatch": "langbatch",
    "instructor": "instructor",
    "llm-batch-py": "llm_batch_py",
    "bespokelabs-curator": "curator",
}
"""Distributions, and the drivers in peers/ (tried: langbatch 0.1.2, instructor 1.17.0, llm-batch-py 0.1.8, bespokelabs-curator
0.1.31)."""
_ALSO = ("pyarrow", "polars")  # what the drivers read and write rows with
_JOB = """\
name: bench
source: {path: source.parquet, key: id}
prompt:
  model: gpt-4o-mini
  system: You label product reviews. Answer with one word.
  user: "Product: {{ title }} ({{ category }})\\nReview: {{ text }}\\nClassify the review."
  params: {max_completion_tokens: 1000}
  schema: {type: object, properties: {label: {type: string}}, required: [label], additionalProperties: false}
provider: {name: openai}
poll: {first_seconds: 0.2, max_seconds: 0.2}
output: {path: enriched}
"""


def write_input(folder: Path, given: Options) -> int:
    """The source and ours' job."""
    from data import write_source

    folder.mkdir()
    write_source(folder / "source.parquet", given.rows)
    (folder / "job.yaml").write_text(_JOB)
    return (folder / "source.parquet").stat().st_size


def ours(folder: Path, out: Path, watch: Watch, _: Options) -> None:
    """`nightmail run`, in a folder of its own."""
    from flows.cli.main import main

    del watch  # the whole process is measured, see `benchmark`
    words = ["run", str(folder / "job.yaml"), "--redo", "--set", f"output.path={out / 'enriched'}"]
    words += ["--set", f"provider.base_url={os.environ['OPENAI_BASE_URL']}"]
    sys.argv = ["nightmail", *words, "--set", f"source.path={folder / 'source.parquet'}"]
    try:
        main()
    except SystemExit as exit_:
        if exit_.code:
            raise
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu": usage.ru_utime + usage.ru_stime, "peak": peak_mb()}), flush=True)
    os._exit(0)


@contextmanager
def service(folder: Path) -> Iterator[Mapping[str, str]]:
    """The embedded service, and the variables by which all clients find it."""
    from rigs.batch_service import KEY, BatchService

    embedded = BatchService(folder / "service")
    try:
        yield {
            "NIGHTMAIL_HOME": str(folder / "home"),
            "OPENAI_BASE_URL": embedded.url,
            "OPENAI_API_KEY": KEY,
        }
    finally:
        embedded.stop()


def compare(outs: Mapping[str, Path]) -> None:
    """Every row has a label everywhere. Ids differ, and with them the echoes: labels are not compared."""
    import pyarrow.parquet as pq

    for name, out in outs.items():
        table = pq.read_table(out / "enriched.parquet" if name != "ours" else out / "enriched")
        labels = table["label" if name != "ours" else "llm_answer"]
        if labels.null_count:
            raise SystemExit(f"{name}: {labels.null_count} rows have no answer")


def benchmark(environments: Path, skip: frozenset[str]) -> Benchmark:
    """Ours, and those packages that can be installed into environments below that folder."""
    commands: dict[str, Command] = {}
    absent: dict[str, str] = {}
    for distribution, driver in _PEERS.items():
        if distribution in skip or "peers" in skip:
            continue
        python = environments / distribution / "bin" / "python"
        if (why := _installed(python, distribution)) is not None:
            absent[distribution] = why
            continue
        script = HERE / "peers" / f"with_{driver}.py"
        commands[distribution] = lambda folder, out, python=python, script=script: [
            str(python), str(script), str(folder / "source.parquet"), str(out),
        ]  # fmt: skip
    return Benchmark(__doc__ or "", {"ours": ours}, write_input, compare, commands, absent, service)


def _installed(python: Path, distribution: str) -> str | None:
    """Make the environment where there is none; why it cannot be made, else None."""
    if python.exists():
        return None
    subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True, capture_output=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", distribution, *_ALSO]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    python.unlink()
    return "pip: " + (done.stderr.strip().splitlines() or ["no reason given"])[-1]
