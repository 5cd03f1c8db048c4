"""The curves that are drawn, their average, and labels that can be read at any number of tasks.

The figure's head, and the file it is written to.
"""

import math
import time
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from torch import Tensor

from metaplast.report.figures.curves import (
    MARKED_TASKS,
    MAX_CURVES,
    MAX_POINTS,
    evenly_spaced,
    make_curves_figure,
    make_matrix_figure,
    mean_of_seen,
    spread,
    write_curves_figure,
    write_matrix_figure,
)

VALUES = st.lists(st.floats(0, 100), min_size=1, max_size=21)
NAN = math.nan


def drawn(ax: Axes) -> list[list[float]]:
    """The heights of every drawn line over the moments, but for the upright ones."""
    return [np.asarray(line.get_ydata()).tolist() for line in ax.lines if len(set(moments_of(line))) > 1]


def moments_of(line: Line2D) -> list[float]:
    moments: list[float] = np.asarray(line.get_xdata()).tolist()
    return moments


def ends(ax: Axes) -> list[Annotation]:
    return [text for text in ax.texts if isinstance(text, Annotation)]


@settings(deadline=None)
@given(VALUES)
def test_labels_are_spread_apart_inside_the_axes_in_the_order_of_their_values(values: list[float]) -> None:
    placed = spread(values, gap=4.5, low=1, high=99)
    assert all(1 - 1e-9 <= place <= 99 + 1e-9 for place in placed)
    assert all(b - a >= 4.5 - 1e-9 for a, b in pairwise(sorted(placed)))
    assert all(placed[i] < placed[j] for i, j in combinations(range(len(values)), 2) if values[i] < values[j])


@settings(deadline=None)
@given(VALUES)
def test_labels_that_are_far_enough_apart_stay(values: list[float]) -> None:
    placed = spread(values, gap=4.5, low=1, high=99)
    assert spread(placed, gap=4.5 - 1e-9, low=1, high=99) == pytest.approx(placed)


def test_the_average_is_that_of_the_tasks_seen_and_unknown_where_one_was_not_tested() -> None:
    accuracies = torch.tensor([[10.0, NAN], [90.0, NAN], [70.0, 90.0], [60.0, NAN]])
    seen = torch.tensor([[False, False], [True, False], [True, True], [True, True]])
    assert mean_of_seen(accuracies, seen).nan_to_num(-1).tolist() == [-1, 90, 80, -1]


def test_a_task_is_faint_before_its_training_and_bold_after_and_the_average_follows_it(summary: dict[str, Any]) -> None:
    accuracies = torch.tensor([[0.1, 0.1], [0.9, 0.2], [0.6, 0.8]], dtype=torch.float64)
    figure = make_curves_figure([0, 1, 2], accuracies, [1, 2], summary)
    before_0, task_0, before_1, task_1, average = drawn(figure.axes[0])
    assert before_0 == pytest.approx([10, NAN, NAN], nan_ok=True)
    assert task_0 == pytest.approx([NAN, 90, 60], nan_ok=True)
    assert before_1 == pytest.approx([10, 20, NAN], nan_ok=True)
    assert task_1 == pytest.approx([NAN, NAN, 80], nan_ok=True)
    assert average == pytest.approx([NAN, 90, 70], nan_ok=True)


def test_an_upright_line_stands_at_each_task_end_below_the_name_of_the_task(summary: dict[str, Any]) -> None:
    ax = make_curves_figure([0, 2, 5], torch.zeros(3, 2), [2, 5], summary).axes[0]
    assert [moments_of(line)[0] for line in ax.lines if len(set(moments_of(line))) == 1] == [2, 5]
    names = [text for text in ax.texts if not isinstance(text, Annotation)]
    assert [(text.get_text(), text.get_position()[0]) for text in names] == [("task 0", 1.0), ("task 1", 3.5)]


def test_where_all_tasks_are_trained_at_once_each_is_seen_from_the_start_and_no_end_is_marked(
    summary: dict[str, Any],
) -> None:
    accuracies = torch.tensor([[0.1, 0.1], [0.9, 0.5]], dtype=torch.float64)
    ax = make_curves_figure([0, 1], accuracies, [], summary).axes[0]
    assert drawn(ax)[-1] == pytest.approx([NAN, 70], nan_ok=True)
    assert len(drawn(ax)) == len(ax.lines)


def test_the_label_beside_a_curve_tells_its_last_measured_value(summary: dict[str, Any]) -> None:
    accuracies = torch.tensor([[0.9, 0.1], [0.7, 0.8], [NAN, 0.6]], dtype=torch.float64)
    ax = make_curves_figure([1, 2, 3], accuracies, [1, 3], summary).axes[0]
    assert [label.get_text() for label in ends(ax)] == ["task 0  70.0", "task 1  60.0", "average  75.0"]


@pytest.mark.parametrize("n_tasks", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("final", [0.05, 0.5, 0.97])
def test_no_two_labels_meet_and_all_lie_inside_the_figure(summary: dict[str, Any], n_tasks: int, final: float) -> None:
    figure = make_curves_figure(range(n_tasks + 1), torch.full((n_tasks + 1, n_tasks), final), _ends(n_tasks), summary)
    figure.draw_without_rendering()
    texts = [*figure.texts, *figure.axes[0].texts]
    boxes = [Text.get_window_extent(text) for text in texts]  # of the letters, without the line to the curve
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)


def _ends(n_tasks: int) -> list[float]:
    return [float(end) for end in range(1, n_tasks + 1)]


