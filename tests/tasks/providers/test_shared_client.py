"""One client for several threads: made once, and closed when nobody uses it any more."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from configs.home import Home
from configs.providers.openai import OpenAIProvider
from fakes.openai_fake import OpenAIFake
from tasks.orchestration.side_by_side import side_by_side
from tasks.providers.registry import connect
from tasks.providers.shared_client import CallsUnderWay, MadeOnce


class Holder:
    """Has a client."""

    def __init__(self) -> None:
        self.making = threading.RLock()
        self.made = 0

    @MadeOnce
    def client(self) -> object:
        """A new one."""
        self.made += 1
        return object()


def test_threads_get_the_same_client() -> None:
    holder, together = Holder(), threading.Barrier(8)

    def client(_: int) -> object:
        together.wait(60)
        return holder.client

    assert len(set(side_by_side(client, range(8), 8, lambda: None))) == 1
    assert holder.made == 1


def test_a_client_is_closed_when_the_last_call_that_may_go_over_it_has_ended() -> None:
    under_way, closed = CallsUnderWay(), list[str]()
    with under_way.call():
        with under_way.call():
            under_way.retire(lambda: closed.append("first"))
            with under_way.call():
                pass
        assert closed == []
    assert closed == ["first"]


def test_a_call_that_began_before_may_have_taken_any_later_client() -> None:
    under_way, closed, oldest = CallsUnderWay(), list[str](), ExitStack()
    oldest.enter_context(under_way.call())
    under_way.retire(lambda: closed.append("first"))
    under_way.retire(lambda: closed.append("second"))
    assert closed == []
    oldest.close()
    assert closed == ["first", "second"]


def test_a_client_that_nobody_uses_is_closed_at_once() -> None:
    under_way, closed = CallsUnderWay(), list[str]()
    under_way.retire(lambda: closed.append("first"))
    assert closed == ["first"]


@pytest.fixture
def fake() -> Iterator[OpenAIFake]:
    """A provider."""
    made = OpenAIFake()
    yield made
    made.close()


def test_a_download_goes_on_over_its_connection_when_others_get_a_new_one(fake: OpenAIFake) -> None:
    fake.files["file-1"], fake.bytes["file-1"] = {}, b"{}\n" * 3_000_000
    settings = OpenAIProvider(name="openai", base_url=fake.url, api_key_env="KEY")
    service: Any = connect(settings, Home.from_environment({}), {"KEY": "sk-secret"})

    class Reconnecting(io.BytesIO):
        def write(self, block: Any) -> int:
            service.reconnect()
            return super().write(block)

    sink = Reconnecting()
    assert service.download("file-1", sink) == 9_000_000
    assert sink.getvalue() == fake.bytes["file-1"]
