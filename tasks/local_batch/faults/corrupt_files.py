"""Damage a batch's result files for tests: lines missing, doubled, unknown, cut, glued together, or in the wrong file."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import orjson

from tasks.local_batch.protocol.file_object import ResultKind
from tasks.local_batch.state.result_log import ERRORS_NAME, OUTPUT_NAME

FILE_FAULTS: Final = frozenset(
    {
        "failed_rows_in_output",
        "duplicate_lines",
        "missing_lines",
        "unknown_ids",
        "foreign_ids",
        "malformed_line",
        "truncated_last_line",
        "glued_lines",
    }
)
_EVERY: Final = 10  # of so many lines, the first one is missing or doubled


def write_corrupt_files(work_folder: Path, faults: Collection[str]) -> dict[ResultKind, Path]:
    """Damaged copies of a finished batch's files, with these FILE_FAULTS.

    Written anew each time, and beside the result log's own: publishing may be repeated after a crash.
    """
    output = (work_folder / OUTPUT_NAME).read_bytes().split(b"\n")[:-1]
    errors = (work_folder / ERRORS_NAME).read_bytes().split(b"\n")[:-1]
    if "failed_rows_in_output" in faults:
        output, errors = _interleaved(output, errors), []
    paths: dict[ResultKind, Path] = {
        "output": work_folder / "output.final",
        "error": work_folder / "errors.final",
    }
    _write(paths["output"], _damaged(output, faults))
    _write(paths["error"], _joined(errors))
    return paths


def _interleaved(output: list[bytes], errors: list[bytes]) -> list[bytes]:
    """Error lines among the good ones, not behind them."""
    pairs = [line for pair in zip(output, errors, strict=False) for line in pair]
    return pairs + (output[len(errors) :] or errors[len(output) :])


def _damaged(lines: list[bytes], faults: Collection[str]) -> bytes:
    if "missing_lines" in faults:
        lines = [line for index, line in enumerate(lines) if index % _EVERY]
    if "duplicate_lines" in faults:
        lines = lines + lines[::_EVERY]
    if "malformed_line" in faults and lines:
        lines = [lines[0][: len(lines[0]) // 2] + b"<html>", *lines[1:]]
    if "unknown_ids" in faults and lines:
        stranger = orjson.loads(lines[-1])
        stranger["custom_id"] = "nobody-asked-for-this"
        lines = [orjson.dumps(stranger), *lines]
    if "foreign_ids" in faults:
        lines = [
            orjson.dumps({**orjson.loads(line), "custom_id": f"theirs-{n}"}) for n, line in enumerate(lines)
        ]
    if "glued_lines" in faults:
        lines = [b"".join(lines[at : at + 2]) for at in range(0, len(lines), 2)]
    data = _joined(lines)
    if "truncated_last_line" in faults and lines:
        return data[: -max(2, len(lines[-1]) // 2)]  # 2: its newline and at least one byte of the line
    return data


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(path)
