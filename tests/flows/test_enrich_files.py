"""Pictures and documents of a dataset's rows, from disk or from cells to every vendor."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from fakes.contract import STAGES, Stage
from rigs.pictures import base64_of, jpeg, png
from rigs.s3 import S3Prefix
from rigs.workspace import Workspace
from tasks.runs import chunk_files
from tasks.stages.prompt import file_cells

PNG, JPEG = png(64, 32), jpeg(500, 300)
NAMES = [["a.png"], None, ["a.png", "b.jpg"], ["/etc/passwd"], ["gone.png"], ["text.png"], ["big.png"]]
CODES = [
    *(None, None, None),
    *("file_not_allowed", "file_not_found", "file_unsupported", "file_too_large"),
]


@pytest.fixture
def albums(workspace: Workspace) -> Workspace:
    """A job whose rows name pictures, of which some cannot be sent; their folder is named by the job."""
    folder = workspace.folder / "letters-img"
    folder.mkdir()
    files = {"a.png": PNG, "b.jpg": JPEG, "text.png": b"no picture", "big.png": png(9, 9, 50_001)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    ids = [f"t-{n}" for n in range(len(NAMES))]
    pq.write_table(pa.table({"id": ids, "photos": NAMES}), workspace.folder / "rows.parquet")
    workspace.change("source.files", {"roots": ["{job}-img"], "max_bytes": 50_000})
    workspace.change(
        "prompt.user", [{"type": "text", "text": "See {{ id }}"}, {"type": "image", "column": "photos"}]
    )
    return workspace


@pytest.mark.parametrize("name", STAGES)
def test_pictures_are_sent_everywhere_and_rows_whose_pictures_cannot_be_are_skipped(
    albums: Workspace, stages: Callable[[str], Stage], at_once: Callable[[Stage], Stage], name: str
) -> None:
    stage = at_once(stages(name))
    albums.tree["provider"] = stage.settings.model_dump(mode="json")
    albums.run()
    assert albums.column("llm_status") == ["succeeded"] * 3 + ["skipped"] * 4
    assert albums.column("llm_error_code") == CODES
    [posted] = (albums.folder / "home").glob("runs/**/requests-1.jsonl")
    lines = posted.read_bytes().splitlines()
    assert [(base64_of(PNG) in str(line), base64_of(JPEG) in str(line)) for line in lines] == [
        (True, False), (False, False), (True, True),
    ]  # fmt: skip


def posted(workspace: Workspace) -> list[dict[str, Any]]:
    """The requests of the only run."""
    [file] = (workspace.folder / "home").glob("runs/**/requests-1.jsonl")
    return [json.loads(line) for line in file.read_bytes().split(b"\n") if line]


def test_a_plan_says_how_many_files_there_are_and_shows_nothing_of_what_is_in_them(albums: Workspace) -> None:
    plan = albums.run(dry_run=True)
    assert plan["skipped"] == 4
    assert plan["skips"] == dict.fromkeys(CODES[3:], 1)
    size = 2 * len(PNG) + len(JPEG) + len(b"no picture")
    assert f"source.files: the rows bring 4 files of {size:,} bytes in photos" in "; ".join(plan["notes"])
    assert "the first skipped row: prompt.user[1]: column 'photos': '/etc/passwd' is outside" in "; ".join(
        plan["notes"]
    )
    shown = plan["first_prompt"]
    assert "See t-0" in shown
    assert f"data:image/png;base64,... ({len(base64_of(PNG))} characters)" in shown
    assert base64_of(PNG)[:10] not in shown
    assert list((albums.folder / "home").glob("runs/*")) == []


def test_pictures_are_estimated_by_their_vendors_rule(albums: Workspace) -> None:
    albums.change("prompt.model", "gpt-4.1")
    plan = albums.run(dry_run=True)
    text = albums.run(overrides=["prompt.user=See {{ id }}", "source.limit=3"], dry_run=True)
    pictures = 3 * (85 + 170)
    assert plan["estimate"]["prompt_tokens"] == text["estimate"]["prompt_tokens"] + pictures


def test_the_same_picture_is_reused_and_another_under_its_name_is_asked(albums: Workspace) -> None:
    albums.change("reuse", True)
    albums.run(key="first")
    (albums.folder / "letters-img" / "b.jpg").write_bytes(jpeg(500, 301))
    albums.run(key="second")
    assert albums.column("llm_status") == ["reused", "reused", "succeeded", *["skipped"] * 4]


def test_one_row_writes_the_cache_also_where_few_rows_are_held_at_once(
    albums: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_cells, "HELD_BYTES", 300)
    table = pa.table({"id": [f"t-{n}" for n in range(30)], "photos": ["a.png"] * 30})
    pq.write_table(table, albums.folder / "rows.parquet")
    albums.tree["provider"] = {"name": "anthropic"}
    albums.tree["prompt"] |= {"system": "word " * 700, "cache": "prime"}
    assert albums.run(dry_run=True)["chunks"] == 2


def test_cells_that_hold_pictures_need_no_root(workspace: Workspace) -> None:
    held = [{"bytes": PNG, "path": "a.png"}, None, {"bytes": None, "path": "a.png"}]
    table = pa.table({"id": ["a", "b", "c"], "photo": held})
    pq.write_table(table, workspace.folder / "rows.parquet")
    workspace.change("prompt.user", [{"type": "text", "text": "See"}, {"type": "image", "column": "photo"}])
    workspace.run()
    assert workspace.column("llm_status") == ["succeeded", "succeeded", "skipped"]
    assert workspace.column("photo") == held
    assert [len(line["body"]["messages"][0]["content"]) for line in posted(workspace)] == [2, 1]


@pytest.mark.parametrize("key", ["path", "roots", "neither"])
def test_roots_that_are_not_there_or_not_named_stop_before_anything_is_written(
    albums: Workspace, key: str
) -> None:
    albums.change(
        "source.files.roots", {"path": ["gone"], "roots": ["letters-img/a.png"], "neither": []}[key]
    )
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match=r"source\.files\.roots: "):
            albums.run(dry_run=dry_run)
    assert list((albums.folder / "home").glob("runs/*")) == []


@pytest.mark.slow
def test_rows_asked_again_with_other_params_bring_their_pictures(albums: Workspace) -> None:
    albums.change("prompt.params", {"max_completion_tokens": 100})
    albums.faults("length:t-2*1")
    albums.run()
    assert albums.column("llm_status")[:3] == ["succeeded", "succeeded", "truncated"]
    albums.run(retry=True, overrides=["retry.on=[truncated]", "prompt.params.max_completion_tokens=500"])
    [file] = (albums.folder / "home").glob("runs/**/requests-2.jsonl")
    [again] = [json.loads(line)["body"] for line in file.read_bytes().split(b"\n") if line]
    assert again == {**posted(albums)[2]["body"], "max_completion_tokens": 500}


def test_a_row_too_large_is_skipped_and_requests_count_among_the_bytes_that_are_held(
    albums: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that name files are small, and their requests are not."""
    held: list[int] = []
    add = chunk_files._ChunkWriter.add

    def counting(writer: Any, row_slice: Any) -> None:
        add(writer, row_slice)
        held.append(sum(len(each.piece.payload) for each in writer._pending))

    monkeypatch.setattr(chunk_files._ChunkWriter, "add", counting)
    monkeypatch.setattr(chunk_files, "_BYTES_AT_ONCE", 600)
    albums.change("limits.max_bytes", 1_500)
    albums.run()
    assert held
    assert max(held) < 600
    assert albums.column("llm_error_code")[:3] == [None, None, "row_too_large"]


