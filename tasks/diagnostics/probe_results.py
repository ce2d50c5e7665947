"""Check a probe's result files: the shape of their lines, and whether Nightmail parses them correctly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tasks.diagnostics.facts import Fact, Grade, Report
from tasks.stages.wire.formats import dialect


def check_result_files(
    output: bytes | None, errors: bytes | None, endpoint: str, custom_ids: tuple[str, ...], report: Report
) -> None:
    """Check the output file and the error file; None is a file that does not exist."""
    _check_files(output, errors, report)
    parser = dialect("openai").parser(endpoint)
    # A newline between them: the first file may lack its last one.
    all_lines = b"\n".join(filter(None, (output, errors)))
    parsed = parser.parse(all_lines)
    outcomes = {outcome.custom_id: outcome for outcome in parsed}
    if len(parsed) > len(outcomes):
        report(Fact("lines", Grade.ODD, f"{len(parsed)} for {len(outcomes)} rows; the first of a row counts"))
    missing = [name for name in custom_ids if name not in outcomes]
    if missing:
        report(Fact("rows", Grade.BAD, f"{len(missing)} of {len(custom_ids)} are in no file"))
    answered_row = outcomes.get(custom_ids[0])
    if answered_row is not None and answered_row.has_answer:
        usage = f"{answered_row.input_tokens} tokens in, {answered_row.output_tokens} out"
        report(
            Fact(
                "answer",
                Grade.OK,
                f"{answered_row.status}, by {answered_row.model or 'an unnamed model'}, {usage}",
            )
        )
        if answered_row.input_tokens is None:
            report(Fact("usage", Grade.ODD, "no token counts: costs stay unknown"))
    elif answered_row is not None:
        report(
            Fact(
                "answer",
                Grade.BAD,
                f"{answered_row.status}: {answered_row.error_code}: {answered_row.error_message}",
            )
        )
    _check_line_shape(all_lines, report)
    refused_row = outcomes.get(custom_ids[1])
    if refused_row is not None and not refused_row.has_answer:
        where = "error" if errors and custom_ids[1].encode() in errors else "output"
        grade = Grade.OK if where == "error" else Grade.ODD
        report(
            Fact(
                "failed row",
                grade,
                f"in the {where} file: {refused_row.error_code}: {refused_row.error_message}",
            )
        )
    elif refused_row is not None:
        report(Fact("failed row", Grade.NOTE, "none: the service answered a request that asks for nonsense"))


def check_every_row(
    content: bytes, again: bytes, endpoint: str, custom_ids: Sequence[str], report: Report
) -> None:
    """Check the result lines of a batch of several valid rows, downloaded twice."""
    lines = [outcome.custom_id for outcome in dialect("openai").parser(endpoint).parse(content)]
    missing = [name for name in custom_ids if name not in lines]
    if missing:
        report(Fact("every row once", Grade.BAD, f"{len(missing)} of {len(custom_ids)} are in no file"))
    elif len(lines) > len(custom_ids):
        report(Fact("every row once", Grade.ODD, f"{len(lines)} lines for {len(custom_ids)} rows"))
    else:
        report(Fact("every row once", Grade.OK, f"{len(lines)} lines for {len(custom_ids)} rows"))
    in_order = list(dict.fromkeys(name for name in lines if name in custom_ids)) == list(custom_ids)
    # Nobody promises an order, and no run goes by it.
    report(Fact("order", Grade.NOTE, "as asked" if in_order else "another than asked", honoured=in_order))
    same = content == again
    detail = (
        f"{len(again):,} bytes both times" if same else f"{len(content):,} bytes, then {len(again):,} others"
    )
    report(Fact("same download", Grade.OK if same else Grade.ODD, detail))


def _check_files(output: bytes | None, errors: bytes | None, report: Report) -> None:
    for name, content in (("output file", output), ("error file", errors)):
        if content is None:
            report(Fact(name, Grade.NOTE, "none"))
        elif not content:
            report(Fact(name, Grade.ODD, "of 0 bytes"))
        elif not content.endswith(b"\n"):
            report(Fact(name, Grade.ODD, f"{len(content):,} bytes, without a final newline"))
        else:
            report(Fact(name, Grade.OK, f"{len(content):,} bytes"))


def _check_line_shape(lines: bytes, report: Report) -> None:
    deviations = sorted(
        {deviation for raw in lines.split(b"\n") if raw.strip() for deviation in _deviations(raw)}
    )
    if deviations:
        report(Fact("line shape", Grade.ODD, "; ".join(deviations)))
    else:
        report(Fact("line shape", Grade.OK, "id, custom_id, response and error, as OpenAI writes them"))


def _deviations(raw: bytes) -> list[str]:
    try:
        line = json.loads(raw)
    except ValueError:
        return ["a line is not JSON"]
    if not isinstance(line, dict):
        return ["a line is not an object"]
    deviations = [f"no `{name}` key" for name in ("id", "custom_id", "response", "error") if name not in line]
    response: Any = line.get("response")
    if isinstance(response, str) or (isinstance(response, dict) and isinstance(response.get("body"), str)):
        deviations.append("the body is JSON inside a string")
    return deviations
