"""The references that are made from the code: the job file's keys, the commands, the output's columns.

A page holds each of them between `<!-- begin NAME -->` and `<!-- end NAME -->`. `python tests/docs/regenerate.py` writes
them; test_references.py fails when a page is behind the code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def job_keys() -> str:
    """Every key of a job file, from the pydantic model's JSON Schema."""
    from configs.load import job_schema

    schema = job_schema()
    blocks = [_keys_table("", schema, schema["$defs"], top=True)]
    for name, node in schema["properties"].items():
        blocks += [_section(name, model, schema["$defs"]) for model in _models(node, schema["$defs"])]
    return "\n".join(blocks)


def commands() -> str:
    """Every command with its line of help, then every option, from the command line itself."""
    from flows.cli.main import app

    lines = ["| command | what it does |", "|---|---|"]
    options: dict[tuple[str, str], list[str]] = {}
    for name in sorted(word for word in app if not word.startswith("-")):
        usage = [name]
        for argument in app[name].assemble_argument_collection():
            positional = argument.field_info.kind is argument.field_info.POSITIONAL_OR_KEYWORD
            value = argument.names[0].removeprefix("--").upper()
            if positional:
                usage.append(value if argument.required else f"[{value}]")
                continue
            flags = ", ".join(f"`{flag}`" for flag in argument.names)
            options.setdefault((flags, _default_of(argument)), []).append(name)
        lines.append(f"| `nightmail {' '.join(usage)}` | {_cell(app[name].help)} |")
    lines += ["", "| option | of | what it does |", "|---|---|---|"]
    lines += [f"| {flags} | {', '.join(names)} | {text} |" for (flags, text), names in options.items()]
    return "\n".join(lines) + "\n"


def output_columns() -> str:
    """The columns that a run adds, with their types."""
    import pyarrow as pa

    from tasks.stages.output_columns import typed_columns

    lines = ["| column | type | what it holds |", "|---|---|---|"]
    for column, kind in typed_columns(pa.string(), pa.struct([])):
        type_name = "struct" if pa.types.is_struct(kind) else str(kind)
        lines.append(f"| `llm_{column.name}` | {type_name} | {column.meaning} |")
    return "\n".join(lines) + "\n"


