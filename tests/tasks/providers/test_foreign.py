"""What a service repeats of our secrets: in every kind of message, in records and in result files."""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from configs.errors import NightmailError
from configs.foreign_text import Redactor
from fakes.contract import STAGES, Stage
from tasks.providers.base import BatchStatus, ServiceBatch
from tasks.providers.foreign import redacting

KEY = "sk-live/4f9c+81d2aa77"
ROWS = {"a": "succeeded", "b": "failed", "c": "transient"}
CALLS: dict[str, Callable[[Stage, ServiceBatch], Any]] = {
    "upload": lambda stage, _: stage.create(stage.submission(ROWS, key="again/1/1")),
    "create": lambda stage, _: stage.create(stage.submission(ROWS, key="again/1/1")),
    "list": lambda stage, _: stage.service.find(stage.submission(ROWS, key="no/1/1"), stage.now()),
    "retrieve": lambda stage, batch: stage.service.retrieve(batch.id),
    "cancel": lambda stage, batch: stage.service.cancel(batch.id),
    "content": lambda stage, batch: stage.service.download(batch.result_files[0], io.BytesIO()),
    "delete": lambda stage, batch: stage.service.delete_file(batch.result_files[0]),
}


@pytest.fixture(params=[name for name in STAGES if name != "openai"])
def stage(request: pytest.FixtureRequest, stages: Callable[[str], Stage]) -> Iterator[Stage]:
    """A vendor that repeats the key."""
    made = stages(request.param)
    made.renew()
    made.fake.echo = f"Authorization: Bearer {made.key}"
    yield made
    made.fake.echo = ""


@pytest.mark.parametrize("action", ["status:400", "status:401", "status:500", "html"])
@pytest.mark.parametrize("op", [op for op in CALLS if op != "upload"])
def test_no_error_repeats_the_key(stage: Stage, op: str, action: str) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    stage.fault(op, "status:502" if action == "html" else action, html=action == "html")
    error: NightmailError | None = None
    try:
        CALLS[op](stage, batch)
    except NightmailError as caught:
        error = caught
    if error is None:  # it may be said of a batch that has ended, and of nothing else
        assert (op, action) == ("cancel", "status:400")
        return
    assert stage.key not in "".join(traceback.format_exception(error))
    assert "[key]" in str(error) or action == "html"


def test_no_result_line_and_no_record_repeats_the_key(stage: Stage) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    if BatchStatus.FAILED in stage.statuses:
        failed = stage.service.retrieve(stage.showing(BatchStatus.FAILED))
        assert stage.key not in repr(failed)
        assert "[key]" in failed.error_message
    outcomes = stage.answers(batch)
    assert stage.key not in repr(outcomes)
    assert set(outcomes) == set(ROWS)
    assert "Bearer ****" in repr(outcomes["a"]), "the rest of the answer is as it was"


class Parrot:
    """A service that says and writes what it is given."""

    def say(self, words: str) -> str:
        return words

    def fail(self, words: str) -> None:
        raise NightmailError(words) from ValueError(words)

    def list_words(self, words: str) -> Iterator[tuple[str, str]]:
        yield words, words

    def download(self, blocks: list[bytes], sink: io.BytesIO) -> int:
        return sum(sink.write(block) for block in blocks)


@pytest.mark.parametrize(
    "words",
    [
        f"Incorrect key {KEY}.",
        f"Bearer {KEY}",
        f"https://api.example.com/v1?api-version=1&key={quote(KEY, safe='')}",
        f'"key": "{KEY.replace("/", chr(92) + "/")}"',
        f"cut short: {KEY[:14]}",
        "proxy http://user:sk-live@proxy.example.com:8080 refused",
        "https://store.example.com/file?X-Amz-Signature=sk-live&X-Amz-Date=1",
    ],
)
def test_a_secret_is_struck_out_however_it_is_written(words: str) -> None:
    parrot = redacting(Parrot(), Redactor([KEY]))
    for said in (parrot.say(words), str(list(parrot.list_words(words)))):
        assert "sk-live" not in said
    with pytest.raises(NightmailError) as caught:
        parrot.fail(words)
    assert "sk-live" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("size", [1, 2, 7, 20, 21, 1 << 20])
def test_a_secret_is_struck_out_of_a_file_wherever_its_blocks_end(size: int) -> None:
    content = f'{{"a": "{KEY}", "b": "sk-live"}}\n'.encode() * 40 + KEY.encode()
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    sink = io.BytesIO()
    assert redacting(Parrot(), Redactor([KEY])).download(blocks, sink) == len(content)
    assert sink.getvalue() == content.replace(KEY.encode(), b"*" * len(KEY))


@pytest.mark.parametrize("placeholder", ["EMPTY", "none", "ollama", "lm-studio", "not-needed", ""])
def test_answers_may_hold_the_words_that_stand_where_no_key_is_asked_for(placeholder: str) -> None:
    content = f"{placeholder} is a word".encode()
    assert Redactor([placeholder, None]).file_bytes(content) == content
