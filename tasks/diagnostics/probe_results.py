"""Check the result files of a probe's two rows: their shape, and whether Nightmail reads them right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tasks.diagnostics.facts import Fact, Grade
from tasks.stages.wire.formats import dialect

Tell = Callable[[Fact], None]


def read_results(
    output: bytes | None, errors: bytes | None, endpoint: str, custom_ids: tuple[str, ...], tell: Tell
) -> None:
    """Tell the facts of both files; None is a file that does not exist."""
    _files(output, errors, tell)
    parser = dialect("openai").parser(endpoint)
    both = b"\n".join(filter(None, (output, errors)))
    parsed = parser.parse(both)
    outcomes = {outcome.custom_id: outcome for outcome in parsed}
    if len(parsed) > len(outcomes):
        tell(Fact("lines", Grade.ODD, f"{len(parsed)} for {len(outcomes)} rows; the first of a row counts"))
    missing = [name for name in custom_ids if name not in outcomes]
    if missing:
        tell(Fact("rows", Grade.BAD, f"{len(missing)} of {len(custom_ids)} are in no file"))
    first = outcomes.get(custom_ids[0])
    if first is not None and first.has_answer:
        usage = f"{first.input_tokens} tokens in, {first.output_tokens} out"
        tell(Fact("answer", Grade.OK, f"{first.status}, by {first.model or 'an unnamed model'}, {usage}"))
        if first.input_tokens is None:
            tell(Fact("usage", Grade.ODD, "no token counts: costs stay unknown"))
    elif first is not None:
        tell(Fact("answer", Grade.BAD, f"{first.status}: {first.error_code}: {first.error_message}"))
    _shape(both, tell)
    second = outcomes.get(custom_ids[1])
    if second is not None and not second.has_answer:
        where = "error" if errors and custom_ids[1].encode() in errors else "output"
        grade = Grade.OK if where == "error" else Grade.ODD
        tell(Fact("failed row", grade, f"in the {where} file: {second.error_code}: {second.error_message}"))
    elif second is not None:
        tell(Fact("failed row", Grade.NOTE, "none: the service answered a request that asks for nonsense"))


def _files(output: bytes | None, errors: bytes | None, tell: Tell) -> None:
    for name, content in (("output file", output), ("error file", errors)):
        if content is None:
            tell(Fact(name, Grade.NOTE, "none"))
        elif not content:
            tell(Fact(name, Grade.ODD, "of 0 bytes"))
        elif not content.endswith(b"\n"):
            tell(Fact(name, Grade.ODD, f"{len(content):,} bytes, without a final newline"))
        else:
            tell(Fact(name, Grade.OK, f"{len(content):,} bytes"))


def _shape(lines: bytes, tell: Tell) -> None:
    oddities = sorted({oddity for raw in lines.split(b"\n") if raw.strip() for oddity in _oddities(raw)})
    if oddities:
        tell(Fact("line shape", Grade.ODD, "; ".join(oddities)))
    else:
        tell(Fact("line shape", Grade.OK, "id, custom_id, response and error, as OpenAI writes them"))


def _oddities(raw: bytes) -> list[str]:
    try:
        line = json.loads(raw)
    except ValueError:
        return ["a line is not JSON"]
    if not isinstance(line, dict):
        return ["a line is not an object"]
    oddities = [f"no `{name}` key" for name in ("id", "custom_id", "response", "error") if name not in line]
    response: Any = line.get("response")
    if isinstance(response, str) or (isinstance(response, dict) and isinstance(response.get("body"), str)):
        oddities.append("the body is JSON inside a string")
    return oddities
