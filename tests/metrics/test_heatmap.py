"""What the heat map shows of each cell, and that it can be read at any number of tasks."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from metaplast.metrics.heatmap import draw_accuracy_matrix, figure_size


def test_each_measured_cell_bears_its_percent_and_a_missing_one_nothing() -> None:
    ax = Figure().add_subplot()
    draw_accuracy_matrix(torch.tensor([[0.5, math.nan], [0.25, 1.0]]), ax)
    shown = {text.get_position(): text.get_text() for text in ax.texts}
    assert shown == {(0, 0): "50.0", (0, 1): "25.0", (1, 1): "100.0"}  # (column, row)
    assert "hatched: not measured" in ax.get_xlabel()


def test_the_colors_mean_the_same_in_every_figure() -> None:
    low, high = (draw_accuracy_matrix(torch.full((2, 2), value), Figure().add_subplot()) for value in (0.2, 0.9))
    assert low.get_clim() == high.get_clim() == (0, 100)


def test_rows_are_named_after_the_task_trained_and_columns_after_the_task_tested() -> None:
    ax = Figure().add_subplot()
    draw_accuracy_matrix(torch.zeros(2, 2), ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["after task 0", "after task 1"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["task 0", "task 1"]
    assert ax.yaxis_inverted()  # row 0 on top


def test_the_staircase_has_a_step_for_each_trained_task_but_the_last() -> None:
    ax = Figure().add_subplot()
    R = torch.zeros(4, 4)
    R[2] = math.nan
    draw_accuracy_matrix(R, ax)
    (stairs,) = (artist for artist in ax.collections if isinstance(artist, LineCollection))
    assert [segment[0].tolist() for segment in stairs.get_segments()] == [[0.5, -0.5], [1.5, 0.5]]


@pytest.mark.parametrize("n_tasks", [1, 2, 5, 10, 20])
def test_a_number_fits_its_cell(n_tasks: int) -> None:
    figure = Figure(figsize=figure_size(n_tasks), layout="constrained")
    ax = figure.add_subplot()
    figure.colorbar(draw_accuracy_matrix(torch.ones(n_tasks, n_tasks), ax), ax=ax)
    figure.draw_without_rendering()
    cell = ax.get_window_extent().width / n_tasks
    assert max(text.get_window_extent().width for text in ax.texts) < 0.95 * cell


@pytest.mark.parametrize("n_parts", [2, 10, 23, 60])
def test_the_column_of_a_stream_is_read_like_lines_of_text_and_its_numbers_fit_their_cells(n_parts: int) -> None:
    figure = Figure(figsize=figure_size(n_parts, 1), layout="constrained")
    ax = figure.add_subplot()
    R = torch.arange(n_parts)[:, None] / n_parts
    figure.colorbar(draw_accuracy_matrix(R, ax), ax=ax)
    shown = {text.get_position(): text.get_text() for text in ax.texts}
    assert shown == {(i % 10, i // 10): f"{100 * i / n_parts:.1f}" for i in range(n_parts)}
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"after part {i}" for i in range(0, n_parts, 10)]
    assert "hatched" not in ax.get_xlabel(), "there is no part that was not measured"
    figure.draw_without_rendering()
    cell = ax.get_window_extent().width / min(n_parts, 10)
    assert max(text.get_window_extent().width for text in ax.texts) < 0.95 * cell


def test_many_tasks_have_a_color_a_cell_and_no_number() -> None:
    ax = Figure().add_subplot()
    R = torch.linspace(0, 1, 31 * 31).view(31, 31)
    image = draw_accuracy_matrix(R, ax)
    assert not ax.texts
    np.testing.assert_allclose(np.asarray(image.get_array()), 100 * R.numpy(), rtol=1e-5)
    assert ax.get_xlim() == (-0.5, 30.5)
    assert ax.yaxis_inverted()


def test_of_very_many_tasks_a_cell_is_the_mean_of_those_that_were_measured() -> None:
    ax = Figure().add_subplot()
    R = torch.full((401, 401), math.nan)
    R[0, 0], R[1, 2], R[399:, 399:] = 0.2, 0.4, 1.0
    image = draw_accuracy_matrix(R, ax)
    cells: np.ndarray[Any, Any] = np.ma.filled(np.ma.asarray(image.get_array()), math.nan)
    assert cells.shape == (134, 134)  # blocks of 3
    assert (cells[0, 0], cells[133, 133]) == (pytest.approx(30), pytest.approx(100))
    assert np.isnan(cells[0, 1])
    assert "mean of 3 × 3 cells" in ax.get_xlabel()
    assert ax.get_xlim() == (-0.5, 400.5)  # tasks, not cells


@pytest.mark.parametrize("shape", [(200, 200), (1000, 1000), (1000, 1)])
def test_a_long_stream_is_drawn_in_bounded_size_and_time(tmp_path: Path, shape: tuple[int, int]) -> None:
    R = torch.rand(*shape, generator=torch.Generator().manual_seed(0))  # noise compresses worst
    start = time.process_time()
    figure = Figure(figsize=figure_size(*shape), layout="constrained")
    ax = figure.add_subplot()
    figure.colorbar(draw_accuracy_matrix(R, ax), ax=ax)
    figure.savefig(tmp_path / "R.png", dpi=150)
    assert time.process_time() - start < 5
    assert (tmp_path / "R.png").stat().st_size < 300_000
    assert max(figure.get_size_inches()) < 9
    assert len(ax.texts) == 0
