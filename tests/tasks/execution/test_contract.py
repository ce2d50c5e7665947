"""What every engine does: results in order, a bounded number in flight, errors as they were, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from configs.errors import TerminalError
from rigs.works import double, open_file, refuse
from tasks.execution.dask_cluster import DaskCluster
from tasks.execution.engine import Engine
from tasks.execution.in_process import InProcess
from tasks.execution.process_pool import ProcessPool

ENGINES: dict[str, Callable[[pytest.FixtureRequest], Engine]] = {
    "in process": lambda _: InProcess(),
    "two processes": lambda _: ProcessPool(2),
    "Dask": lambda request: DaskCluster(request.getfixturevalue("dask_servers").address),
}
IN_FLIGHT = 2  # works per process


@pytest.fixture(params=ENGINES, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = ENGINES[request.param](request)
    yield engine
    engine.close()


def test_results_come_in_the_order_of_the_works(engine: Engine) -> None:
    assert list(engine.results(double, range(20))) == [2 * n for n in range(20)]
    assert list(engine.results(double, ())) == []


def test_a_few_works_per_process_are_taken_ahead(engine: Engine) -> None:
    taken: list[int] = []

    def works() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    for count, _ in enumerate(engine.results(double, works())):
        assert len(taken) - count <= IN_FLIGHT * engine.processes
    assert len(taken) == 20


def test_whoever_wants_no_more_results_leaves_the_rest(engine: Engine) -> None:
    taken: list[int] = []

    def works() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = engine.results(double, works())
    assert next(results) == 0
    del results
    assert len(taken) <= IN_FLIGHT * engine.processes
    assert engine.run(double, 1) == 2


def test_several_threads_wait_at_once(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as threads:
        results = threads.map(lambda number: engine.run(double, number), range(8))
        assert list(results) == [2 * n for n in range(8)]


def test_an_error_of_the_work_comes_back_as_it_was(engine: Engine) -> None:
    with pytest.raises(TerminalError, match=r"^nothing of the kind$") as raised:
        engine.run(refuse, "nothing of the kind")
    assert raised.value.code == "no_such_thing"
    with pytest.raises(FileNotFoundError):  # and is not taken for the connection's
        engine.run(open_file, "/no/such/file")
    with pytest.raises(TerminalError):
        list(engine.results(refuse, ["a", "b"]))
    assert engine.run(double, 1) == 2


def test_after_it_was_closed_the_next_work_begins_anew(engine: Engine) -> None:
    assert engine.run(double, 1) == 2
    engine.close()
    engine.close()
    assert engine.run(double, 2) == 4
