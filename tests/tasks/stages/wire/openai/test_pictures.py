"""Pictures by their address: refused before the night, or a skipped row."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from tasks.stages.prompt.render import Renderer, Skip
from tasks.stages.wire.openai.refusals import refusals
from tasks.stages.wire.openai.requests import request_tree

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


@pytest.mark.parametrize("url", ["img/a.png", "file:///data/b.png", "", None])
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_a_picture_that_no_provider_can_read_is_refused(endpoint: str, url: Any) -> None:
    user = ({"type": "image_url", "image_url": {"url": url}},)
    with pytest.raises(ConfigError, match="image_url"):
        request_tree(Prompt(endpoint=endpoint, model="m", user=user))


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_a_row_without_a_picture_is_skipped(endpoint: str) -> None:
    user = ({"type": "image_url", "image_url": {"url": "{{ path }}"}},)
    rows = pa.record_batch({"path": ["https://x.test/a.png", "img/a.png", "file:///b.png", None]})
    lines = Renderer(request_tree(Prompt(endpoint=endpoint, model="m", user=user)), ("path",)).lines(
        rows, list("abcd")
    )
    assert [isinstance(line, Skip) for line in lines] == [False, True, True, True]


PARTS: list[tuple[dict[str, Any], str]] = [
    ({"type": "video_url", "video_url": {"url": "{{ x }}"}}, "https://x.test/a.mp4"),
    ({"type": "file", "file": {"file_data": "{{ x }}"}}, "data:application/pdf;base64,AAAA"),
    ({"type": "input_file", "file_url": "{{ x }}"}, "https://x.test/a.pdf"),
    ({"type": "input_audio", "input_audio": {"data": "{{ x }}", "format": "wav"}}, "AAAA"),
]


@pytest.mark.parametrize(("part", "good"), PARTS)
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_a_row_without_its_video_document_or_sound_is_skipped(
    endpoint: str, part: dict[str, Any], good: str
) -> None:
    rows = pa.record_batch({"x": [good, None]})
    tree = request_tree(Prompt(endpoint=endpoint, model="m", user=(part,)))
    lines = Renderer(tree, ("x",)).lines(rows, list("ab"))
    assert [isinstance(line, Skip) for line in lines] == [False, True]
    assert isinstance(lines[0], bytes)
    body = orjson.loads(lines[0])["body"]
    assert not list(refusals(endpoint, body))
