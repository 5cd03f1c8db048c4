"""The recorder: a row for every measured epoch, the matrix after every task, the baseline in the file alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metaplast.data import TaskTensors
from metaplast.errors import UserError
from metaplast.loggers.base import Row
from metaplast.loggers.csv import MetricsFile
from metaplast.nn import bnn
from metaplast.runs.tables import read_histograms
from metaplast.scenarios import Scenario
from metaplast.training import Learner, Schedule, StreamDataModule, fit
from metaplast.training.callbacks.recorder import Recorder, WeightHistograms

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")  # Lightning's, about torch
N_TASKS, EPOCHS, N = 2, 2, 20


class Kept:
    """A logger in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.matrices: list[tuple[int, Tensor]] = []

    def write(self, row: Row) -> None:
        self.rows.append(row)

    def log_accuracy_matrix(self, task: int, R: Tensor) -> None:
        self.matrices.append((task, R))


def stream(**settings: Any) -> tuple[Learner, StreamDataModule]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    tasks = [TaskTensors(torch.rand(N, 1, 4, 4, generator=generator), torch.arange(N) % 3) for _ in range(N_TASKS)]
    schedule = Schedule(N_TASKS, EPOCHS)
    network = bnn((1, 4, 4), 3, n_tasks=N_TASKS, hidden=[6])
    learner = Learner(network, lambda groups: torch.optim.SGD(groups, lr=0.1), schedule)
    return learner, StreamDataModule(Scenario.from_tensors(tasks, tasks, 3), schedule, 10, 20, 0, **settings)


@pytest.fixture(scope="module")
def recorded() -> tuple[Learner, Recorder, Kept, Kept]:
    learner, data = stream()
    kept, baseline = Kept(), Kept()
    recorder = Recorder([kept], baseline)
    fit(learner, data, callbacks=[recorder])
    return learner, recorder, kept, baseline


Recorded = tuple[Learner, Recorder, Kept, Kept]


def test_there_is_a_row_for_every_epoch_with_what_was_counted(recorded: Recorded) -> None:
    learner, recorder, kept, _ = recorded
    counters = [tuple(row[name] for name in ("epoch", "step", "task", "epoch_in_task")) for row in kept.rows]
    assert counters == [(1, 2, 0, 1), (2, 4, 0, 2), (3, 6, 1, 1), (4, 8, 1, 2)]
    R = learner.matrix.compute()
    for task, row in enumerate(kept.rows[1::2]):
        assert [row[f"accuracy/task_{j}"] for j in range(N_TASKS)] == R[task].tolist()
        assert row["average_accuracy_seen"] == pytest.approx(R[task, : task + 1].mean().item())
    assert all(0 <= row["flips/layer1"] <= 1 and row["train_loss"] > 0 for row in kept.rows)
    assert recorder.rows == kept.rows


def test_rows_share_the_names_of_their_accuracies_which_of_a_thousand_tasks_are_a_million(recorded: Recorded) -> None:
    first, second, *_ = ([name for name in row if "accuracy/" in name] for row in recorded[2].rows)
    assert len(first) == N_TASKS
    assert all(a is b for a, b in zip(first, second, strict=True))


def test_the_clock_and_the_count_of_images_only_go_forward(recorded: Recorded) -> None:
    _, recorder, kept, _ = recorded
    seconds = [row["seconds"] for row in kept.rows]
    assert 0 < seconds[0] < seconds[1] < seconds[2] < seconds[3] == recorder.train_seconds
    assert recorder.samples == N_TASKS * EPOCHS * N
    assert recorder.samples_per_second == pytest.approx(recorder.samples / recorder.train_seconds)


def test_the_matrix_comes_after_every_task(recorded: Recorded) -> None:
    learner, _, kept, _ = recorded
    assert [task for task, _ in kept.matrices] == [0, 1]
    assert torch.equal(kept.matrices[1][1], learner.matrix.compute())
    assert kept.matrices[0][1][1].isnan().all()


