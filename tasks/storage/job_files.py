"""Job files, wherever they lie: in a folder of this machine or in an object store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, StorageError
from configs.foreign_text import secret_in_url
from configs.home import JOBS_VARIABLE
from configs.job import Job
from configs.load import load_job
from configs.places import is_url
from configs.request import is_job_name, job_files


def load_job_file(path: str, overrides: Iterable[str] = ()) -> Job:
    """What `configs.load.load_job` makes of a job file, by its path or URL.

    ConfigError for a job that is wrong or not there, StorageError for a store that cannot be reached.
    """
    return load_job(path, overrides, read_remote)


def list_job_files(url: str, setting: str = JOBS_VARIABLE) -> list[str]:
    """The job files in a folder (not in folders of it), by name: URLs, or paths as `configs.request.job_files` gives them.

    ConfigError where there is no such folder, which `setting` gives; StorageError for a store that cannot be reached.
    """
    if not is_url(url):
        if not Path(url).is_dir():
            raise ConfigError(f"{setting} {url}: is no folder; give the one that holds the job files")
        return job_files(url)
    fs, folder = _opened(url)
    try:
        files = [str(each["name"]) for each in fs.ls(folder, detail=True) if each["type"] == "file"]
    except Exception as error:  # each backend has errors of its own
        raise _failure(url, error, f"is not there; correct {setting}") from error
    names = (file.rpartition("/")[2] for file in files)
    return sorted(f"{url.rstrip('/')}/{name}" for name in names if is_job_name(name))


def read_job_text(path: str) -> str:
    """The text of a job file, by its path or URL. Raises what `load_job_file` does, and OSError for one of this machine."""
    return read_remote(path) if is_url(path) else Path(path).read_text(encoding="utf-8-sig")


def read_remote(url: str) -> str:
    """The text behind a URL: a job file, or a file of its prompt."""
    fs, path = _opened(url)
    try:
        content: bytes = fs.cat_file(path)
    except Exception as error:
        raise _failure(url, error, "there is no such file; `nightmail jobs` lists the jobs") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{url}: cannot be read as UTF-8 text ({error}); write it as that") from error


def _opened(url: str) -> tuple[Any, str]:
    from fsspec.implementations.local import LocalFileSystem

    from tasks.storage.urls import filesystem_of, one_line  # fsspec: not for jobs of this machine

    secret = secret_in_url(url)
    if secret:
        raise ConfigError(
            f"{url}: the URL of the job holds {secret}, and it is shown and kept; give credentials through the environment of"
            " the storage, e.g. AWS_ACCESS_KEY_ID, or NIGHTMAIL_S3_BLOCK"
        )
    refused = ConfigError(
        f"{url}: jobs are read from a folder or an object store; give a path, or a URL such as s3://..."
    )
    # What is relative in a job has to have a meaning, and what is below its folder has to be known by the name.
    if "::" in url or url.lower().startswith(("http:", "https:", "data:")):
        raise refused
    try:
        fs, path = filesystem_of(url)
    except Exception as error:
        raise ConfigError(
            f"{url}: cannot be opened ({one_line(error)}); check the URL and that its protocol is installed"
        ) from error
    # By whatever name (file, local): the names of this machine's files are compared with links followed, those of URLs are not.
    if isinstance(fs, LocalFileSystem):
        raise refused
    return fs, path


def _failure(url: str, error: Exception, absent: str) -> ConfigError | StorageError:
    from tasks.storage.urls import explanation_of, one_line

    if reason := explanation_of(error):
        return StorageError(f"{url}: {reason}; nothing was posted")
    if isinstance(error, FileNotFoundError):
        return ConfigError(f"{url}: {absent}")
    return StorageError(f"{url}: cannot be read ({one_line(error)}); nothing was posted, run it again")
