"""Store answers that are files (images, videos) in the run folder; they are published beside the output's rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from configs.errors import TerminalError
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.providers.base import KeepsVideos
from tasks.runs.chunk_files import results_name
from tasks.runs.session import Run
from tasks.stages.answers.files import video_name
from tasks.stages.merge.lines import read_blocks
from tasks.stages.wire.formats import dialect
from tasks.storage.object_output import OpenFile
from tasks.storage.output import EnrichedOutput

FOLDER = "assets"


class Assets:
    """The answer files of one chunk. An existing file is not written again: the answer of a row never changes."""

    def __init__(self, run: Run, chunk: ChunkRecord) -> None:
        self._folder = run.folder
        self._chunk_folder = f"{chunk.number:05d}"
        self._output_folder = EnrichedOutput(run.job.output.path, run.job.name, run.id).assets

    def keep(self, name: str, data: bytes) -> str:
        """Write a file unless it exists; returns its path in the output."""
        with self.writing(name) as file:
            if file is not None:
                file.write(data)
        return f"{self._output_folder}/{self._chunk_folder}/{name}"

    def find(self, name: str) -> str | None:
        """The path in the output of an existing file; None if there is none."""
        exists = self._folder.exists(f"{FOLDER}/{self._chunk_folder}/{name}")
        return f"{self._output_folder}/{self._chunk_folder}/{name}" if exists else None

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO | None]:
        """Open a file for writing, which appears whole or not at all; yields None if it exists."""
        path = f"{FOLDER}/{self._chunk_folder}/{name}"
        if self._folder.exists(path):
            yield None
            return
        with self._folder.write(path) as file:
            yield file


def fetch_videos(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> None:
    """Download the videos of a batch at once: OpenAI deletes them within a day (`expires_at` of the video object).

    A video that the service no longer has is noted in the history; its row keeps the video object, without a file.
    """
    service = run.service
    if run.job_of(chunk).prompt.endpoint != "/v1/videos" or not isinstance(service, KeepsVideos):
        return
    assets = Assets(run, chunk)
    for custom_id, video_id in _videos(run, chunk, batch):
        try:
            with assets.writing(video_name(custom_id)) as sink:
                if sink is not None:
                    service.download_video(video_id, sink)
        except TerminalError as error:
            run.ledger.note("no video", f"{custom_id}: {error}")


def _videos(run: Run, chunk: ChunkRecord, batch: BatchRecord) -> Iterator[tuple[str, str]]:
    """(custom_id, video id) of a batch's results."""
    parser = dialect(run.job.provider.dialect).parser_for(run.job_of(chunk).prompt)
    for index in range(len(batch.result_files)):
        with run.folder.read(results_name(chunk.number, batch.attempt, index)) as file:
            for block in read_blocks(file):
                for outcome in parser.parse(block):
                    video = outcome.answer
                    if outcome.custom_id and isinstance(video, dict) and video["id"]:
                        yield outcome.custom_id, video["id"]


def saved_files(run: Run) -> Iterator[tuple[str, OpenFile]]:
    """All answer files of the run: the path below the output's assets folder, and a function that opens the file."""
    for name in run.folder.names(FOLDER):
        yield name.removeprefix(f"{FOLDER}/"), partial(run.folder.read, name)
