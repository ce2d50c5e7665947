"""The rooms of the house: what they are called, that each says what it is for, that its tests are found, and that its walls hold.

Who may import whom stands in pyproject.toml and is checked by `lint-imports`; that those contracts catch what they are
meant for is checked here.
"""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.checkout import ROOT

HOUSE = ("flows", "tasks", "configs")
Planted = tuple[tuple[str, str, str], ...]  # file, line added to it, what is then said
MODULES = sorted(path.relative_to(ROOT) for top in HOUSE for path in (ROOT / top).rglob("*.py"))
ROOMS = sorted({path.parent for path in MODULES})

# A module's tests lie at the same path below tests/, with test_ before its name; test_NAME_….py is one side of it.
# For all others: the test that covers them, or why there is none, and the modules (`room/` holds for what follows it).
TESTED_ELSEWHERE = {
    "types and protocols alone": "configs/ clock errors progress",
    "tests/configs/test_load.py": "configs/ frozen home prompt configs/providers/ base local",
    "tests/e2e/test_installation.py": "flows/ cancel",
    "tests/flows/test_deadline.py": "tasks/runs/ hand_over",
    "tests/tasks/execution/test_contract.py": "tasks/execution/ engine in_process",
    "tests/tasks/execution/test_process_pool.py": "tasks/execution/ pool_worker",
    "tests/flows/test_backfill.py": "tasks/backfill/ date_runs tasks/orchestration/ child_runs deployed_runs",
    "tests/flows/test_enrich.py": "tasks/ enrich tasks/stages/report/ document",
    "tests/flows/test_reuse.py": "configs/ reuse tasks/maintenance/ forget tasks/reuse/ job_index kept_folders planned published_answers tasks/stages/merge/ copies taken_over",
    "tests/flows/test_enrich_in_prefect.py": "tasks/orchestration/ artifacts current_run progress_tag reporters step tasks/stages/report/ plan_text receipt_text",
    "tests/flows/cli/test_show_rows.py": "tasks/runs/ run_rows",
    "tests/flows/cli/test_submit.py": "tasks/runs/ chunk_job ordered_parts result_lines",
    "tests/flows/test_asking_again.py": "tasks/runs/ follow_ups other_params",
    "tests/flows/cli/test_backfill.py": "tasks/backfill/ plan publish",
    "tests/flows/cli/test_doctor.py": "tasks/diagnostics/ facts machine",
    "tests/flows/cli/test_jobs.py": "tasks/runs/ jobs",
    "tests/flows/cli/test_show.py": "tasks/runs/ queries",
    "tests/flows/deploy/test_server.py": "flows/deploy/ differences files",
    "tests/tasks/test_merge.py": "tasks/runs/ vectors",
    "tests/tasks/test_prepare.py": "tasks/stages/ plan tasks/stages/report/ plan",
    "tests/tasks/test_approve.py": "tasks/runs/ approval",
    "tests/tasks/runs/test_session.py": "tasks/runs/ lease opening source_changes",
    "tests/tasks/test_submit.py": "tasks/runs/ submission",
    "tests/tasks/execution/test_dask_cluster.py": "configs/ arrow_settings tasks/execution/ dask_worker",
    "tests/tasks/ledger/test_admission.py": "tasks/ledger/ caps",
    "tests/tasks/ledger/test_store.py": "tasks/ledger/ reading records schema transactions",
    "tests/tasks/maintenance/test_cleanup.py": "tasks/maintenance/ leftovers",
    "tests/tasks/orchestration/test_server_runs.py": "tasks/orchestration/ events lease_wait server_facts",
    "tests/tasks/orchestration/test_falling_asleep.py": "tasks/orchestration/ durable_sleep",
    "tests/tasks/maintenance/test_sweep.py": "tasks/orchestration/ other_runs",
    "tests/tasks/providers/test_odd_values.py": "tasks/providers/ times",
    "tests/tasks/providers/test_contract.py": "configs/providers/ registry tasks/providers/ base calls tasks/stages/wire/ dialect formats",
    "tests/flows/cli/test_webhooks.py": "tasks/webhooks/ server",
    "tests/tasks/providers/test_webhooks.py": "tasks/providers/gemini/ webhooks tasks/providers/openai/ webhooks",
    "tests/tasks/providers/test_unpaid.py": "tasks/local_batch/faults/ unpaid tasks/stages/wire/ billing",
    "tests/tasks/providers/anthropic/test_batches.py": "configs/providers/ anthropic tasks/providers/anthropic/ replies service",
    "tests/tasks/providers/gemini/test_batches.py": "configs/providers/ gemini tasks/providers/gemini/ calls replies service",
    "tests/tasks/providers/openai/test_compatible.py": "configs/providers/ limits openai tasks/providers/openai/ local openai raw_calls",
    "tests/tasks/providers/openai/test_alibaba.py": "configs/providers/ alibaba",
    "tests/tasks/providers/openai/test_azure.py": "configs/providers/ azure",
    "tests/tasks/providers/openai/test_odd_services.py": "tasks/diagnostics/ openai_probe probe_request",
    "tests/tasks/providers/test_deadlines.py": "tasks/providers/ connections",
    "tests/tasks/diagnostics/test_fault_probe.py": "tasks/diagnostics/ conformance probe_batches probe_pages probe_results tasks/providers/ lost_replies",
    "tests/tasks/stages/merge/test_merge_chunk.py": "tasks/stages/ arrow_columns tasks/stages/merge/ lines row_reader rows tasks/storage/ background_writer",
    "tests/tasks/stages/prompt/test_cells.py": "tasks/stages/prompt/ row_errors",
    "tests/tasks/reuse/test_look_up.py": "tasks/stages/prompt/ recall",
    "tests/tasks/reuse/test_merge_index.py": "tasks/reuse/ index",
    "tests/tasks/console/test_app.py": "tasks/console/ context forms render",
    "tests/tasks/console/test_processes.py": "tasks/console/ commands",
    "tests/tasks/console/test_run_actions.py": "tasks/console/ outcomes",
    "tests/flows/cli/test_console.py": "tasks/console/ server",
    "tests/tasks/usage/test_aggregate.py": "tasks/usage/ document frames",
    "tests/tasks/usage/test_table.py": "tasks/usage/ chart markdown",
    "tests/flows/cli/test_stats.py": "tasks/usage/ asked",
    "tests/tasks/runs/test_budgets.py": "tasks/stages/report/ budget_state",
    "tests/tasks/runs/test_estimates.py": "tasks/stages/report/ estimate",
    "tests/tasks/runs/test_prices.py": "configs/providers/ billing",
    "tests/tasks/stages/prompt/test_ids.py": "tasks/storage/ temporary",
    "tests/tasks/stages/prompt/test_token_sample.py": "tasks/local_batch/echo/ token_counts tasks/stages/prompt/ tokenizer tasks/stages/report/ estimate_text",
    "tests/tasks/stages/prompt/test_values_sent.py": "tasks/stages/prompt/ number_filters",
    "tests/tasks/stages/wire/test_content.py": "tasks/stages/prompt/ content tasks/stages/wire/anthropic/ content tasks/stages/wire/gemini/ content tasks/stages/wire/openai/ content",
    "tests/tasks/stages/wire/test_included.py": "tasks/stages/wire/anthropic/ included tasks/stages/wire/gemini/ included tasks/stages/wire/openai/ included",
    "tests/tasks/stages/wire/test_picture_tokens.py": "tasks/stages/wire/anthropic/ picture_tokens tasks/stages/wire/gemini/ picture_tokens tasks/stages/wire/openai/ picture_tokens",
    "tests/tasks/stages/read/test_csv_files.py": "tasks/stages/read/ csv_header csv_text values",
    "tests/tasks/stages/read/test_dataset.py": "tasks/stages/read/ columns discover partitions tasks/storage/ source_files urls",
    "tests/tasks/stages/read/test_jsonl_files.py": "tasks/stages/read/ json_depth jsonl_lines jsonl_types",
    "tests/tasks/stages/read/test_parquet_annotations.py": "tasks/stages/read/ parquet_variant",
    "tests/tasks/stages/read/test_parquet_files.py": "tasks/stages/read/ common_schema",
    "tests/tasks/stages/read/test_request_files.py": "tasks/stages/read/ request_lines",
    "tests/tasks/stages/ready_requests/test_survey.py": "tasks/stages/ready_requests/ renderer",
    "tests/tasks/stages/report/page/test_render.py": "tasks/stages/report/page/ formatting summary",
    "tests/tasks/stages/wire/anthropic/test_requests.py": "tasks/stages/wire/anthropic/ params parts",
    "tests/tasks/stages/wire/anthropic/test_cache.py": "tasks/stages/wire/ prompt_cache",
    "tests/tasks/stages/wire/gemini/test_requests.py": "tasks/stages/wire/gemini/ parts",
    "tests/tasks/stages/wire/openai/test_results.py": "tasks/stages/answers/ moderation tasks/stages/wire/ outcome tasks/stages/wire/openai/ lenient other_bodies text_bodies",
    "tests/tasks/stages/wire/openai/test_samples.py": "tasks/stages/answers/ columns",
    "tests/tasks/storage/test_output.py": "tasks/storage/ atomic local_output object_output publishing",
    "tests/tasks/storage/test_run_folder.py": "tasks/storage/ multipart",
    "tests/tasks/local_batch/test_launch.py": "tasks/local_batch/ __main__ server settings single_instance tasks/local_batch/api/ idle_timer",
    "tests/tasks/local_batch/api/test_access.py": "tasks/local_batch/ access_token",
    "tests/tasks/local_batch/api/test_batches_protocol.py": "tasks/local_batch/api/ app handlers request_validation responses tasks/local_batch/batches/ input_check input_rows tasks/local_batch/protocol/ api_error batch_object lines unix_time",
    "tests/tasks/local_batch/api/test_files_protocol.py": "tasks/local_batch/protocol/ file_object tasks/local_batch/state/ store",
    "tests/tasks/local_batch/echo/test_replies.py": "tasks/local_batch/echo/ answer_text answerer embeddings images_and_videos moderations request_body",
    "tests/tasks/local_batch/echo/test_schema_sampler.py": "tasks/local_batch/echo/ schema_merge",
    "tests/tasks/local_batch/faults/test_batch_faults.py": "tasks/local_batch/faults/ corrupt_answers corrupt_files",
    "tests/tasks/local_batch/faults/test_http_faults.py": "tasks/local_batch/api/ fault_routes",
}
CALLED_PRIVATE_BUT_PUBLIC = {
    "_fields",
    "_replace",
    "_asdict",
    "_make",
    "_mapping",
    # httpx2's clients: tasks/providers/connections.py says why
    "_transport",
    "_mounts",
    "_pool",
}  # of named tuples and SQLAlchemy's rows


