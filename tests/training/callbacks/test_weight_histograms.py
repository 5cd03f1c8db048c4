"""hidden_weights.npz: a row a task, and those of tasks that are trained again are replaced."""

from pathlib import Path

import numpy as np
import pytest
import torch

from metaplast.errors import UserError
from metaplast.runs.tables import read_histograms
from metaplast.training.callbacks.weight_histograms import WeightHistograms

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


def test_a_network_without_binary_layers_leaves_nothing(tmp_path: Path) -> None:
    WeightHistograms(tmp_path, {}).log_accuracy_matrix(0, R)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"^hidden weights: .*x.npz cannot be read"):
        read_histograms(tmp_path / "x.npz")
