"""The files of deployments/ that nothing here can run: what they name exists, and what they set is read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from rigs.checkout import ROOT

FOLDER = ROOT / "deployments"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
_OURS_TO_READ = re.compile(r"NIGHTMAIL_[A-Z_]+")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return found


def variables(service: dict[str, Any]) -> dict[str, Any]:
    return dict(service.get("environment", {}))


def test_compose_names_what_there_is(services: dict[str, Any]) -> None:
    tree = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (FOLDER / source).exists() if source.startswith(".") else source in tree["volumes"], volume
        if "build" in service:
            context = FOLDER / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file()
            assert shutil.which(service["command"][0]), f"{name}: no program {service['command'][0]}"


def test_what_waits_for_health_waits_for_something_that_has_a_check(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if isinstance(waits := service.get("depends_on", {}), dict):
            for other, condition in waits.items():
                healthy = condition["condition"] == "service_healthy"
                assert not healthy or "test" in services[other]["healthcheck"], f"{name} waits for {other}"


def healthy_before(services: dict[str, Any], name: str) -> set[str]:
    """The services that compose sees healthy before it starts this one, over any number of steps."""
    waits = services[name].get("depends_on", {})
    conditions = waits if isinstance(waits, dict) else {}
    healthy = {other for other, how in conditions.items() if how["condition"] == "service_healthy"}
    return healthy.union(*(healthy_before(services, other) for other in waits))


def test_a_service_starts_when_those_that_it_speaks_to_are_healthy(services: dict[str, Any]) -> None:
    speaks_to: dict[str, set[str]] = {}
    for name, service in services.items():
        texts = [*variables(service).values(), *service.get("command", ())]
        hosts = {host for text in texts for host in re.findall(r"(?://|@)(\w+):\d", str(text))}
        speaks_to[name] = hosts & set(services)
        assert speaks_to[name] <= healthy_before(services, name), name
    assert speaks_to["prefect"] == {"postgres"}
    assert speaks_to["deploy"] == speaks_to["worker"] == speaks_to["sweep"] == {"prefect", "postgres"}
    assert speaks_to["dask-worker"] == {"dask"}


def test_the_database_is_healthy_once_it_answers_over_tcp(services: dict[str, Any]) -> None:
    # While it makes the databases it answers on its socket, and is stopped again.
    assert "--host" in services["postgres"]["healthcheck"]["test"]


def test_every_variable_of_ours_is_read_by_the_code() -> None:
    code = "".join(
        file.read_text() for room in ("flows", "tasks", "configs") for file in (ROOT / room).rglob("*.py")
    )
    read = set(_OURS_TO_READ.findall(code))
    files = (
        "compose.yaml",
        "Dockerfile",
        "prefect.yaml",
        "automations.yaml",
        "work-pool-kubernetes.json",
        "README.md",
    )
    for file in files:
        for name in _OURS_TO_READ.findall((FOLDER / file).read_text()):
            assert name in read, f"{file}: nothing reads {name}"


def test_every_variable_of_prefect_is_one_of_its_settings(services: dict[str, Any]) -> None:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields  # the only list there is

    known = {setting.name for setting in _get_settings_fields(Settings).values()}
    entries = yaml.safe_load((FOLDER / "prefect.yaml").read_text())["deployments"]
    set_somewhere = {name for service in services.values() for name in variables(service)}
    set_somewhere |= {name for entry in entries for name in entry["work_pool"]["job_variables"]["env"]}
    set_somewhere |= set(re.findall(r"\b(PREFECT_[A-Z_]+)=", DOCKERFILE))
    ours = {name for name in set_somewhere if name.startswith("PREFECT_")}
    assert len(ours) >= 5
    assert ours <= known


def test_no_worker_has_a_limit_of_its_own(services: dict[str, Any]) -> None:
    # A run that wakes while its last process is still being seen off ends such a worker (Prefect 3.8.8).
    commands = [*(service.get("command", []) for service in services.values()), [DOCKERFILE]]
    assert not [word for command in commands for word in command if "--limit" in word]


def test_no_password_has_a_default(services: dict[str, Any]) -> None:
    text = (FOLDER / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{POSTGRES_PASSWORD[^}]*\}", text)) == {"${POSTGRES_PASSWORD:?choose one}"}
    for name, service in services.items():
        for variable, value in variables(service).items():
            secret = variable.endswith(("_KEY", "_TOKEN")) or "SECRET" in variable
            assert not (secret and value), f"{name}: {variable} is for the operator to set"


def test_the_image_is_made_as_it_should_be() -> None:
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    words = [line.split()[0] for line in lines]
    assert "pip install --no-deps --require-hashes" in DOCKERFILE
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in ("COPY", "RUN"))
    for line in lines:
        if line.startswith(("CMD", "ENTRYPOINT")):  # exec form: a shell would keep SIGTERM for itself
            assert json.loads(line.partition(" ")[2])
    for line in lines:
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed")
def test_the_dockerfile_has_no_known_mistake() -> None:
    done = subprocess.run(
        ["hadolint", str(FOLDER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "work-pool-kubernetes.json").read_text())
    return found


def test_the_pool_of_pods_asks_for_what_it_says(kubernetes: dict[str, Any]) -> None:
    wanted = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(kubernetes["job_configuration"])))
    assert wanted == set(kubernetes["variables"]["properties"])


def test_how_many_pods_is_said_of_the_job_and_not_of_the_pod(kubernetes: dict[str, Any]) -> None:
    job = kubernetes["job_configuration"]["job_manifest"]["spec"]
    assert (job["parallelism"], job["completions"]) == (1, 1)
    assert not {"parallelism", "completions"} & set(
        job["template"]["spec"]
    )  # an API server drops them, or refuses
