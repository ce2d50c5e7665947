"""Pictures by their address: refused before the night, or a skipped row."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from configs.errors import ConfigError
from configs.prompt import Prompt
from tasks.stages.prompt.render import Renderer, Skip
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
