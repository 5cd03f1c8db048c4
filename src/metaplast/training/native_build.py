"""The compiled form of `native.cpp`: built once for a machine by its C++ compiler, kept in the user's cache, loaded.

The file is named after everything that it depends on: the source, torch, the compiler and the processor.
"""

import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from metaplast.io import atomic_path

SOURCE = Path(__file__).with_name("native.cpp")
FLAGS = (
    *("-std=c++20", "-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp", "-shared", "-fPIC"),
    # The last as torch itself: see the head of the source.
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
)
COMPILERS = ("g++", "c++", "clang++")


class NoKernelError(Exception):
    """There is no kernel on this machine; the message says why."""


@functools.cache
def load_kernel() -> None:
    """Make `torch.ops.metaplast_native.train_steps` callable; the first time on a machine it is compiled, in 20 s.

    Raises:
        NoKernelError: there is no compiler, it fails, or there is no folder to keep the result in.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise NoKernelError(f"no C++ compiler ({', '.join(COMPILERS)}) is installed")
    try:
        library = cache_folder() / f"native-{_key(compiler)}.so"
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            with _lock(library.with_suffix(".lock")):
                if not library.exists():  # another process has built it meanwhile
                    _build(compiler, library)
        torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except OSError as error:
        raise NoKernelError(f"the compiled step cannot be kept or loaded: {error}") from error


def cache_folder() -> Path:
    """The folder of this user's compiled files, that of $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metaplast"


def _key(compiler: str) -> str:
    binary = Path(compiler).resolve()
    stat = binary.stat()  # asking the compiler for its version would take longer than loading the library
    parts = (SOURCE.read_text(), FLAGS, torch.__version__, binary, stat.st_size, stat.st_mtime_ns, _processor())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _processor() -> str:
    """What -march=native depends on: name and abilities of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()} {platform.node()}"
    named = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(named)}))


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait until no other process builds the same library; a lock ends with its process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(compiler: str, library: Path) -> None:
    root = Path(torch.__file__).parent
    print("compiling the training step for this machine, once, in about 20 s ...", file=sys.stderr, flush=True)
    start = time.monotonic()
    with atomic_path(library) as temporary:
        # torch is loaded already when the library is, so no path to it is written into the library.
        command = [compiler, *FLAGS, f"-I{root / 'include'}", str(SOURCE), "-o", str(temporary)]
        done = subprocess.run(
            [*command, f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            temporary.touch()
            errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
            raise NoKernelError(f"{compiler} fails: {errors[0][:200]}")
    print(f"compiled it in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
