"""A checkpoint file is whole or known not to be, and there is always one to go on from.

Lightning saves to and resumes from checkpoint files that prove themselves whole.
"""

import io
import os
import pickle
import resource
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from metaplast.errors import UserError
from metaplast.training import checkpoint as module
from metaplast.training.checkpoint import (
    SafeCheckpointIO,
    fault,
    previous_generation,
    read_checkpoint,
    write_checkpoint,
)


def checkpoint(n: int, size: int = 16) -> dict[str, Any]:
    return {"n": n, "weights": torch.full((size,), float(n)), "names": ["a", "b"], "rates": {"lr": 0.005}}


def number(path: Path) -> int:
    n: int = read_checkpoint(path)["n"]
    return n


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    write_checkpoint(checkpoint(3), path)
    loaded = read_checkpoint(path)
    assert torch.equal(loaded.pop("weights"), torch.full((16,), 3.0))
    assert loaded == {"n": 3, "names": ["a", "b"], "rates": {"lr": 0.005}}


def test_plain_torch_and_plain_zip_read_it_too(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(3), path)
    assert torch.load(path, weights_only=True)["n"] == 3
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")


def test_every_single_bit_flip_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(3), path)
    whole = path.read_bytes()
    positions = [*range(0, len(whole), 7), *range(len(whole) - 100, len(whole))]  # the last 100: the seal, every byte
    with path.open("r+b", buffering=0) as file:
        for index, position in enumerate(positions):
            file.seek(position)
            file.write(bytes([whole[position] ^ 1 << index % 8]))
            assert fault(path) is not None, f"bit {index % 8} of byte {position}"
            file.seek(position)
            file.write(whole[position : position + 1])
    assert fault(path) is None


def test_every_truncation_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(3), path)
    for length in reversed(range(0, path.stat().st_size, 5)):
        os.truncate(path, length)
        assert fault(path) is not None, length


def test_the_checkpoint_before_is_kept_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for n in range(4):
        write_checkpoint(checkpoint(n), path)
    assert (number(path), number(previous_generation(path))) == (3, 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "last.previous.ckpt"]


@pytest.mark.parametrize("harm", [damage, Path.unlink])
def test_a_checkpoint_that_is_not_whole_is_replaced_by_the_one_before_with_a_warning_naming_both(
    tmp_path: Path, harm: Any
) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(1), path)
    write_checkpoint(checkpoint(2), path)
    harm(path)
    with pytest.warns(UserWarning, match=r"last\.ckpt .*last\.previous\.ckpt"):
        assert number(path) == 1


def test_nothing_whole_is_a_user_error_that_says_what_is_wrong_with_each(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(1), path)
    damage(path)
    with pytest.raises(UserError, match=r"last\.ckpt is damaged .*last\.previous\.ckpt does not exist"):
        read_checkpoint(path)


def test_a_damaged_checkpoint_never_replaces_the_good_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(1), path)
    write_checkpoint(checkpoint(2), path)
    damage(path)
    write_checkpoint(checkpoint(3), path)
    assert (number(path), number(previous_generation(path))) == (3, 1)


def test_a_folder_that_cannot_be_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # not a read-only folder: root writes there all the same
    with pytest.raises(UserError, match=r"file/last\.ckpt cannot be written: .*File exists"):
        write_checkpoint(checkpoint(1), tmp_path / "file" / "last.ckpt")