def row_statuses() -> str:
    """The statuses of rows, what they mean, and what follows from them."""
    from tasks.stages.row_status import RowStatus

    lines = [
        "| status | meaning | counts as answered | the model answered: posted again by choice alone |",
        "|---|---|:-:|:-:|",
    ]
    for status in RowStatus:
        marks = ["✓" if fact else "" for fact in (status.is_success, status.has_answer)]
        lines.append(f"| `{status}` | {status.meaning} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


def receipt_fields() -> str:
    """Every field of the receipt, from the JSON Schema of its model."""
    from tasks.stages.report.receipt import Receipt

    schema = Receipt.json_schema()
    lines = ["| field | type | meaning |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _fields("", schema, schema["$defs"])]
    return "\n".join(lines) + "\n"


def cell_rules() -> str:
    """How values read in a prompt: the table of tasks.stages.prompt.values, as it stands there."""
    from tasks.stages.prompt import values

    table = [line for line in (values.__doc__ or "").splitlines() if line.startswith("|")]
    # A pipe within code ends a table's cell all the same.
    return "\n".join(_CODE.sub(lambda code: code[0].replace("|", "\\|"), line) for line in table) + "\n"


def providers() -> str:
    """Provider × endpoint × outcome, from the registry of the contract that every service is put through."""
    from fakes.contract import OUTCOMES, STAGES

    lines = [f"| provider | endpoint | {' | '.join(OUTCOMES)} |", f"|---|---|{':-:|' * len(OUTCOMES)}"]
    for name, stage in STAGES.items():
        cells = set(stage.cells())
        for endpoint in dict.fromkeys(endpoint for endpoint, _ in stage.cells()):
            marks = ["✓" if (endpoint, word) in cells else "" for word in OUTCOMES]
            lines.append(f"| `{name}` | `{endpoint}` | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


def estimates() -> str:
    """Estimated and billed tokens, kind of text × endpoint."""
    from rigs.estimate_table import table

    return "\n".join(table()) + "\n"


_CODE = re.compile(r"`[^`]*`")
_MEANINGS = {  # for keys that the model does not describe
    "prompt.endpoint": "The provider's endpoint for the rows.",
    "prompt.system": "The system message; a template.",
    "prompt.user": "What is asked; a template. A list holds content parts (text, image_url), whose texts are templates.",
    "prompt.messages[].role": "Who says it.",
    "prompt.messages[].content": "What is said; a template, or a list of content parts.",
    "provider.name": "Which provider this section is for.",
    "provider.completion_window": "How long the provider may take, in hours or days.",
    "provider.metadata": "Put on every batch at the provider, beside Nightmail's own entries.",
    "poll.first_seconds": "Wait before the first look.",
    "poll.max_seconds": "The longest wait between two looks.",
}

PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "commands": commands,
        "output-columns": output_columns,
        "row-statuses": row_statuses,
        "receipt-fields": receipt_fields,
        "cell-rules": cell_rules,
        "providers": providers,
    },
    "configs/README.md": {"job-keys": job_keys},
}


# Takes seconds to make: written with the others, and checked line by line by the tests that measure it anyway.
MEASURED: dict[str, dict[str, Callable[[], str]]] = {"README.md": {"estimates": estimates}}


def current(page: str, text: str, *, measured: bool = False) -> str:
    """The page's text with every reference as the code has it now; with `measured`, also those that have to be measured."""
    for name, make in (PAGES[page] | (MEASURED.get(page, {}) if measured else {})).items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{page}: the marks of {name} are gone")
        text = f"{before}{begin}{make()}{end}{after}"
    return text


def _section(name: str, model: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    choice = model["properties"].get("name", {}).get("const")
    title = f"`{name}: {{name: {choice}}}`" if choice else f"`{name}`"
    text = " ".join(model.get("description", "").split())
    return f"\n### {title}\n\n{text}\n\n{_keys_table(name, model, defs)}"


def _keys_table(prefix: str, model: Mapping[str, Any], defs: Mapping[str, Any], *, top: bool = False) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(prefix, model, defs, top=top)]
    return "\n".join(lines) + "\n"


def _rows(
    prefix: str, model: Mapping[str, Any], defs: Mapping[str, Any], *, top: bool = False
) -> Iterator[tuple[str, ...]]:
    required = model.get("required", [])
    for name, node in model["properties"].items():
        key = f"{prefix}.{name}" if prefix else name
        inner = _models(node, defs)
        if inner and not top:
            for each in inner:
                yield from _rows(f"{key}[]" if node.get("type") == "array" else key, each, defs)
            continue
        value = "a section, see below" if inner else _kind(node)
        default = "**required**" if name in required else _literal(node.get("default"))
        if inner and name not in required:
            default = ""
        meaning = _first(inner) if inner else node.get("description") or _MEANINGS.get(key, "")
        yield f"`{key}`", value, default, _cell(meaning)


def _fields(prefix: str, model: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(field, type, meaning) of a document, parts included; the statuses of rows, told elsewhere, as one."""
    from tasks.stages.row_status import RowStatus

    for name, node in model["properties"].items():
        inner = _models(node, defs)
        for part in inner:
            yield from _fields(f"{prefix}{name}{'[]' if node.get('type') == 'array' else ''}.", part, defs)
        if not inner and name not in list(RowStatus):
            yield f"`{prefix}{name}`", _kind(node), _cell(node.get("description", ""))
    if set(RowStatus) <= set(model["properties"]):
        yield f"`{prefix}STATUS`", "integer", "Rows with that status; not there when there are none."


def _first(models: list[Mapping[str, Any]]) -> str:
    return (
        str(models[0].get("description", "")).split("\n")[0]
        if len(models) == 1
        else "Who answers; the embedded service unless told."
    )


def _models(node: Mapping[str, Any], defs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sections that a key holds, if it holds any."""
    choices = [node, node.get("items", {}), *node.get("oneOf", []), *node.get("anyOf", [])]
    names = [choice["$ref"].rpartition("/")[2] for choice in choices if "$ref" in choice]
    return [defs[name] for name in names]


def _kind(node: Mapping[str, Any]) -> str:
    if "anyOf" in node:
        return " or ".join(_kind(choice) for choice in node["anyOf"])
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if node.get("type") == "array":
        parts = node.get("prefixItems")
        if parts:
            return f"[{', '.join(_kind(part).replace('`, `', '` `') for part in parts)}]"
        return f"list of {_kind(node['items'])}" if node.get("items") else "list"
    values = node.get("additionalProperties")
    if node.get("type") == "object" and isinstance(values, dict) and values:
        return f"mapping to {_kind(values)}"
    kind = {"string": "text", "object": "mapping", "null": "null", None: "any value"}.get(
        node.get("type"), str(node.get("type"))
    )
    if "format" in node:
        return f"{kind}, {node['format']}"
    if "exclusiveMinimum" in node:
        return f"{kind} > {node['exclusiveMinimum']}"
    if node.get("minimum") == 1 and node.get("maximum", 0) >= 10**12:
        return f"{kind} > 0"
    if "minimum" in node and "maximum" in node:
        return f"{kind} {node['minimum']:,} to {node['maximum']:,}"
    return kind


def _literal(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _default_of(argument: Any) -> str:
    text = _cell(argument.parameter.help or "")
    default = argument.field_info.default
    shown = default not in (None, False, "", ()) and not isinstance(default, type)
    return f"{text} Default: `{default}`." if shown else text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
