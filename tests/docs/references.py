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
    """Every command with the first paragraph of its help, from the command line itself."""
    lines = ["| command | what it does |", "|---|---|"]
    for name, command, arguments in _commands():
        values = [(argument.names[0].removeprefix("--").upper(), argument.required) for argument in arguments]
        usage = [name, *(value if required else f"[{value}]" for value, required in values)]
        lines.append(f"| `nightmail {' '.join(usage)}` | {_cell(command.help.split(_PARAGRAPH)[0])} |")
    return "\n".join(lines) + "\n"


def options() -> str:
    """Every option and the commands that have it, from the command line itself."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, command, arguments in _commands():
        for argument in command.assemble_argument_collection():
            if argument.names not in [each.names for each in arguments]:
                flags = ", ".join(f"`{flag}`" for flag in argument.names)
                found.setdefault((flags, _default_of(argument)), []).append(name)
    lines = ["| option | of | what it does |", "|---|---|---|"]
    lines += [f"| {flags} | {', '.join(names)} | {text} |" for (flags, text), names in found.items()]
    return "\n".join(lines) + "\n"


def _commands() -> Iterator[tuple[str, Any, list[Any]]]:
    """Name, command and positional arguments, by name."""
    from flows.cli.main import app

    for name in sorted(word for word in app if not word.startswith("-")):
        arguments = app[name].assemble_argument_collection()
        kinds = [(argument, argument.field_info) for argument in arguments]
        yield name, app[name], [each for each, info in kinds if info.kind is info.POSITIONAL_OR_KEYWORD]


def output_columns() -> str:
    """The columns that a run adds, with their types."""
    import pyarrow as pa

    from tasks.stages.output_columns import BY_CHOICE, typed_columns

    lines = ["| column | type | what it holds |", "|---|---|---|"]
    for column, kind in typed_columns(pa.string(), pa.struct([]), BY_CHOICE):
        type_name = _type_name(kind)
        lines.append(f"| `llm_{column.name}` | {type_name} | {column.meaning} |")
    return "\n".join(lines) + "\n"


def _type_name(kind: Any) -> str:
    """An Arrow type, of structs their fields' names alone."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return f"list of {_type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return f"struct ({', '.join(field.name for field in kind)})" if kind.num_fields else "struct"
    return str(kind)


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


def statistics_fields() -> str:
    """The figures of statistics, from the JSON Schema of their model."""
    from tasks.usage.document import Figures

    schema = Figures.json_schema()
    lines = ["| figure | type | meaning |", "|---|---|---|"]
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
_PARAGRAPH = "\n\n"
_MEANINGS = {  # for keys that the model does not describe
    "prompt.endpoint": "The provider's endpoint for the rows.",
    "prompt.system": "The system message; a template.",
    "prompt.user": "What is asked; a template. A list holds content parts (text, image_url; image and file for the files in a column), whose texts are templates.",
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
    },
    "configs/REFERENCE.md": {
        "options": options,
        "receipt-fields": receipt_fields,
        "statistics-fields": statistics_fields,
        "providers": providers,
    },
    "configs/README.md": {"job-keys": job_keys, "cell-rules": cell_rules},
}


# Takes seconds to make: written with the others, and checked line by line by the tests that measure it anyway.
MEASURED: dict[str, dict[str, Callable[[], str]]] = {"configs/REFERENCE.md": {"estimates": estimates}}


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
        str(models[0].get("description", ""))
        .split(_PARAGRAPH)[0]
        .replace("\n", " ")
        .split(". ")[0]
        .rstrip(".")
        + "."
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
