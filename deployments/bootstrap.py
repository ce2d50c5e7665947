"""Run a command in Nightmail's own environment, set up first where need be.

    python3 deployments/bootstrap.py nightmail run configs/jobs/quickstart.yaml
    python3 deployments/bootstrap.py pytest -q

The environment is `.venv` in the checkout: exactly the versions and hashes of requirements.lock, from wherever your pip
is configured to get packages. It is made again when the lock changes or the checkout moves. Needs Python 3.11 and pip,
nothing else. Messages go to stderr; stdout and the exit code are the command's.
"""

# No `from __future__ import annotations`: a Python too old for it must still get to say so.
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if sys.version_info < (3, 11):  # noqa: UP036 - this file is what tells people so
    sys.exit(
        f"nightmail: needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}; "
        "start it with a newer one, e.g. python3.12 deployments/bootstrap.py ..."
    )

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / "bin"
STAMP = ENVIRONMENT / "nightmail-setup"
USED = (
    "flows.cli.main",
    "flows.enrich",
    "tasks.local_batch.server",
    "tasks.local_batch.upstream",
    "pandas",
    "pytest",
    "hypothesis",
)
NOT_FOUND, INTERRUPTED = 127, 130


def main(command: list[str]) -> int:
    """Set up if needed, then become the command. Returns only where there is none, or it cannot be started."""
    try:
        set_up()
    except KeyboardInterrupt:
        say("interrupted; the next start sets it up again")
        return INTERRUPTED
    if not command:
        say("ready; now e.g. python3 deployments/bootstrap.py nightmail --help")
        return 0
    environ = {**os.environ, "VIRTUAL_ENV": str(ENVIRONMENT)}
    environ["PATH"] = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    environ.pop("PYTHONHOME", None)
    program = shutil.which(command[0], path=environ["PATH"])
    if program is None:
        say(f"{command[0]}: no such command; try nightmail, pytest or python")
        return NOT_FOUND
    sys.stderr.flush()
    os.execve(program, command, environ)  # noqa: S606 - what this is for
    return NOT_FOUND


def set_up() -> None:
    """Make the environment agree with the lock. Of two that start at once, the second waits and finds it done."""
    wanted = fingerprint()
    if finished() == wanted:
        return
    with_pip = has("ensurepip")
    if not has("venv") or not (with_pip or has("pip")):
        raise SystemExit(
            f"nightmail: {sys.executable} has no venv and pip modules; install them (Debian, Ubuntu: apt install "
            "python3-venv) and start again"
        )
    guard = only_one()
    try:
        if finished() != wanted:
            build(wanted, with_pip)
    finally:
        os.close(guard)


def build(wanted: list[str], with_pip: bool) -> None:
    """The locked packages if those changed, then the project; the stamp is whole only when all is done."""
    import venv  # not every Python has it

    # Isolated, so that a PYTHONPATH makes nothing look installed already.
    pip = [str(BIN / "python"), "-I", "-m", "pip"] if with_pip else [sys.executable, "-m", "pip"]
    pip += [] if with_pip else ["--python", str(BIN / "python")]
    pip += ["install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    began = time.monotonic()
    if finished()[:1] != wanted[:1]:
        say(f"setting up {ENVIRONMENT} (once; a minute or two)")
        # Only what was made here is cleared: somebody's own .venv is added to.
        venv.create(ENVIRONMENT, clear=STAMP.exists(), with_pip=with_pip, symlinks=True)
        STAMP.write_text("")
        # The lock is complete: nothing to resolve. What is used is compiled below.
        watch([*pip, "--no-deps", "--no-compile", "--require-hashes", "-r", str(LOCK)])
    watch([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
    warm_up()
    say(f"set up in {time.monotonic() - began:.0f} s")
    STAMP.write_text(" ".join(wanted))


def warm_up() -> None:
    """Import what the commands import, so that byte code is there whatever PYTHONDONTWRITEBYTECODE says.

    Without it each start takes seconds; pip would compile every package whole, which takes longer than installing.
    """
    show("compiling what is used")
    python = [str(BIN / "python"), "-I", "-c", f"import {', '.join(USED)}"]
    subprocess.run(python, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our Python
    show("")


def watch(pip: list[str]) -> None:
    """Run pip with one line of progress on a terminal; what it said only where it fails."""
    said: list[str] = []
    fetched = 0
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(pip, cwd=ROOT, **options) as process:  # noqa: S603 - pip
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            words = line.split()
            if words[:1] == ["Collecting"]:
                fetched += 1
                show(f"package {fetched}: {words[1].partition('==')[0]}")
            elif words[:3] == ["Installing", "collected", "packages:"]:
                show(f"installing {len(words) - 3} packages")
    show("")
    if process.returncode:
        sys.stderr.writelines([line for line in said if not line.startswith("WARNING")][-8:])
        raise SystemExit("nightmail: pip failed (its last words are above); mend that and start again")


def fingerprint() -> list[str]:
    """What the environment is made for: the lock and where the checkout lies; then the project file."""
    packages = hashlib.sha256(LOCK.read_bytes() + str(ROOT).encode()).hexdigest()
    return [packages, hashlib.sha256(PROJECT.read_bytes()).hexdigest()]


def finished() -> list[str]:
    """The fingerprint that the environment was finished for; nothing where its Python is gone."""
    whole = STAMP.is_file() and (BIN / "python").exists()
    return STAMP.read_text().split() if whole else []


def only_one() -> int:
    """A lock on the checkout's folder, held until the descriptor is closed or this process ends."""
    try:
        import fcntl
    except ImportError:
        raise SystemExit("nightmail: runs on Linux and macOS; on Windows, use WSL") from None
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another start is setting up; waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def has(module: str) -> bool:
    """Whether this Python has it; Debian ships venv without ensurepip."""
    return importlib.util.find_spec(module) is not None


def say(text: str) -> None:
    """One line for people."""
    sys.stderr.write(f"nightmail: {text}\n")


def show(text: str) -> None:
    """A line that is overwritten by the next; nothing in a log file."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