@pytest.mark.slow
def test_pictures_of_a_bucket_are_sent(albums: Workspace, s3: S3Prefix) -> None:
    for path in (albums.folder / "letters-img").iterdir():
        s3.fs.pipe_file(f"{s3.url}/img/{path.name}", path.read_bytes())
    s3.fs.pipe_file(f"{s3.url}/img/empty.png", b"")
    s3.fs.pipe_file(f"{s3.url}/secret.png", PNG)
    near, far = ["a.png", "a.png"], [f"{s3.url}/img/a.png", f"{s3.url}/img/b.jpg"]
    names = [near, far, ["../secret.png"], [f"{s3.url}/secret.png"], ["gone.png"], ["empty.png"], ["big.png"]]
    table = pa.table({"id": [f"t-{n}" for n in range(len(names))], "photos": names})
    pq.write_table(table, albums.folder / "rows.parquet")
    albums.change("source.files.roots", [f"{s3.url}/img/"])
    albums.run()
    assert albums.column("llm_error_code") == [
        *(None, None, "file_not_allowed", "file_not_allowed"),
        *("file_not_found", "file_unsupported", "file_too_large"),
    ]
    assert [str(line).count(base64_of(PNG)) for line in posted(albums)] == [2, 1]


def test_a_bucket_that_is_not_there_is_an_error_of_the_job(albums: Workspace, s3: S3Prefix) -> None:
    albums.change("source.files.roots", ["s3://no-such-bucket/x"])
    with pytest.raises(ConfigError, match=r"no-such-bucket"):
        albums.run()


@pytest.fixture
def pictures(workspace: Workspace) -> Workspace:
    """Rows with a path, a file URL and nothing, of which the first is there."""
    (workspace.folder / "img").mkdir()
    (workspace.folder / "img/a.png").write_bytes(PNG)
    part = {"type": "image_url", "image_url": {"url": "{{ path }}"}}
    prompt = {"model": "gpt-4.1", "user": [{"type": "text", "text": "what"}, part]}
    (workspace.folder / "rows.csv").write_text("id,path\na,img/a.png\nb,file:///data/b.png\nc,\n")
    workspace.tree |= {"source": {"path": "rows.csv", "key": "id"}, "prompt": prompt}
    return workspace


def test_paths_are_no_addresses_of_pictures_and_the_reason_says_how_files_are_sent(
    pictures: Workspace,
) -> None:
    plan = pictures.run(dry_run=True)
    assert (plan["skipped"], plan["batches"]) == (3, 0)
    assert "'img/a.png' is a file of this machine" in "; ".join(plan["notes"])
    assert "files are sent by {type: image, column: ...}" in "; ".join(plan["notes"])


def test_a_path_is_sent_as_data_an_empty_cell_is_no_picture_and_a_file_elsewhere_is_not_read(
    pictures: Workspace,
) -> None:
    pictures.change("prompt.user", [{"type": "text", "text": "what"}, {"type": "image", "column": "path"}])
    pictures.change("source.files", {"roots": ["img"]})
    pictures.run()
    url = f"data:image/png;base64,{base64_of(PNG)}"
    said = {line["custom_id"]: line["body"]["messages"][0]["content"][1:] for line in posted(pictures)}
    assert said == {"a": [{"type": "image_url", "image_url": {"url": url}}], "c": []}
    assert pictures.column("llm_error_code") == [None, "file_not_allowed", None]