def test_no_module_is_called_like_one_of_the_standard_library() -> None:
    names = {path.stem for path in MODULES} | {room.name for room in ROOMS}
    assert names & sys.stdlib_module_names == set()


@pytest.mark.parametrize("room", ROOMS, ids=str)
def test_a_room_says_in_its_first_line_what_it_is_for(room: Path) -> None:
    init = ROOT / room / "__init__.py"
    assert init.exists(), f"{room} needs an __init__.py: every folder is a package"
    first_line = (ast.get_docstring(ast.parse(init.read_text())) or "").partition("\n")[0]
    assert first_line.endswith("."), f"{init} needs a docstring whose first line says what the room is for"


def test_configs_says_that_it_is_also_what_everything_is_built_on() -> None:
    import configs

    assert all(word in (configs.__doc__ or "") for word in ("base library", "errors", "clock", "progress"))


def test_every_module_has_its_tests_where_one_looks_for_them() -> None:
    elsewhere = [path for modules in TESTED_ELSEWHERE.values() for path in listed(modules)]
    without = [str(path) for path in MODULES if not (exempt(path) or files_testing(path))]
    assert len(elsewhere) == len(set(elsewhere))
    assert set(without) - set(elsewhere) == set(), (
        "no test file at their place, nor a line in TESTED_ELSEWHERE (above, in this file): add one"
    )
    assert set(elsewhere) - set(without) == set(), (
        "in TESTED_ELSEWHERE, and gone or with a test file of its own"
    )