@pytest.mark.parametrize(
    ("epochs", "task_ends", "got"), [([0.0], [1, 2], "got 1 and 2"), ([0.0, 1.0], [1], "got 2 and 1")]
)
def test_numbers_that_do_not_fit_are_refused(
    summary: dict[str, Any], epochs: list[float], task_ends: list[float], got: str
) -> None:
    accuracies: Tensor = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=rf"expected 2 and 2 \(or 0\) for accuracies of shape \(2, 2\), {got}"):
        make_curves_figure(epochs, accuracies, task_ends, summary)


def test_the_file_is_a_picture(tmp_path: Path, summary: dict[str, Any]) -> None:
    write_curves_figure(tmp_path / "accuracy_curves.png", [0, 1], torch.zeros(2, 2), [1, 2], summary)
    assert (tmp_path / "accuracy_curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("n_parts", [2, 10, 60])
def test_a_stream_has_one_curve_seen_from_the_start_and_parts_whose_names_find_room(
    summary: dict[str, Any], n_parts: int
) -> None:
    accuracies = torch.linspace(0.1, 0.9, n_parts)[:, None]
    figure = make_curves_figure(_ends(n_parts), accuracies, _ends(n_parts), summary)
    ax = figure.axes[0]
    faint, bold, average = drawn(ax)
    assert all(math.isnan(value) for value in faint)
    assert bold == average == pytest.approx([100 * value for value in accuracies.flatten().tolist()])
    assert [label.get_text() for label in ends(ax)] == ["test  90.0"]
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in ax.texts]
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]


@pytest.mark.parametrize(("n", "most"), [(1, 20), (20, 20), (21, 20), (1000, 20), (301, 300), (0, 5)])
def test_a_choice_is_even_and_keeps_both_ends(n: int, most: int) -> None:
    chosen = evenly_spaced(n, most)
    assert len(chosen) == len(set(chosen)) == min(n, most)
    assert chosen[:1] + chosen[-1:] == ([0, n - 1] if n else [])


def forgotten(n_tasks: int) -> Tensor:
    """R of a stream in which each task fades over thirty others, as noisy as tests of 360 images are."""
    task = torch.arange(n_tasks)
    age = (task[:, None] - task).double()
    fading = torch.where(age < 0, 0.1, 0.1 + 0.85 * torch.exp(-age.clamp(min=0) / 30))
    noise = torch.randn(n_tasks, n_tasks, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (fading + 0.02 * noise).clamp(0, 1)


@pytest.mark.parametrize("n_tasks", [200, 1000])
def test_of_a_long_stream_some_tasks_are_drawn_and_the_average_of_all(
    tmp_path: Path, summary: dict[str, Any], n_tasks: int
) -> None:
    accuracies = forgotten(n_tasks)
    start = time.process_time()
    write_curves_figure(tmp_path / "curves.png", _ends(n_tasks), accuracies, _ends(n_tasks), summary)
    assert time.process_time() - start < 5
    assert (tmp_path / "curves.png").stat().st_size < 300_000
    ax = make_curves_figure(_ends(n_tasks), accuracies, _ends(n_tasks), summary).axes[0]
    assert len(ax.lines) <= 2 * MAX_CURVES + 1 + MARKED_TASKS
    assert max(len(np.asarray(line.get_xdata())) for line in ax.lines) <= MAX_POINTS
    names = [label.get_text().split("  ")[0] for label in ends(ax)]
    assert (names[0], names[-2:]) == ("task 0", [f"task {n_tasks - 1}", "average"])
    assert float(ends(ax)[-1].get_text().split()[-1]) == pytest.approx(100 * accuracies[-1].mean().item(), abs=0.06)


def test_a_task_that_was_measured_now_and_then_is_one_line_in_a_long_stream(summary: dict[str, Any]) -> None:
    accuracies = torch.full((100, 2), NAN, dtype=torch.float64)
    accuracies[9::10, 0], accuracies[59, 1] = 0.5, 0.7
    ax = make_curves_figure(_ends(100), accuracies, [50, 100], summary).axes[0]
    assert moments_of(ax.lines[1]) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]


R = torch.tensor([[0.9, torch.nan], [0.8, 0.95]], dtype=torch.float64)


def test_the_head_names_the_run_and_its_four_figures(summary: dict[str, Any]) -> None:
    name, figures = (text.get_text() for text in make_matrix_figure(R, summary).texts)
    assert name == "meta · m = 1.3 · pmnist · bnn · seed 0"
    expected = "average accuracy 87.5 % forgetting 10.0 backward transfer −10.0 forward transfer –"
    assert " ".join(figures.split()) == expected


@pytest.mark.parametrize("n_tasks", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("m", [None, [1.35] * 8])
def test_the_head_lies_inside_the_figure_and_above_the_matrix(summary: dict[str, Any], n_tasks: int, m: Any) -> None:
    figure = make_matrix_figure(torch.ones(n_tasks, n_tasks), summary | {"m": m})
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts]
    assert max(box.x1 for box in boxes) <= figure.bbox.x1
    assert boxes[0].y1 <= figure.bbox.y1
    assert boxes[1].y1 <= boxes[0].y0
    assert figure.axes[0].get_window_extent().y1 < boxes[1].y0


def test_the_file_of_a_matrix_is_a_picture(tmp_path: Path, summary: dict[str, Any]) -> None:
    write_matrix_figure(tmp_path / "accuracy_matrix.png", R, summary)
    assert (tmp_path / "accuracy_matrix.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1