def test_the_baseline_is_the_row_of_epoch_0_with_the_same_columns(recorded: Recorded) -> None:
    learner, _, kept, baseline = recorded
    (row,) = baseline.rows
    assert list(row) == list(kept.rows[0])
    assert [row[f"accuracy/task_{j}"] for j in range(N_TASKS)] == learner.matrix.baseline().tolist()
    assert (row["epoch"], row["step"], row["seconds"]) == (0, 0, 0.0)
    assert all(row[name] != row[name] for name in ("train_loss", "average_accuracy_seen", "flips/layer1"))


def test_a_task_that_is_not_measured_is_nan_in_its_row_and_in_no_average() -> None:
    learner, data = stream(eval_tasks="seen")
    kept = Kept()
    fit(learner, data, callbacks=[Recorder([kept])])
    first = kept.rows[0]
    assert first["accuracy/task_1"] != first["accuracy/task_1"]
    assert first["average_accuracy_seen"] == first["accuracy/task_0"]


def test_a_saved_state_is_continued_from(recorded: Recorded) -> None:
    _, recorder, _, _ = recorded
    other = Recorder()
    other.load_state_dict(recorder.state_dict())
    assert other.rows == recorder.rows[-1:]
    assert (other.samples, other.train_seconds) == (recorder.samples, recorder.train_seconds)


def test_a_resumed_recorder_has_the_earlier_rows_of_the_file(recorded: Recorded, tmp_path: Path) -> None:
    _, recorder, _, _ = recorded
    file = MetricsFile(tmp_path / "metrics.csv")
    for row in recorder.rows:
        file.write(row)
    other = Recorder(baseline=MetricsFile(file.path, epochs_done=3))
    other.load_state_dict(recorder.state_dict())
    assert other.rows == recorder.rows[:3]


R = torch.zeros(3, 3)


def test_each_task_adds_a_row_a_layer_and_the_picture(tmp_path: Path) -> None:
    weights = {"layer1": torch.zeros(4, 3), "layer2": torch.ones(2, 4)}
    sink = WeightHistograms(tmp_path, weights)
    for task in range(2):
        weights["layer1"].uniform_(-1 - task, 1 + task)
        sink.log_accuracy_matrix(task, R)
    found = read_histograms(tmp_path / "hidden_weights.npz")
    assert {name: len(rows) for name, rows in found.items()} == {
        "layer1/counts": 2, "layer1/edges": 2, "layer2/counts": 2, "layer2/edges": 2
    }  # fmt: skip
    assert found["layer1/counts"].sum(1).tolist() == [12, 12]
    assert (tmp_path / "hidden_weights.png").stat().st_size > 0


def test_a_resumed_run_replaces_the_rows_of_tasks_trained_again(tmp_path: Path) -> None:
    hidden = torch.zeros(2, 2)
    for task, value in enumerate((1.0, 2.0, 3.0)):
        WeightHistograms(tmp_path, {"layer1": hidden.fill_(value)}).log_accuracy_matrix(task, R)
    WeightHistograms(tmp_path, {"layer1": hidden.fill_(9.0)}).log_accuracy_matrix(1, R)
    edges = read_histograms(tmp_path / "hidden_weights.npz")["layer1/edges"]
    assert np.allclose(edges.mean(1), [1, 9])


def test_a_resumed_run_makes_lost_or_damaged_histograms_again(tmp_path: Path) -> None:
    path, sink = tmp_path / "hidden_weights.npz", WeightHistograms(tmp_path, {"layer1": torch.ones(2, 2)})
    sink.log_accuracy_matrix(0, R)
    state, whole = sink.state_dict(), read_histograms(path)
    for harm in (lambda: path.unlink(), lambda: path.write_bytes(b"PK"), lambda: np.savez(path, x=np.ones(2))):
        harm()
        resumed = WeightHistograms(tmp_path, {"layer1": torch.zeros(2, 2)})
        resumed.load_state_dict(state)
        assert all(np.array_equal(read_histograms(path)[name], rows) for name, rows in whole.items())
    resumed.log_accuracy_matrix(1, R)
    assert [len(rows) for rows in read_histograms(path).values()] == [2, 2]


def test_a_network_without_binary_layers_leaves_nothing(tmp_path: Path) -> None:
    WeightHistograms(tmp_path, {}).log_accuracy_matrix(0, R)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"^hidden weights: .*x.npz cannot be read"):
        read_histograms(tmp_path / "x.npz")
