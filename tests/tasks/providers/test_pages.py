"""A list without an end, at every provider: it is left, and where a batch may be hidden in it the run stops and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.errors import TerminalError
from configs.home import Home
from configs.load import load_provider
from fakes.loopback import Call, Loopback, Reply
from rigs.scripted_openai import LONG_AGO, SUBMISSION
from tasks.providers import pages
from tasks.providers.base import BatchService
from tasks.providers.registry import connect

CREATED = "2026-11-22T12:00:00Z"
MOST_PAGES = 7


class EndlessList(Loopback):
    """Lists that always have another page: of new objects, or the same two pages in turn."""

    routes = (("GET", r".*", "page"),)
    in_circles = False

    def on_page(self, call: Call) -> Reply:
        number = self.seen["page"] % 2 if self.in_circles else self.seen["page"]
        name = f"batches/{number}"
        if "v1/messages" in call.path:
            batch = {"id": name, "type": "message_batch", "processing_status": "in_progress"}
            counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 5)
            page: Any = {"data": [{**batch, "created_at": CREATED, "request_counts": counts}]}
            return Reply(page | {"has_more": True, "first_id": name, "last_id": name})
        if "pageSize" in call.query:
            entry = {"name": name, "metadata": {"displayName": "nightmail/x", "createTime": CREATED}}
            return Reply({"operations": [entry], "files": [entry], "nextPageToken": name})
        row = {"id": name, "created_at": CREATED, "metadata": {"nightmail_key": "x"}, "filename": name}
        return Reply({"data": [row], "has_more": True})


@pytest.fixture(scope="module")
def _endless() -> Iterator[EndlessList]:
    server = EndlessList()
    yield server
    server.close()


@pytest.fixture(params=["openai", "azure", "alibaba", "anthropic", "gemini"])
def listing(
    request: pytest.FixtureRequest, _endless: EndlessList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[BatchService, EndlessList]:
    """Each provider at a server whose lists do not end."""
    monkeypatch.setattr(pages, "MAX_PAGES", MOST_PAGES)
    _endless.forget()
    key = "endpoint" if request.param == "azure" else "base_url"
    overrides = (f"provider.{key}={_endless.url}", "provider.api_key_env=TEST_KEY")
    settings = load_provider(request.param, overrides)
    return connect(settings, Home(tmp_path, "", ""), {"TEST_KEY": "sk-test"}), _endless


@pytest.mark.parametrize("in_circles", [False, True], ids=["new objects for ever", "in circles"])
def test_a_search_for_a_batch_in_an_endless_list_stops_and_says_so(
    listing: tuple[BatchService, EndlessList], in_circles: bool
) -> None:
    service, server = listing
    server.in_circles = in_circles
    with pytest.raises(TerminalError, match="may be there that cannot be seen") as caught:
        service.find(SUBMISSION, LONG_AGO)
    assert "\n" not in str(caught.value)
    assert server.seen["page"] <= MOST_PAGES + 1


@pytest.mark.parametrize("in_circles", [False, True], ids=["new objects for ever", "in circles"])
def test_an_endless_list_of_files_ends_early(
    listing: tuple[BatchService, EndlessList], in_circles: bool
) -> None:
    service, server = listing
    server.in_circles = in_circles
    assert service.find_upload("none.jsonl", LONG_AGO) is None
    assert server.seen["page"] <= MOST_PAGES + 1
