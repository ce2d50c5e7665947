"""The command that posts a file of ready requests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from configs.errors import ConfigError
from configs.places import absolute
from configs.request import RunRequest, override
from flows.cli.app import AsJson, app
from flows.cli.run import run


@app.command
def submit(
    file: Annotated[
        str,
        Parameter(
            help="JSONL file, a request a line: OpenAI's batch form, or the provider's own; path or URL.",
            allow_leading_hyphen=True,
        ),
    ],
    *,
    provider: Annotated[str, Parameter(name=["--provider", "-p"], help="Batch service to post it to.")],
    name: Annotated[
        str,
        Parameter(
            name=["--name", "--key"],
            help="Name of the run, its key; by default made from the file's content.",
            show_default=False,
        ),
    ] = "",
    model: Annotated[
        str,
        Parameter(help="Model to ask, where the requests name none (Gemini's form).", show_default=False),
    ] = "",
    window: Annotated[
        str, Parameter(help="Time the provider has, e.g. 24h, where it takes one.", show_default=False)
    ] = "",
    out: Annotated[
        str,
        Parameter(
            help="Folder for the answers, or a path that ends in .parquet; by default beside the file.",
            show_default=False,
        ),
    ] = "",
    result_lines: Annotated[
        bool,
        Parameter(help="Also write the result lines as the provider wrote them.", negative=()),
    ] = False,
    limit: Annotated[
        int, Parameter(name=["--limit", "-n"], help="Only so many requests, as a trial; 0 for all.")
    ] = 0,
    dry_run: Annotated[bool, Parameter(help="Only show what would be posted.", negative=())] = False,
    redo: Annotated[
        bool, Parameter(help="Post a finished file again and replace the output.", negative=())
    ] = False,
    retry: Annotated[
        bool, Parameter(help="Post again what a finished run could not get answered.", negative=())
    ] = False,
    overrides: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--set", "-s"],
            help="Set a key of the job, such as retry.max_attempts=1; repeatable.",
            negative=(),
        ),
    ] = (),
    as_json: AsJson = False,
) -> int:
    """Post a file of ready requests and bring the answers; the same file again is the same run, resumed where it stopped."""
    _check_file(file)
    texts = {"provider.completion_window": window, "output.path": out and absolute(out, str(Path.cwd()))}
    given = [override(key, text) for key, text in texts.items() if text]
    if result_lines:
        given.append("output.result_lines=true")
    request = RunRequest(
        file,
        provider=provider,
        model=model,
        key=name or _key(file),
        limit=limit,
        dry_run=dry_run,
        redo=redo,
        retry=retry,
        overrides=(*given, *overrides),
    )
    return run(**request.parameters, as_json=as_json)


def _check_file(file: str) -> None:
    """ConfigError for what is no file of requests by its name."""
    from configs.load import is_request_file

    if file in ("-", "/dev/stdin"):
        raise ConfigError(
            f"{file}: requests are not taken from standard input, which cannot be read again to resume; write them into a file"
        )
    if not is_request_file(file):
        what = (
            "is a folder; name one file in it"
            if Path(file).is_dir()
            else "is no file of requests by its name; rename it"
        )
        raise ConfigError(f"{file}: {what}, such as requests.jsonl (or .ndjson; also .gz, .zst, .bz2, .xz)")


def _key(file: str) -> str:
    """The key of a file by its content: posted twice, it is one run."""
    from configs.job import Source
    from configs.load import requests_job
    from tasks.stages.read import source_fingerprint

    return source_fingerprint(Source.model_validate(requests_job(file)["source"]))
