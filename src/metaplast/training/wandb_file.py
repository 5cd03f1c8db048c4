"""A .wandb file, read and written: the records of a run in the order in which W&B's process got them.

W&B ships no Python reader. The file is a log as LevelDB writes it: a header of 7 bytes, then blocks of 32 KiB with
fragments of records, each behind its CRC-32, length and place in its record; a record is a protobuf message. A killed
process leaves out the last blocks, so the records read are a beginning of those that there were.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from metaplast.atomic import atomic_path
from metaplast.errors import UserError

Record = Any
"""A `Record` message of W&B's protobuf, which has no types."""

HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32 * 1024
FRAGMENT = struct.Struct("<IHB")
"""CRC-32, length and place of a fragment, before its bytes."""
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
"""Places of a fragment in its record."""


def read_records(source: Path) -> list[Record]:
    """Read the whole records of a .wandb file, up to where a killed writer left off; none from an empty file.

    Raises:
        UserError: if the file cannot be read or is no .wandb file.
    """
    from wandb.proto import wandb_internal_pb2 as messages

    try:
        log = source.read_bytes()
    except OSError as error:
        raise UserError(f"W&B: {source} cannot be read: {error}") from error
    if not HEADER.startswith(log[: len(HEADER)]):
        raise UserError(f"W&B: {source} is no .wandb file")
    parse = messages.Record.FromString  # type: ignore[attr-defined]  # made while it is imported
    return [parse(message) for message in _messages(log)]


def write_records(target: Path, records: Sequence[Record]) -> None:
    """Write records as a .wandb file, whole or not at all."""
    log = bytearray(HEADER)
    for record in records:
        _append(log, record.SerializeToString())
    with atomic_path(target) as temporary:
        temporary.write_bytes(log)


def kind(record: Record) -> str:
    """What a record is about: `run`, `history`, `summary`, `exit` and so on."""
    return str(record.WhichOneof("record_type"))


def _messages(log: bytes) -> Iterator[bytes]:
    position, message = len(HEADER), b""
    while position + FRAGMENT.size <= len(log):
        left = BLOCK - position % BLOCK
        if left < FRAGMENT.size:  # too little for a fragment: zeros
            position += left
            continue
        checksum, length, place = FRAGMENT.unpack_from(log, position)
        position += FRAGMENT.size
        fragment = log[position : position + length]
        position += length
        if not WHOLE <= place <= LAST or checksum != _checksum(place, fragment):
            return
        message = fragment if place in (WHOLE, FIRST) else message + fragment
        if place in (WHOLE, LAST):
            yield message


def _append(log: bytearray, message: bytes) -> None:
    begun = False
    while True:
        left = BLOCK - len(log) % BLOCK
        if left < FRAGMENT.size:
            log += bytes(left)
            continue
        fragment, message = message[: left - FRAGMENT.size], message[left - FRAGMENT.size :]
        place = (MIDDLE if begun else FIRST) if message else (LAST if begun else WHOLE)
        log += FRAGMENT.pack(_checksum(place, fragment), len(fragment), place) + fragment
        if not message:
            return
        begun = True


def _checksum(place: int, fragment: bytes) -> int:
    return zlib.crc32(fragment, zlib.crc32(bytes([place])))
