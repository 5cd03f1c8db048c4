"""The figure's head, and the file it is written to."""

from pathlib import Path
from typing import Any

import pytest
import torch

from metaplast.report.figures.matrix import make_matrix_figure, write_matrix_figure

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


def test_the_file_is_a_picture(tmp_path: Path, summary: dict[str, Any]) -> None:
    write_matrix_figure(tmp_path / "accuracy_matrix.png", R, summary)
    assert (tmp_path / "accuracy_matrix.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 1
