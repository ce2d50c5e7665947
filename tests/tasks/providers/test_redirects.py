"""A service that sends its clients elsewhere: rows and key do not go along."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from configs.errors import ConfigError
from fakes.contract import STAGES, Stage
from fakes.loopback import Call, Loopback, Reply

ROWS = {"a": "succeeded", "b": "succeeded"}
CONTENT = b'{"custom_id": "a"}\n'


class Stranger(Loopback):
    """Another host; takes whatever comes."""

    routes = tuple((method, r".*", "any") for method in ("GET", "POST", "PUT", "DELETE"))

    def on_any(self, call: Call) -> Reply:
        return Reply(CONTENT)


@pytest.fixture(scope="module")
def session_stranger() -> Iterator[Stranger]:
    """The other host, for all tests of this file."""
    made = Stranger()
    yield made
    made.close()


@pytest.fixture
def stranger(session_stranger: Stranger) -> Stranger:
    """The other host; nobody has come yet."""
    session_stranger.forget()
    return session_stranger


@pytest.fixture(params=[name for name in STAGES if name != "openai"])
def stage(request: pytest.FixtureRequest, stages: Callable[[str], Stage]) -> Stage:
    """A vendor, as new."""
    made = stages(request.param)
    made.renew()
    return made


CALLS: dict[str, Callable[[Stage, str], Any]] = {
    "create": lambda stage, _: stage.create(stage.submission(ROWS, key="again/1/1")),
    "list": lambda stage, _: stage.service.find(stage.submission(ROWS, key="no/1/1"), stage.now()),
    "retrieve": lambda stage, batch_id: stage.service.retrieve(batch_id),
    "cancel": lambda stage, batch_id: stage.service.cancel(batch_id),
}


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("op", CALLS)
def test_nothing_is_sent_to_another_host(stage: Stage, stranger: Stranger, op: str, status: int) -> None:
    made = stage.post(ROWS)
    stage.fault(op, f"status:{status}", location=stranger.url + "/v1/elsewhere")
    with pytest.raises(ConfigError, match=r"redirects to 127\.0\.0\.1, another host"):
        CALLS[op](stage, made.id)
    assert stranger.calls == []


def test_an_upload_is_not_sent_to_another_host(stage: Stage, stranger: Stranger) -> None:
    routes = {name for _, _, name in stage.fake.routes}
    ops = routes & {"upload", "begin"}
    if not ops:
        pytest.skip("the requests go with the batch")
    stage.fault(ops.pop(), "status:307", location=stranger.url + "/v1/files")
    with pytest.raises(ConfigError, match="another host"):
        stage.post(ROWS)
    assert stranger.calls == []


def test_a_result_file_in_another_hosts_store_is_fetched_without_the_key(
    stage: Stage, stranger: Stranger
) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    stage.fault("content", "status:302", location=stranger.url + "/store/results?sig=abc")
    sink = io.BytesIO()
    stage.service.download(batch.result_files[0], sink)
    assert sink.getvalue() == CONTENT
    (call,) = stranger.calls
    assert stage.key not in str(call)
    assert not {"authorization", "api-key", "x-api-key", "x-goog-api-key"} & {
        name.lower() for name in call.headers
    }
