"""Progress says where a run is and when it will end, and leaves the terminal as it found it."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from metaplast.errors import UserError
from metaplast.training.callbacks import progress
from metaplast.training.callbacks.progress import Progress
from metaplast.training.datamodule import Schedule

STEPS = 4  # an epoch, of 100 images and 10 seconds each


class Clock:
    """Seconds that pass only when a step, or a test, is made."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Learner(LightningModule):
    def __init__(self, clock: Clock, fail_at: int = -1, seconds: float = 10.0) -> None:
        super().__init__()
        self.clock, self.fail_at, self.seconds = clock, fail_at, seconds
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.clock.now += self.seconds
        if self.global_step == self.fail_at:
            raise RuntimeError("a failure")
        return (self.weight - batch[0].mean()) ** 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Batches:
    """An epoch that can be entered anywhere."""

    given = first = 0

    def __init__(self, steps: int = STEPS) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, self.first = self.first, 0
        for i in range(first, self.steps):
            self.given = i + 1
            yield torch.zeros(100, 1), torch.zeros(100)

    def state_dict(self) -> dict[str, int]:
        return {"given": self.given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.first = state["given"] % self.steps


class Rows(Callback):
    """Measures every epoch but the third, in 5 seconds."""

    def __init__(self, progress: Progress, clock: Clock) -> None:
        self.progress, self.clock = progress, clock

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.clock.now += 5
        if trainer.current_epoch != 2:
            row = {"epoch": trainer.current_epoch + 1, "train_loss": 0.25, "average_accuracy_seen": 0.931}
            self.progress.write(row)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


def fit(
    clock: Clock,
    mode: str,
    schedule: Schedule,
    learner: Learner | None = None,
    steps: int = -1,
    batches: Batches | None = None,
    also: Callback | None = None,
    noun: str = "task",
    **arguments: Any,
) -> Trainer:
    shown = Progress(schedule, mode, noun)
    trainer = Trainer(
        max_epochs=schedule.total_epochs,
        max_steps=steps,
        accelerator="cpu",
        callbacks=[Rows(shown, clock), shown, *([also] if also else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(learner or Learner(clock), batches or Batches(), **arguments)
    return trainer


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def frames(terminal: Terminal) -> list[str]:
    """What the bar's line showed, one after the other, without colours and without the bar itself."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    return [re.sub("^[━╸╺ ]+", "", frame).strip() for frame in re.split(r"[\r\n]+", plain) if frame.strip()]


def test_elsewhere_than_on_a_terminal_every_epoch_is_a_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    fit(clock, "auto", Schedule(n_tasks=2, epochs_per_task=2))
    assert capsys.readouterr().out.splitlines() == [
        "task 1/2 · epoch 1/2 · loss 0.2500 · 10 images/s · seen 93.1 % · 0:02:20 left",
        "task 1/2 · epoch 2/2 · loss 0.2500 · 10 images/s · seen 93.1 % · 0:01:31 left",
        "task 2/2 · epoch 1/2 · 10 images/s · 0:00:45 left",
        "task 2/2 · epoch 2/2 · loss 0.2500 · 10 images/s · seen 93.1 % · took 0:03:00",
    ]


def test_a_joint_stream_trains_all_tasks(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    fit(clock, "lines", Schedule(n_tasks=5, epochs_per_task=2, joint=True))
    assert capsys.readouterr().out.startswith("all 5 tasks · epoch 1/2 · ")


def test_tasks_that_are_parts_of_one_are_called_so(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    fit(clock, "lines", Schedule(n_tasks=2, epochs_per_task=1), noun="part")
    assert [line.split(" · ")[0] for line in capsys.readouterr().out.splitlines()] == ["part 1/2", "part 2/2"]


def test_a_resumed_run_starts_where_it_was_and_reckons_with_what_it_does_itself(
    clock: Clock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    schedule = Schedule(n_tasks=2, epochs_per_task=2)
    fit(clock, "none", schedule, steps=2 * STEPS).save_checkpoint(tmp_path / "last.ckpt")
    clock.now += 1e6
    fit(clock, "lines", schedule, ckpt_path=tmp_path / "last.ckpt")
    assert capsys.readouterr().out.splitlines() == [
        "task 2/2 · epoch 1/2 · 10 images/s · 0:00:47 left",  # 3 of 4 steps, and a test, in 35 s
        "task 2/2 · epoch 2/2 · loss 0.2500 · 10 images/s · seen 93.1 % · took 0:01:30",
    ]


def test_a_run_may_be_resumed_inside_an_epoch(clock: Clock, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    class Saving(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 2 * STEPS + 2:
                trainer.save_checkpoint(tmp_path / "inside.ckpt")

    schedule = Schedule(n_tasks=2, epochs_per_task=2)
    fit(clock, "none", schedule, also=Saving())
    fit(clock, "lines", schedule, ckpt_path=tmp_path / "inside.ckpt")
    assert capsys.readouterr().out.splitlines() == [
        "task 2/2 · epoch 1/2 · 10 images/s · 0:01:00 left",  # 1 of 4 steps, and a test, in 15 s
        "task 2/2 · epoch 2/2 · loss 0.2500 · 10 images/s · seen 93.1 % · took 0:01:10",
    ]


def test_on_a_terminal_it_is_one_line_that_fits_in_80_columns(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, columns=80)
    fit(clock, "auto", Schedule(n_tasks=2, epochs_per_task=2))
    assert terminal.getvalue().count("\n") == 1
    assert frames(terminal)[0] == "task 1/2 · epoch 1/2"
    assert frames(terminal)[-1] == "task 2/2 · epoch 2/2 · 10 images/s · seen 93.1 % · took 0:03:00"
    widths = {
        len(line) for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue().replace("\n", "")).split("\r")
    }
    assert max(widths) == 80


def test_a_narrow_terminal_shows_what_fits(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, columns=30)
    fit(clock, "auto", Schedule(n_tasks=2, epochs_per_task=2))
    assert terminal.getvalue().count("\n") == 1
    assert frames(terminal)[-1].startswith("task 2/2 · epoch 2/2")


@pytest.mark.parametrize("fail_at", [-1, 0, 5])
def test_the_cursor_and_the_output_are_given_back_even_after_a_failure(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, fail_at: int
) -> None:
    terminal = on_terminal(monkeypatch, columns=80)
    schedule = Schedule(n_tasks=2, epochs_per_task=2)
    if fail_at < 0:
        fit(clock, "auto", schedule)
    else:
        with pytest.raises(RuntimeError, match="a failure"):
            fit(clock, "auto", schedule, Learner(clock, fail_at))
    hidden, shown = (terminal.getvalue().rfind(f"\x1b[?25{state}") for state in "lh")
    assert 0 <= hidden < shown
    assert progress.sys.stdout is terminal  # type: ignore[attr-defined]


def test_what_is_printed_meanwhile_stands_above_the_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Printing(Learner):
        def on_train_epoch_end(self) -> None:
            print(f"end of epoch {self.current_epoch}")

    terminal = on_terminal(monkeypatch, columns=80)
    fit(clock, "auto", Schedule(n_tasks=1, epochs_per_task=2), Printing(clock))
    assert [line for line in frames(terminal) if "end" in line] == ["end of epoch 0", "end of epoch 1"]


def test_the_bar_is_drawn_twice_a_second_at_most(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, columns=80)
    fit(clock, "auto", Schedule(n_tasks=1, epochs_per_task=1), Learner(clock, seconds=0.05), batches=Batches(steps=100))
    assert 8 <= len(frames(terminal)) <= 13  # 5 seconds; at the start and the end besides, and once more as it stops


@pytest.mark.parametrize("mode", ["none", "lines", "bar"])
def test_a_mode_that_is_asked_for_needs_no_terminal(
    clock: Clock, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    fit(clock, mode, Schedule(n_tasks=1, epochs_per_task=1))
    out = capsys.readouterr().out
    assert {"none": out == "", "lines": out.count("\n") == 1, "bar": "━" in out}[mode]


def test_an_encoding_without_the_dot_ends_no_training(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    fit(clock, "lines", Schedule(n_tasks=1, epochs_per_task=1))
    assert raw.getvalue().startswith(b"task 1/1 | epoch 1/1 | loss 0.2500 | ")


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert progress.shown_mode("auto", Terminal()) == "lines"


def test_an_unknown_mode_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match="progress: expected one of auto, bar, lines, none, got 'rich'"):
        Progress(Schedule(1, 1), "rich")
