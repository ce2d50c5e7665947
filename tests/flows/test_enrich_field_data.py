"""Datasets as people have them: what `plan` shows is what a run posts, whatever the reader's options."""

from __future__ import annotations

import bz2
import io
import json
from typing import Any

import pyarrow as pa
import pytest

from configs.errors import ConfigError
from configs.load import load_job
from rigs.workspace import Workspace
from tasks.runs.session import shard_limits
from tasks.stages.plan import RequestPlan

_TABS = b"id\tname\n1\tAnn\n2\tEve\n"
_COMMAS = b"id,name\n1,Ann\n2,Eve\n"


def _arrow() -> bytes:
    sink = io.BytesIO()
    table = pa.table({"id": ["1", "2"], "name": pa.array(["Ann", "Eve"]).dictionary_encode()})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("rows.tsv", _TABS, {}),
        ("rows.csv", _TABS, {"csv": {"delimiter": "\t"}}),
        ("rows.tsv", _COMMAS, {"csv": {"delimiter": ","}}),
        ("rows.csv", b"Report\n\n" + _COMMAS, {"csv": {"skip_lines": 2}}),
        ("rows.csv", b"id,name\n1,'Ann'\n2,'Eve'\n", {"csv": {"quote": "'"}}),
        ("rows.csv", b"id,name\n1,An\\n\n2,Eve\n", {"csv": {"escape": "\\"}}),
        ("rows.csv", _COMMAS.decode().encode("utf-16"), {"csv": {"encoding": "utf-16"}}),
        ("rows.csv", b"id,name,note\n1,Ann\n2,Eve,x\n", {"bad_lines": "fill"}),
        ("rows.csv", b"id,name\n1,Ann\nx\n2,Eve\n", {"bad_lines": "skip"}),
        ("rows.csv", b"name,id,name\nx,1,Ann\ny,2,Eve\n", None),
        ("rows.csv", b"id,name\n1,Ann\n2,Eve\n3,Bob\n", {"where": [["id", "!=", "3"]]}),
        ("rows.csv", b"id,name\n1,Ann\n2,Eve\n3,Bob\n", {"limit": 2}),
        ("rows.csv.bz2", bz2.compress(_COMMAS), {}),
        ("rows.csv", b"sep=;\n" + _COMMAS.replace(b",", b";"), {"csv": {"skip_lines": 1, "delimiter": ";"}}),
        ("rows.jsonl", b'{"id":"1","name":"Ann","more":{}}\n{"id":"2","name":"Eve","more":null}\n', {}),
        ("rows.arrow", _arrow(), {}),
        ("rows", _arrow(), {"format": "arrow"}),
    ],
)
def test_plan_and_run_read_alike(
    workspace: Workspace, name: str, content: bytes, options: dict[str, Any] | None
) -> None:
    (workspace.folder / name).write_bytes(content)
    used = {"columns": ["id"]} if options is None else options
    workspace.change("source", {"path": name, "key": "id", **used})
    workspace.change("prompt.user", "{{ id }}" if options is None else "Say {{ name }}")
    job = load_job(workspace.write())
    limits = job.provider.limits
    planned = RequestPlan(job, shard_limits(job, limits), limits.custom_id)
    rows = [row for piece in planned.row_slices() for row in piece.rows.to_pylist()]
    workspace.run()
    published = workspace.out.select(planned.dataset.schema.names).to_pylist()
    assert [row["id"] for row in published] == ["1", "2"]
    assert published == rows
    assert workspace.statuses() == {"succeeded": 2}


def test_conversations_whose_content_is_text_or_a_list_are_asked_as_they_are(workspace: Workspace) -> None:
    said = [
        [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "text", "text": "yo"}]},
        ],
        [{"role": "user", "content": [{"type": "text", "text": "what"}]}],
    ]
    lines = (json.dumps({"id": f"r{n}", "messages": each}) + "\n" for n, each in enumerate(said))
    (workspace.folder / "chats.jsonl").write_text("".join(lines))
    workspace.change("source", {"path": "chats.jsonl", "key": "id"})
    workspace.change(
        "prompt.user",
        "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}"
        "{% else %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}\n{% endfor %}",
    )
    workspace.run()
    assert workspace.out.column("llm_answer").to_pylist() == [
        "Echo: user: hi\nassistant: yo\n",
        "Echo: user: what\n",
    ]
    contents = [[m["content"] for m in each] for each in workspace.out.column("messages").to_pylist()]
    assert [[json.loads(each) for each in row] for row in contents] == [
        [m["content"] for m in each] for each in said
    ]


def test_numbers_of_each_row_in_params_are_refused_as_text_and_sent_as_numbers(workspace: Workspace) -> None:
    lines = [{"id": "a", "temp": 0.2, "seed": 7}, {"id": "b", "temp": 0.9, "seed": 8}]
    (workspace.folder / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    workspace.change("source", {"path": "rows.jsonl", "key": "id"})
    workspace.change("prompt.user", "hi")
    workspace.change("prompt.params", {"temperature": "{{ temp }}", "seed": "{{ seed }}"})
    with pytest.raises(ConfigError, match=r"params.seed: .* a whole number is due; end it in a filter"):
        workspace.run()
    workspace.change("prompt.params", {"temperature": "{{ temp | float }}", "seed": "{{ seed | tojson }}"})
    workspace.run()
    assert workspace.statuses() == {"succeeded": 2}, "the service refuses text there"
