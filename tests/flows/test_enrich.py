"""The main job, whole: a dataset in, enriched Parquet out, through the genuine SDK over a socket."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError


def test_every_row_comes_out_once_in_source_order_with_its_answer(works: Any) -> None:
    works.source(100)
    works.change("limits.max_requests", 7)
    receipt = works.run()
    assert works.column("id") == [f"t-{n}" for n in range(100)]
    assert all(f"word {n}" in answer for n, answer in enumerate(works.column("llm_answer")))
    assert receipt["rows"] == {"total": 100, "succeeded": 100}
    assert receipt["chunks"] == 15
    assert works.paid() == {f"{n}/1": 1 for n in sorted(range(1, 16), key=str)}


def test_nothing_of_ours_is_left_at_the_provider_or_in_progress_on_disk(works: Any) -> None:
    works.change("limits.max_requests", 3)
    before = {file.id for file in works.service.client().files.list()}
    works.run()
    assert {file.id for file in works.service.client().files.list()} == before
    left = [path.name for path in works.folder.rglob("*") if path.suffix in (".part", ".new", ".old")]
    assert left == []


def test_the_same_key_again_posts_nothing(works: Any) -> None:
    first = works.run()
    paid = works.paid()
    assert works.run() == first
    assert works.paid() == paid


def test_redo_replaces_the_output_by_a_new_generation(works: Any) -> None:
    works.run()
    works.change("prompt.user", "Shout {{ text }}")
    with pytest.raises(ConfigError, match=r"the job changed since this run began \(prompt\.user\).*--redo"):
        works.run()
    receipt = works.run(redo=True)
    assert receipt["generation"] == 2
    assert "Shout" in works.column("llm_answer")[0]
    assert len(list((works.folder / "out/letters").glob("*.parquet"))) == 1


def test_names_of_the_date_work_in_paths_and_prompts(works: Any) -> None:
    works.source(2)
    (works.folder / "rows.parquet").rename(works.folder / "rows-2026-11-05.parquet")
    works.change("source.path", "rows-{date}.parquet")
    works.change("output.path", "out/{year}/{month}/{day}")
    works.change("prompt.user", "On {date}: {{ text }}")
    works.run(key=None, date=datetime.date(2026, 11, 5))
    table = pq.read_table(works.folder / "out/2026/11/05")
    assert "On 2026-11-05: word 0" in table["llm_answer"][0].as_py()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source.path": "nowhere.parquet"}, "nowhere.parquet"),
        ({"source.key": "idd"}, "did you mean"),
        ({"prompt.user": "{{ texd }}"}, "text"),
        ({"prompt.user": "{{ text"}, "prompt.user"),
        ({"output.prefix": "t", "source.key": None}, "already has a column 'text'|prefix"),
        ({"output.path": "taken"}, "was not written by Nightmail"),
        ({"prompt.schema": {"type": "strange"}}, "prompt.schema"),
        ({"provider.api_key_env": "NO_SUCH_KEY"}, "the environment has no NO_SUCH_KEY"),
    ],
)
def test_bad_input_writes_nothing_and_posts_nothing(works: Any, change: dict[str, Any], message: str) -> None:
    if "output.prefix" in change:
        works.source(3, tstatus=["a", "b", "c"])
        message = "tstatus"
    (works.folder / "taken").mkdir()
    (works.folder / "taken/mine.txt").write_text("precious")
    for key, value in change.items():
        works.change(key, value)
    works.write()
    before = sorted(works.folder.rglob("*"))
    with pytest.raises(ConfigError, match=message) as caught:
        works.run()
    assert "\n" not in str(caught.value)
    assert sorted(works.folder.rglob("*")) == before


def test_no_secret_is_written_anywhere(works: Any) -> None:
    works.run()
    for path in works.folder.rglob("*"):
        if path.is_file():
            assert b"sk-secret" not in path.read_bytes(), path