def test_a_full_disk_is_a_user_error_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(1), path)
    write_checkpoint(checkpoint(2), path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"last\.ckpt cannot be written: .*File too large"):
            write_checkpoint(checkpoint(3, size=1_000_000), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (number(path), number(previous_generation(path))) == (2, 1)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_could_not_be_loaded_back_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_checkpoint(checkpoint(1), path)
    with pytest.raises(TypeError, match=r"plain Python values.*pathlib\.PurePosixPath"):
        write_checkpoint({"folder": PurePosixPath("a")}, path)
    assert number(path) == 1


def test_a_writer_killed_at_any_moment_leaves_the_last_checkpoint_it_finished_or_a_later_one(tmp_path: Path) -> None:
    # Forks of one process, for torch takes seconds to import.
    program = """
        import os, random, signal, sys, time
        from pathlib import Path
        import torch
        from metaplast.training.checkpoint import read_checkpoint, write_checkpoint

        path, draw, n = Path(sys.argv[1]), random.Random(0), 0
        for _ in range(15):
            reading, writing = os.pipe()
            writer = os.fork()
            if writer == 0:
                while True:
                    n += 1
                    write_checkpoint({"n": n, "weights": torch.full((200_000,), float(n))}, path)
                    os.write(writing, n.to_bytes(4, "big"))
            os.close(writing)
            n = int.from_bytes(os.read(reading, 4), "big")  # it has begun
            time.sleep(0.05 * draw.random())
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
            finished = os.read(reading, 1 << 16)[-4:]
            n = max(n, int.from_bytes(finished, "big"))
            loaded = read_checkpoint(path)  # a warning is an error here
            assert loaded["n"] >= n, (loaded["n"], n)
            assert (loaded["weights"] == loaded["n"]).all()
            n = loaded["n"]
        print(len(list(path.parent.iterdir())), n)
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), str(tmp_path / "last.ckpt")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert finished.returncode == 0, finished.stderr
    files, written = map(int, finished.stdout.split())
    assert files <= 4  # two generations, and what the last kill interrupted
    assert written > 15


class Line(LightningModule):
    """One weight, learned on four numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Tensor) -> Tensor:
        return ((self.weight - batch) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(epochs: int) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        plugins=[SafeCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def numbers() -> "DataLoader[Tensor]":
    return DataLoader(torch.arange(4.0))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
def test_a_run_goes_on_from_the_generation_before_a_damaged_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    run = trainer(epochs=1)
    run.fit(Line(), numbers())
    run.save_checkpoint(path)
    run.save_checkpoint(path)
    assert fault(path) is None
    path.write_bytes(path.read_bytes()[:-1])
    resumed, line = trainer(epochs=2), Line()
    with pytest.warns(UserWarning, match=r"last\.previous\.ckpt"):
        resumed.fit(line, numbers(), ckpt_path=path)
    assert (resumed.current_epoch, resumed.global_step) == (2, 8)


def test_a_folder_that_cannot_be_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = trainer(epochs=1)
    run.strategy.connect(Line())
    with pytest.raises(UserError, match="cannot be written"):
        run.save_checkpoint(tmp_path / "file" / "last.ckpt")


def test_removing_a_checkpoint_removes_both_generations(tmp_path: Path) -> None:
    io, path = SafeCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"n": 1}, path)
    io.save_checkpoint({"n": 2}, path)
    assert previous_generation(path).exists()
    io.remove_checkpoint(path)
    io.remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []


def test_loading_code_from_a_checkpoint_is_refused(tmp_path: Path) -> None:
    io, path = SafeCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"n": 1}, path)
    assert io.load_checkpoint(path, weights_only=True) == {"n": 1}
    with pytest.raises(ValueError, match="weights_only: expected True or None, got False"):
        io.load_checkpoint(path, weights_only=False)


def seal(path: Path, archive: bytes) -> None:
    """Write an archive as anybody could, with the seal that belongs to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w+b") as file:
        file.write(archive)
        module._seal(file)


def archive(data: bytes, compression: int = zipfile.ZIP_STORED, script: bool = False) -> bytes:
    """A zip archive as torch.save makes it, with `data` as its pickle."""
    content, more = io.BytesIO(), {"constants.pkl": b"x"} if script else {}
    with zipfile.ZipFile(content, "w", compression) as file:
        for name, part in {"data.pkl": data, "version": b"3\n", "byteorder": b"little", **more}.items():
            file.writestr(f"archive/{name}", part)
    return content.getvalue()


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def calling(name: str, *arguments: Any) -> bytes:
    """A pickle, of protocol 2, that calls the function `name`."""
    where, _, what = name.rpartition(".")
    return b"\x80\x02c" + f"{where}\n{what}\n".encode() + pickle.dumps(arguments, 2)[2:-1] + b"R."


def nested(levels: int) -> bytes:
    return b"\x80\x02}X\x01\x00\x00\x00a" + b"]" * levels + b"a" * (levels - 1) + b"s."


GADGETS = """
    os.system posix.system builtins.eval builtins.exec builtins.open builtins.getattr pty.spawn subprocess.Popen
    subprocess.run shutil.rmtree pathlib.Path.unlink torch.load torch.hub.load torch.storage._load_from_bytes
    torch.utils.collect_env.run torch.jit.load numpy.load runpy.run_path pickle.loads _pickle.loads
    importlib.import_module webbrowser.open metaplast.io.write_text metaplast.sweep.process.in_warm_fork
    torch.ops.load_library torch.serialization.load
