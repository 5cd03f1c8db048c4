"""A .wandb file reads as W&B wrote it, also where it was cut, and W&B reads what is written here."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wandb.proto import wandb_internal_pb2 as messages
from wandb.util import get_core_path

from metaplast.errors import UserError
from metaplast.report.runs import Run
from metaplast.training.wandb_file import BLOCK, kind, read_records, write_records

lengths = st.lists(st.integers(0, 3 * BLOCK) | st.integers(BLOCK - 60, BLOCK), max_size=5)


def records_of(lengths: list[int]) -> list[messages.Record]:  # type: ignore[name-defined]
    return [messages.Record(num=i, output={"line": "x" * n}) for i, n in enumerate(lengths)]  # type: ignore[attr-defined]


@given(lengths=lengths)
def test_records_of_any_length_read_back(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    file = tmp_path_factory.mktemp("file") / "run.wandb"
    write_records(file, records_of(lengths))
    assert read_records(file) == records_of(lengths)


@given(lengths=lengths, share=st.floats(0, 1))
def test_a_file_that_was_cut_anywhere_gives_the_records_before(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], share: float
) -> None:
    file = tmp_path_factory.mktemp("file") / "run.wandb"
    write_records(file, records_of(lengths))
    log = file.read_bytes()
    file.write_bytes(log[: int(share * len(log))])
    found = read_records(file)
    assert found == records_of(lengths)[: len(found)]
    assert share < 1 or len(found) == len(lengths)


def test_a_flipped_bit_ends_the_records_before_it(tmp_path: Path) -> None:
    file = tmp_path / "run.wandb"
    write_records(file, records_of([100, 100, 100]))
    log = bytearray(file.read_bytes())
    log[180] ^= 1
    file.write_bytes(log)
    assert read_records(file) == records_of([100, 100, 100])[:1]


def test_wandb_reads_what_is_written_here_as_what_it_wrote(recorded: Callable[[], Run]) -> None:
    (recording,) = recorded().path.glob("wandb/offline-run-*/run-*.wandb")

    def inspect() -> list[str]:
        command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", str(recording.parents[1])]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    written = inspect()
    records = read_records(recording)
    assert len(records) == len(written)
    assert (kind(records[0]), kind(records[-1])) == ("header", "exit")
    write_records(recording, records)
    assert inspect() == written


@pytest.mark.parametrize(
    ("content", "message"), [(b"PK\x03\x04 and so on", "is no .wandb file"), (None, "cannot be read")]
)
def test_what_is_no_recording_is_a_user_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "run.wandb").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_records(tmp_path / "run.wandb")
