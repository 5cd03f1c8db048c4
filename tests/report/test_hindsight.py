"""The picture and the table of a choice of m."""

import csv
from pathlib import Path

from metaplast.report.hindsight import Tried, gap, write_hindsight_csv, write_hindsight_figure

TRIED = [
    Tried("seed=0", [0.0, 1.0], 0.7, 0.5, False),
    Tried("seed=0", [1.0, 1.0], 0.9, 0.75, True),
    Tried("seed=1", [0.0, 1.0], 0.9, 0.8, True),
    Tried("seed=1", [1.0, 1.0], 0.8, 0.8, False),
]


def test_the_best_choice_costs_nothing() -> None:
    assert gap(TRIED[:2]) == (TRIED[1], 0)
    assert gap(TRIED[2:])[1] == 0


def test_every_one_tried_has_a_row_and_what_was_not_trained_to_the_end_has_no_figure(tmp_path: Path) -> None:
    write_hindsight_csv(tmp_path / "hindsight.csv", [*TRIED, Tried("seed=1", 3, 0.1, None, False)])
    with (tmp_path / "hindsight.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "settings": "seed=0", "m": "[1.0, 1.0]", "validation_accuracy": "0.9", "average_accuracy": "0.75",
        "chosen": "true",
    }  # fmt: skip
    assert rows[4]["average_accuracy"] == ""


def test_the_picture_is_drawn_for_lists_and_seeds(tmp_path: Path) -> None:
    write_hindsight_figure(tmp_path / "hindsight.png", TRIED, n_tasks=2)
    assert (tmp_path / "hindsight.png").read_bytes()[1:4] == b"PNG"