""".split()  # noqa: SIM905

CONTENTS = {
    **{f"calls {name}": archive(calling(name, "touch acted")) for name in GADGETS},
    "empty pickle": archive(b""),
    "cut pickle": archive(b"\x80\x02}"),
    "no pickle": archive(b"hello"),
    "a list": saved([1]),
    "a number": saved(3),
    "a tensor": saved(torch.ones(3)),
    "a set": saved({"a": {1}}),
    "bytes": saved({"a": bytearray(b"x")}),
    "complex number": saved({"a": 1j}),
    "sparse tensor": saved({"a": torch.ones(3).to_sparse()}),
    "meta tensor": saved({"a": torch.ones(3, device="meta")}),
    "tensor of a tebibyte": saved({"a": torch.ones(1).expand(1 << 40)}),
    "compressed": archive(pickle.dumps({"a": 1}, 2), zipfile.ZIP_DEFLATED),
    "bomb": archive(b"\x80\x02" + b"0" * (1 << 28), zipfile.ZIP_DEFLATED),
    "script": archive(pickle.dumps({"a": 1}, 2), script=True),
    "long pickle": archive(b"\x80\x02(" + b"]" * (7 << 20) + b"t."),
    "nested 100": archive(nested(100)),
    "nested 100,000": archive(nested(100_000)),
    "no archive": b"PK" + bytes(200),
    "old format": pickle.dumps({"a": 1}, 2) + bytes(100),
    "a tensor's bytes are missing": b"/data/9".join(saved({"a": torch.ones(100)}).rsplit(b"/data/0", 1)),
}
"""What a sealed file may hold, by what it is."""


@pytest.mark.parametrize("name", CONTENTS)
def test_a_sealed_file_of_any_content_is_refused_in_a_line_and_runs_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run" / "last.ckpt"
    content = CONTENTS[name]
    seal(path, content[:-2] + b"\0\0")
    memory, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(UserError) as refused:
        read_checkpoint(path)
    said = str(refused.value)
    assert said.startswith(f"checkpoint: {path} cannot be used: ")
    assert "\n" not in said
    assert "weights_only" not in said
    assert time.monotonic() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1_000_000  # KiB
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_checkpoint_is_a_regular_file_of_its_run(tmp_path: Path) -> None:
    run, outside = tmp_path / "run" / "checkpoints", tmp_path / "outside"
    write_checkpoint(checkpoint(1), outside / "last.ckpt")
    run.mkdir(parents=True)
    os.mkfifo(run / "pipe")
    for target in (outside / "last.ckpt", Path("/dev/zero"), run / "pipe"):
        (run / "last.ckpt").symlink_to(target)
        with pytest.raises(UserError, match=r"last\.ckpt is (a symbolic link out of|no regular file)"):
            read_checkpoint(run / "last.ckpt")
        (run / "last.ckpt").unlink()
    with (run / "last.ckpt").open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(UserError, match=r"last\.ckpt has 1,099,511,627,776 bytes, more than"):
        read_checkpoint(run / "last.ckpt")


def test_nothing_outside_a_run_is_written_through_links(tmp_path: Path) -> None:
    run, outside = tmp_path / "run" / "checkpoints", tmp_path / "outside"
    run.mkdir(parents=True)
    outside.mkdir()
    precious = outside / "precious"
    precious.write_text("mine")
    for name in (".last.ckpt.partial", ".last.previous.ckpt.partial", "last.ckpt", "last.previous.ckpt"):
        (run / name).symlink_to(precious)
    for n in range(3):
        write_checkpoint(checkpoint(n), run / "last.ckpt")
    assert precious.read_text() == "mine"
    assert sorted(file.name for file in run.iterdir()) == ["last.ckpt", "last.previous.ckpt"]
    assert number(run / "last.ckpt") == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "checkpoints").symlink_to(outside)
    with pytest.raises(UserError, match=r"cannot be written: .*checkpoints is a symbolic link out of"):
        write_checkpoint(checkpoint(1), tmp_path / "other" / "checkpoints" / "last.ckpt")
    assert list(outside.iterdir()) == [precious]
