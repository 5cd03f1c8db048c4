"""A file is the old one or the new one, whole, whatever happens in between."""

import fcntl
import os
import re
import socket
import stat
import threading
from errno import EIO, ENOSPC, EROFS
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaplast.errors import UserError, WriteError
from metaplast.io import (
    RefusedFileError,
    acquire_lock,
    append,
    atomic_path,
    check_target,
    create_exclusively,
    lock_holder,
    read_regular,
    remove_strays,
    write_status,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The folder is shared by the examples, which each replace the same file.
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="utf-8")))
def test_text_is_written_as_it_is(tmp_path: Path, text: str) -> None:
    write_text(tmp_path / "note.txt", text)
    assert (tmp_path / "note.txt").read_bytes() == text.encode()
    assert names(tmp_path) == ["note.txt"]


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "note.txt", "new")
    assert (tmp_path / "a" / "b" / "note.txt").read_text() == "new"


def test_the_temporary_file_lies_beside_the_target_hidden_and_with_its_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "plot.png") as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".png"


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("ne")
        assert target.read_text() == "old"
        temporary.write_text("new")
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [None, "old"])
def test_after_an_error_all_is_as_before(tmp_path: Path, error: BaseException, old: str | None) -> None:
    target = tmp_path / "note.txt"
    if old is not None:
        target.write_text(old)
    before = names(tmp_path)

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half of")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert names(tmp_path) == before
    assert old is None or target.read_text() == old


def test_a_writer_that_writes_nothing_is_an_error_and_the_old_file_stands(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    target.write_text("old")
    with pytest.raises(WriteError, match=r"note\.txt cannot be written: No such file"), atomic_path(target):
        pass
    assert target.read_text() == "old"


def test_the_file_gets_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("new")
    write_text(tmp_path / "note.txt", "new")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain.txt", "note.txt")]
    assert modes[0] == modes[1]


def test_the_umask_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the whole process, and to read it is to set it: another thread's file would be open to all."""
    monkeypatch.delattr(os, "umask")
    write_text(tmp_path / "note.txt", "new")


def test_a_new_file_in_a_new_folder_is_a_target_and_nothing_is_left_of_the_trial(tmp_path: Path) -> None:
    check_target("--out", tmp_path / "a" / "b" / "note.txt")
    assert names(tmp_path / "a" / "b") == []


def test_a_file_that_is_a_target_keeps_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("old")
    check_target("--out", tmp_path / "note.txt")
    assert (tmp_path / "note.txt").read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


@pytest.mark.parametrize(
    ("target", "why"),
    [("folder", "Is a directory"), ("file/note.txt", "File exists"), ("file/a/note.txt", "Not a directory")],
)
def test_what_could_not_be_written_is_refused_by_the_name_of_the_option(tmp_path: Path, target: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as refused:
        check_target("--out", tmp_path / target)
    assert str(refused.value) == f"--out {tmp_path / target} cannot be written: {why}"
    assert names(tmp_path) == ["file", "folder"]


def test_a_reader_beside_several_writers_sees_only_whole_files(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    texts = [str(digit) * 100_000 for digit in range(3)]
    write_text(target, texts[0])

    def write_often(text: str) -> None:
        for _ in range(20):
            write_text(target, text)

    writers = [threading.Thread(target=write_often, args=[text]) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert target.read_text() in texts
    assert names(tmp_path) == ["note.txt"]


def test_a_lock_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    lock = acquire_lock(tmp_path / ".lock")
    assert lock is not None
    assert acquire_lock(tmp_path / ".lock") is None
    lock.release()
    assert lock_holder(tmp_path / ".lock") == f"process {os.getpid()} on {socket.gethostname()}"
    again = acquire_lock(tmp_path / ".lock", timeout=1)
    assert again is not None
    again.release()
    for text in ("", "\x1b[31m on fire\n", "process 1 on a\nb\n"):
        (tmp_path / ".lock").write_text(text)
        assert lock_holder(tmp_path / ".lock") == "another process"


def full(handle: int) -> None:
    raise OSError(ENOSPC, "No space left on device")


def test_a_line_that_does_not_fit_is_not_written_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path / "log", b"1\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match=r"log cannot be written: No space .*; 2 bytes are needed$"):
            append(tmp_path / "log", b"2\n")
    append(tmp_path / "log", b"3\n")
    assert (tmp_path / "log").read_text() == "1\n3\n"


def test_how_something_ended_is_written_over_how_it_stood_where_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, flush = tmp_path / "status", os.fsync
    write_status(status, "running\n", room=20)

    def full_but_in_place(handle: int) -> None:
        (flush if Path(f"/proc/self/fd/{handle}").readlink() == status else full)(handle)

    monkeypatch.setattr(os, "fsync", full_but_in_place)
    write_status(status, "failed: disk full\n")
    assert status.read_text().rstrip(" ") == "failed: disk full\n"
    with pytest.raises(WriteError):
        write_status(status, 40 * "x")
    assert names(tmp_path) == ["status"]


def test_temporary_files_of_a_killed_process_are_removed_and_no_others(tmp_path: Path) -> None:
    mine = [".hidden", ".lock", ".notes-0123456789abcdef0.txt", "a-0123456789abcdef.npz"]
    for name in (*mine, ".a-0123456789abcdef.npz", ".last.previous-0123456789abcdef.ckpt", ".last.ckpt.partial"):
        (tmp_path / name).touch()
    remove_strays(tmp_path)
    assert names(tmp_path) == sorted(mine)


def test_a_lock_that_cannot_be_made_is_an_error_and_no_fallback(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        acquire_lock(tmp_path / ".lock")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("code", [EIO, ENOSPC, EROFS])
def test_a_lock_that_fails_for_another_reason_than_no_flock_is_that_error(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(file: object, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(OSError, match=re.escape(os.strerror(code))):
        acquire_lock(tmp_path / ".lock")
    assert names(tmp_path) in ([], [".lock"]), "no other lock instead"


def test_only_regular_files_no_larger_than_expected_are_read(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    (run / "file").write_bytes(b"12345")
    outside.write_bytes(b"secret")
    (run / "out").symlink_to("../outside")
    (run / "in").symlink_to("file")
    (run / "zero").symlink_to("/dev/zero")
    (run / "loop").symlink_to("loop")
    os.mkfifo(run / "pipe")
    assert read_regular(run / "file", 5, within=run) == read_regular(run / "in", 5, within=run) == b"12345"
    assert read_regular(run / "out", 9) == b"secret"
    for name, limit in (("file", 4), ("out", 9), ("zero", 9), ("pipe", 9), (".", 9)):
        with pytest.raises(RefusedFileError):
            read_regular(run / name, limit, within=run)
    for name in ("loop", "absent"):
        with pytest.raises(OSError, match=name):
            read_regular(run / name, 9, within=run)
    with pytest.raises(RefusedFileError, match="no regular file"):
        read_regular(Path("/dev/zero"), 9)


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "note.txt").symlink_to(precious)
    write_text(tmp_path / "note.txt", "new")
    assert (precious.read_text(), (tmp_path / "note.txt").read_text()) == ("mine", "new")
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    with pytest.raises(FileExistsError), create_exclusively(tmp_path / "link"):
        pass
    assert not (tmp_path / "absent").exists()
