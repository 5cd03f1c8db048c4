"""The files of a data set: found where a user or another tool left them, else fetched, checked and put in place.

A file that is already there is never replaced or deleted: if it is the wrong one, reading it says so. Of the places
that are looked at, the first that has a file counts.
"""

import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from metaplast.atomic import atomic_path
from metaplast.data.idx import read_content
from metaplast.data.sources import Source, SourceError
from metaplast.errors import UserError

log = logging.getLogger(__name__)

LOG_SECONDS = 5.0
"""How often the log says how much has come."""


@dataclass(frozen=True)
class FileSet:
    """The files that make up a data set."""

    title: str
    """The data set's name for people."""
    folders: tuple[str, ...]
    """Folders of the data directory that may hold the files; fetched ones are put into the first."""
    sha256: Mapping[str, str]
    """SHA-256 of each file when decompressed, by its name without `.gz`."""
    sources: tuple[Source, ...]
    """Where the files can be had, tried in this order."""


def fetch(files: FileSet, data_dir: Path) -> dict[str, Path]:
    """Paths of all files by name, plain or `.gz`; those that are missing from `data_dir` are fetched first.

    Fetched files have the right SHA-256 and are whole or absent. Files found are returned unchecked: `read_idx` checks.
    Any number of processes may call this at once; one fetches, the others wait for it. Raises UserError if files are
    missing and no source brings them, or `data_dir` cannot be written.
    """
    target = data_dir / files.folders[0]
    try:
        found = _find(files, data_dir)
        if _missing(files, found):
            target.mkdir(parents=True, exist_ok=True)
            with _locked(target, files.title):
                found = _fetch_missing(files, data_dir)
    except OSError as error:
        raise UserError(f"data_dir={data_dir}: {files.title} can neither be found nor be put there: {error}") from error
    return found


def _find(files: FileSet, data_dir: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name in files.sha256:
        places = (data_dir / folder / (name + ending) for folder in files.folders for ending in ("", ".gz"))
        if (path := next((place for place in places if place.is_file()), None)) is not None:
            found[name] = path
    return found


def _missing(files: FileSet, found: Mapping[str, Path]) -> list[str]:
    return [name for name in files.sha256 if name not in found]


def _fetch_missing(files: FileSet, data_dir: Path) -> dict[str, Path]:
    target = data_dir / files.folders[0]
    reasons = []
    for source in files.sources:
        missing = _missing(files, _find(files, data_dir))
        if not missing:
            break
        try:
            text = f"Fetching {files.title} into {target}: {source}"
            with _emptied(target / ".fetch") as folder, _announced(text, folder):
                source.bring(folder)
                for name in missing:
                    _place(name, files.sha256[name], folder, target)
        except SourceError as failure:
            log.info("%s: %s", source, failure)
            reasons.append(f"{source}: {failure}")
    found = _find(files, data_dir)
    if missing := _missing(files, found):
        raise UserError(
            f"{files.title} is not in data_dir={data_dir} and could not be fetched ({'; '.join(reasons)}). "
            f"Put {', '.join(missing)} (plain or .gz) into {target}: where there is a network, "
            f"any of these brings them: {', '.join(map(str, files.sources))}."
        )
    return found


def _place(name: str, sha256: str, folder: Path, target: Path) -> None:
    """Put the file `name`, found anywhere below `folder`, into `target`, decompressed, if it is the right one."""
    path = next((path for ending in ("", ".gz") for path in sorted(folder.rglob(name + ending))), None)
    if path is None:
        raise SourceError(f"it brought no {name}")
    try:
        content = read_content(path)
    except UserError as error:
        raise SourceError(f"its {name} is damaged") from error
    if (came := hashlib.sha256(content).hexdigest()) != sha256:
        raise SourceError(f"the SHA-256 of its {name} is {came}, expected {sha256}")
    with atomic_path(target / name) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _locked(target: Path, title: str) -> Iterator[None]:
    lock = FileLock(target / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("Waiting for another process that fetches %s", title)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    """An empty folder for the time being. Its name is fixed, so that what a killed process left is cleared away."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _announced(text: str, folder: Path) -> Iterator[None]:
    """On a terminal a spinner with what came into `folder` and the time gone by, elsewhere lines of the log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        log.info(text)
        with _logged(text, folder):
            yield
        return
    words = TextColumn("{task.description}", markup=False)
    with Progress(
        SpinnerColumn(), words, _Written(folder), TimeElapsedColumn(), console=console, transient=True
    ) as line:
        line.add_task(text, total=None)
        yield


@contextmanager
def _logged(text: str, folder: Path) -> Iterator[None]:
    """A line of the log every LOG_SECONDS."""
    over = threading.Event()

    def log_until_over() -> None:
        while not over.wait(LOG_SECONDS):
            log.info("%s, %s", text, _written(folder))

    thread = threading.Thread(target=log_until_over, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class _Written(ProgressColumn):
    """How much lies in a folder, asked twice a second."""

    max_refresh = 0.5

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def render(self, task: Task) -> Text:
        """What is shown beside the spinner."""
        return Text(_written(self.folder))


def _written(folder: Path) -> str:
    """What a source has written below `folder`; its client may be renaming and removing files there meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(place, name).lstat().st_size
    return f"{size / 1e6:.1f} MB written"