@pytest.mark.parametrize("test", [name for name in TESTED_ELSEWHERE if name.startswith("tests/")])
def test_what_covers_other_modules_is_there(test: str) -> None:
    assert (ROOT / test).exists()


def listed(modules: str) -> Iterator[str]:
    """`tasks/runs/ session request` as paths."""
    room = ""
    for word in modules.split():
        if word.endswith("/"):
            room = word
        else:
            yield f"{room}{word}.py"


def exempt(path: Path) -> bool:
    """Alembic runs its scripts whenever a ledger is made: every test of the ledger covers them."""
    return path.name == "__init__.py" or "migrations" in path.parts


def files_testing(path: Path) -> list[Path]:
    room = ROOT / "tests" / path.parent
    return [*room.glob(f"test_{path.stem}.py"), *room.glob(f"test_{path.stem}_*.py")]


def test_a_name_with_an_underscore_stays_in_its_room() -> None:
    owned = {
        room: set[str]().union(*(private_names(path) for path in MODULES if path.parent == room))
        for room in ROOMS
    }
    assert [use for path in MODULES for use in strangers(ROOT / path, path, owned[path.parent])] == []


@pytest.mark.parametrize(
    "line",
    [
        "from tasks.runs.session import _connect",
        "from tasks.runs import _session",
        "from ..runs.session import _connect",
        "import tasks.runs._session",
        "from tasks.runs import session; session._connect()",
        "from tasks.runs import session as other; other._connect()",
        "import tasks.runs.session; tasks.runs.session._connect()",
        "import tasks.runs.session as other; other._connect()",
        "def f(run): return run._hidden",
        "def f(run): return getattr(run, '_hidden')",
    ],
)
def test_no_way_of_taking_a_private_name_goes_unseen(line: str, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(line)
    assert list(strangers(tmp_path / "planted.py", Path("tasks/reuse/planted.py"), {"_connect"}))


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in CALLED_PRIVATE_BUT_PUBLIC


def private_names(path: Path) -> set[str]:
    """What a module defines with an underscore: functions, classes, variables, attributes."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return {name for name in names if private(name)}


def strangers(file: Path, path: Path, owned: set[str]) -> Iterator[str]:
    """Private names of other rooms that a module imports or reaches for, as `file:line: name`."""
    tree = ast.parse(file.read_text())
    imported = dict(imports(tree, path))
    for module, line in imported.values():
        if any(map(private, module.split("."))) and room_of(module) != path.parent:
            yield f"{path}:{line}: {module}"
    for taken in filter(None, map(reached_for, ast.walk(tree))):
        base, name = ast.unparse(taken[0]), taken[1]
        if base in ("self", "cls", "super()"):
            continue
        module, _ = imported.get(base, imported.get(base.partition(".")[0], ("", 0)))
        if (module.startswith(HOUSE) and room_of(module) != path.parent) or name not in owned:
            yield f"{path}:{taken[0].lineno}: {base}.{name}"


def imports(tree: ast.Module, path: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """Names that import statements bind, as they are used, with what they stand for and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, (alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = path.parts[: -node.level] if node.level else ()
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield alias.asname or alias.name, (f"{source}.{alias.name}", node.lineno)


def room_of(name: str) -> Path:
    """The folder of `tasks.runs.opening.open_run`: tasks/runs."""
    room = Path()
    for part in name.split("."):
        if not (ROOT / room / part).is_dir():
            break
        room /= part
    return room


def reached_for(node: ast.AST) -> tuple[ast.expr, str] | None:
    """Of what a private name is taken, and the name."""
    match node:
        case ast.Attribute(value, str(name)):
            pass
        case ast.Call(ast.Name("getattr" | "setattr" | "hasattr"), [value, ast.Constant(str(name)), *_]):
            pass
        case _:
            return None
    return (value, name) if private(name) else None


# Planted at once, except new files, which keep a contract about layers from looking further.
PLANTED = [
    ("tasks/runs/resume.py", "from flows.cli import terminal", "tasks.runs.resume -> flows.cli.terminal"),
    ("tasks/runs/session.py", "from tasks.orchestration import sleep", "tasks.runs.session -> tasks.orchestration.sleep"),
    ("tasks/runs/resume.py", "from tasks.reuse import look_up", "tasks.runs.resume -> tasks.reuse.look_up"),
    ("tasks/storage/urls.py", "from tasks.ledger import store", "tasks.storage.urls -> tasks.ledger.store"),
    ("tasks/providers/calls.py", "def f():\n    from tasks.ledger import store", "tasks.providers.calls -> tasks.ledger.store"),
    ("tasks/stages/validate.py", "from tasks.stages.wire import formats", "tasks.stages.validate -> tasks.stages.wire.formats"),
    ("tasks/stages/plan.py", "import threading", "tasks.stages.plan -> threading"),
    ("tasks/stages/read/discover.py", "from pathlib import Path", "tasks.stages.read.discover -> pathlib"),
    ("tasks/runs/foo.py", "import prefect", "tasks.runs.foo -> prefect"),
    ("tasks/submit.py", "def f():\n    from prefect.states import Failed", "tasks.submit -> prefect"),
    ("tasks/providers/gemini/calls.py", "import openai", "tasks.providers.gemini.calls -> openai"),
    ("flows/sweep.py", "from flows.cli import terminal", "flows.sweep -> flows.cli.terminal"),
    ("tasks/stages/cost/a.py", "from tasks.stages.cost import b", "No cycles are allowed in tasks.stages.cost"),
    ("tasks/stages/cost/b.py", "from tasks.stages.cost import a", "No cycles are allowed in tasks.stages.cost"),
]  # fmt: skip
NEW = [
    ("tasks/foo.py", "", "- tasks.foo "),
    ("tasks/bar/__init__.py", "", "- tasks.bar "),
    ("tasks/stages/foo.py", "", "- tasks.stages.foo "),
    ("flows/foo.py", "", "- flows.foo "),
]


@pytest.fixture(scope="module")
def lint_imports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Planted], str]:
    """What `lint-imports` says of a copy of the house in which something was planted."""

    @functools.cache
    def lint(planted: Planted) -> str:
        house = tmp_path_factory.mktemp("house")
        for top in HOUSE:
            shutil.copytree(ROOT / top, house / top, ignore=shutil.ignore_patterns("__pycache__"))
        for name, line, _ in planted:
            (house / name).parent.mkdir(exist_ok=True)
            with (house / name).open("a") as file:
                file.write(f"\n{line}\n")
        program = str(Path(sys.executable).with_name("lint-imports"))
        command = [program, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
        environ = {**os.environ, "PYTHONPATH": str(house), "COLUMNS": "200"}
        ended = subprocess.run(command, cwd=house, env=environ, capture_output=True, text=True, check=False)
        assert bool(planted) is (ended.returncode == 1), ended.stdout
        return " ".join(ended.stdout.split()) + " "

    return lint


def test_the_house_keeps_its_contracts(lint_imports: Callable[[Planted], str]) -> None:
    assert " 0 broken" in lint_imports(())


@pytest.mark.parametrize(
    ("planted", "culprit"), [(group, case[2]) for group in (tuple(PLANTED), tuple(NEW)) for case in group]
)
def test_what_a_contract_forbids_breaks_it(
    lint_imports: Callable[[Planted], str], planted: Planted, culprit: str
) -> None:
    assert culprit in lint_imports(planted).partition("Broken contracts")[2]
