"""The IDX format of MNIST and its kin: two zero bytes, a type code, the number of dimensions, their sizes (big-endian
32-bit integers), then the elements. Files may be plain or gzipped.
"""

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from metaplast.errors import UserError

_UNSIGNED_BYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path, sha256: str | None = None) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or gzipped, into a uint8 tensor of the shape that its header states.

    `sha256`, where given, is the SHA-256 of the decompressed file in hexadecimal digits; it is checked before the
    content is looked at. Raises UserError for a file that is damaged, of another type, or not the one expected.
    """
    content = read_content(path)
    if sha256 is not None and (came := hashlib.sha256(content).hexdigest()) != sha256:
        raise UserError(
            f"{path} is not the file expected: its SHA-256 (decompressed) is {came}, expected {sha256}. "
            "Delete it, and it is fetched anew."
        )
    return _parse(content, path)


def read_content(path: Path) -> bytes:
    """Bytes of a file, decompressed if it is gzipped. Raises UserError if it cannot be read or decompressed."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read: {error}. If it is damaged, delete it, and it is fetched anew."
        ) from error


def _parse(content: bytes, path: Path) -> Tensor:
    dimensions = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * dimensions
    if content[:3] != bytes((0, 0, _UNSIGNED_BYTE)) or dimensions == 0 or len(content) < start:
        raise UserError(
            f"{path} is not an IDX file of unsigned bytes: it starts with {content[:4].hex() or 'nothing'}, "
            "expected 000008 and the number of dimensions."
        )
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise UserError(
            f"{path} is damaged: its header states {' x '.join(map(str, shape))} elements, "
            f"{len(content) - start} bytes follow it."
        )
    # The bytearray is a copy that may be written to, as a tensor's memory has to be.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].reshape(shape)
