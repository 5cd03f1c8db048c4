"""The four figures against the same formulas in plain loops, their laws, and what they do where a cell is missing.

Retention and plasticity part what an average accuracy mixes.
"""

import math
from itertools import product
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metaplast.metrics import average_accuracy, backward_transfer, forgetting, forward_transfer
from metaplast.metrics.continual import last_plasticity, plasticity, retention

SUMMARY_METRICS = ("average_accuracy", "forgetting", "backward_transfer", "forward_transfer")


def figures(R: Tensor, baseline: Tensor) -> dict[str, float]:
    values = (average_accuracy(R), forgetting(R), backward_transfer(R), forward_transfer(R, baseline))
    return dict(zip(SUMMARY_METRICS, values, strict=True))


def figures_by_loops(R: list[list[float]], b: list[float]) -> dict[str, float]:
    last = len(R) - 1
    result = {
        "average_accuracy": sum(R[last]) / (last + 1),
        "forgetting": sum(max(R[i][j] for i in range(j, last)) - R[last][j] for j in range(last)),
        "backward_transfer": sum(R[last][j] - R[j][j] for j in range(last)),
        "forward_transfer": sum(R[j - 1][j] - b[j] for j in range(1, last + 1)),
    }
    return {name: value if name == "average_accuracy" else value / last for name, value in result.items()}


@st.composite
def matrices(draw: st.DrawFn, smallest: int = 2) -> Tensor:
    n_tasks = draw(st.integers(smallest, 6))
    cells = st.lists(st.floats(0, 1), min_size=n_tasks, max_size=n_tasks)
    return torch.tensor(draw(st.lists(cells, min_size=n_tasks, max_size=n_tasks)), dtype=torch.float64)


@settings(deadline=None)
@given(matrices(), st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_figures_are_those_of_plain_loops(R: Tensor, numbers: list[float]) -> None:
    baseline = torch.tensor(numbers[: len(R)], dtype=torch.float64)
    assert figures(R, baseline) == pytest.approx(figures_by_loops(R.tolist(), baseline.tolist()), abs=1e-12)


@settings(deadline=None)
@given(matrices())
def test_forgetting_is_at_least_the_backward_transfer_lost(R: Tensor) -> None:
    assert forgetting(R) >= -backward_transfer(R) - 1e-12


@settings(deadline=None)
@given(matrices())
def test_backward_transfer_is_not_positive_where_no_task_ends_above_its_first_accuracy(R: Tensor) -> None:
    R[-1] = torch.minimum(R[-1], R.diagonal())
    assert backward_transfer(R) <= 0


@settings(deadline=None)
@given(matrices())
def test_nothing_is_forgotten_where_every_task_ends_at_its_best(R: Tensor) -> None:
    R[-1] = R.amax(0)
    assert forgetting(R) <= 0


@settings(deadline=None)
@given(matrices(smallest=1), st.randoms(use_true_random=False))
def test_average_accuracy_does_not_depend_on_the_order_of_tasks(R: Tensor, random: Random) -> None:
    order = random.sample(range(len(R)), len(R))
    assert average_accuracy(R[:, order]) == pytest.approx(average_accuracy(R), abs=1e-12)


def test_a_figure_is_nan_exactly_where_a_cell_it_needs_is() -> None:
    n = 4
    needed = {
        "average_accuracy": {(3, j) for j in range(n)},
        "forgetting": {(i, j) for i, j in product(range(n), range(n - 1)) if i >= j},
        "backward_transfer": {(j, j) for j in range(n - 1)} | {(3, j) for j in range(n - 1)},
        "forward_transfer": {(0, 1), (1, 2), (2, 3)},
    }
    whole = torch.linspace(0, 1, n * n, dtype=torch.float64).reshape(n, n)
    baseline = torch.tensor([math.nan, 0.1, 0.1, 0.1], dtype=torch.float64)  # b_0 is never used
    for cell in product(range(n), range(n)):
        R = whole.clone()
        R[cell] = math.nan
        for name, value in figures(R, baseline).items():
            assert math.isnan(value) == (cell in needed[name]), (name, cell)


def test_joint_training_which_tests_only_at_the_end_has_an_average_accuracy_and_nothing_else() -> None:
    R = torch.full((3, 3), math.nan)
    R[-1] = torch.tensor([0.75, 0.5, 0.25])
    result = figures(R, torch.full((3,), 0.1))
    assert result.pop("average_accuracy") == 0.5
    assert all(math.isnan(value) for value in result.values())


def test_a_missing_baseline_makes_forward_transfer_nan() -> None:
    assert math.isnan(forward_transfer(torch.eye(3), torch.tensor([0.1, 0.1, math.nan])))


def test_one_task_has_an_average_accuracy_and_nothing_else() -> None:
    result = figures(torch.tensor([[0.5]]), torch.tensor([0.1]))
    assert result.pop("average_accuracy") == 0.5
    assert all(math.isnan(value) for value in result.values())


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_a_stream_has_an_average_accuracy_that_of_its_one_test_at_the_end_and_nothing_else(column: list[float]) -> None:
    result = figures(torch.tensor(column, dtype=torch.float64)[:, None], torch.tensor([0.1]))
    assert result.pop("average_accuracy") == column[-1]
    assert all(math.isnan(value) for value in result.values())


@pytest.mark.parametrize("shape", [(2, 3), (4,), (0, 0), (0, 1), (2, 2, 2)])
def test_what_is_no_square_matrix_and_no_column_is_refused(shape: tuple[int, ...]) -> None:
    for figure in (average_accuracy, forgetting, backward_transfer):
        with pytest.raises(ValueError, match=r"R: expected a square matrix of at least one task, or one column, got"):
            figure(torch.zeros(shape))


def test_a_baseline_of_another_number_of_tasks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"baseline: expected shape \(3,\), as many as R has columns, got \(2,\)"):
        forward_transfer(torch.zeros(3, 3), torch.zeros(2))
    with pytest.raises(ValueError, match=r"baseline: expected shape \(1,\), as many as R has columns, got \(3,\)"):
        forward_transfer(torch.zeros(3, 1), torch.zeros(3))


@given(fresh=st.lists(st.floats(0.01, 1), min_size=2, max_size=6), share=st.floats(0, 1))
def test_what_keeps_the_same_share_of_every_task_has_that_retention_whatever_it_learned(
    fresh: list[float], share: float
) -> None:
    R = torch.diag(torch.tensor(fresh, dtype=torch.float64))
    R[-1, :-1] = share * R.diagonal()[:-1]
    assert retention(R) == pytest.approx(share)
    assert plasticity(R) == pytest.approx(sum(fresh) / len(fresh))
    assert last_plasticity(R) == fresh[-1]


def test_nothing_lost_is_a_retention_of_one() -> None:
    R = torch.tensor([[0.9, 0.1], [0.9, 0.7]])
    assert retention(R) == 1
    assert backward_transfer(R) == 0
    assert average_accuracy(R) == pytest.approx(plasticity(R))


def test_what_was_not_measured_is_nan() -> None:
    R = torch.tensor([[math.nan, 0.1], [0.5, 0.7]])
    assert math.isnan(retention(R))
    assert math.isnan(plasticity(R))
    assert math.isnan(retention(torch.tensor([[0.9]])))
