"""The matrix against counting by hand; what is kept, merged, cleared, saved and drawn."""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metaplast.metrics import AccuracyMatrix

T = 3
Batch = tuple[list[int], list[int], int, int]
BATCHES = st.lists(
    st.integers(0, 5).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 2), min_size=n, max_size=n),
            st.lists(st.integers(0, 2), min_size=n, max_size=n),
            st.integers(-1, T - 1),
            st.integers(0, T - 1),
        )
    ),
    max_size=12,
)


def matrix_of(batches: list[Batch]) -> AccuracyMatrix:
    matrix = AccuracyMatrix(T)
    for predictions, target, after_task, on_task in batches:
        matrix.update(torch.tensor(predictions, dtype=torch.int64), torch.tensor(target), after_task, on_task)
    return matrix


def measured() -> AccuracyMatrix:
    """A matrix of two tasks, tested before and after each: baseline 10 and 20 %, R = 90, 30 / 70, 80 %."""
    matrix = AccuracyMatrix(2)
    for after_task, row in enumerate([(1, 2), (9, 3), (7, 8)], start=-1):
        for on_task, correct in enumerate(row):
            matrix.count(correct, 10, after_task, on_task)
    return matrix


def same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)


@settings(deadline=None)
@given(BATCHES)
def test_each_cell_is_right_answers_over_samples_and_nan_without_samples(batches: list[Batch]) -> None:
    right, total = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for predictions, target, after_task, on_task in batches:
        right[after_task, on_task] += sum(p == t for p, t in zip(predictions, target, strict=True))
        total[after_task, on_task] += len(target)
    expected = [[right[i, j] / total[i, j] if total[i, j] else torch.nan for j in range(T)] for i in range(-1, T)]
    matrix = matrix_of(batches)
    R = matrix.compute()
    assert R.dtype == torch.float64
    assert same(torch.cat([matrix.baseline()[None], R]), torch.tensor(expected, dtype=torch.float64))


@settings(deadline=None)
@given(BATCHES, st.integers(0, 12))
def test_two_matrices_merged_are_the_matrix_of_all_batches(batches: list[Batch], cut: int) -> None:
    merged = matrix_of(batches[:cut])
    merged.merge_state(matrix_of(batches[cut:]))
    assert same(merged.compute(), matrix_of(batches).compute())
    assert same(merged.baseline(), matrix_of(batches).baseline())


def test_logits_count_as_the_class_of_the_largest() -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    target = torch.arange(50) % 4
    from_logits, from_classes = AccuracyMatrix(1), AccuracyMatrix(1)
    from_logits.update(logits, target, after_task=0, on_task=0)
    from_classes.update(logits.argmax(1), target, after_task=0, on_task=0)
    assert same(from_logits.compute(), from_classes.compute())


def test_the_matrix_of_one_task_is_a_matrix() -> None:
    matrix = AccuracyMatrix(1)
    matrix.count(1, 2, after_task=0, on_task=0)
    assert matrix.compute().tolist() == [[0.5]]


def test_an_empty_matrix_is_all_nan_and_no_reason_for_a_warning() -> None:
    matrix = AccuracyMatrix(2)
    assert matrix.compute().isnan().all()
    assert matrix.baseline().isnan().all()


def test_a_cleared_row_is_measured_anew_and_no_other_changes() -> None:
    matrix = measured()
    matrix.clear(after_task=0)
    matrix.count(5, 10, after_task=0, on_task=1)
    assert same(matrix.compute(), torch.tensor([[torch.nan, 0.5], [0.7, 0.8]], dtype=torch.float64))
    assert matrix.baseline().tolist() == [0.1, 0.2]
    matrix.clear(after_task=-1)
    assert matrix.baseline().isnan().all()


def test_forward_answers_for_the_batch_and_adds_it() -> None:
    matrix = measured()
    batch = matrix(torch.tensor([1, 0]), torch.tensor([1, 1]), after_task=1, on_task=1)
    assert same(batch, torch.tensor([[torch.nan, torch.nan], [torch.nan, 0.5]], dtype=torch.float64))
    assert matrix.compute()[1, 1] == 9 / 12


@pytest.mark.parametrize("restore", [deepcopy, AccuracyMatrix.clone])
def test_a_copy_counts_on_by_itself(restore: Callable[[AccuracyMatrix], AccuracyMatrix]) -> None:
    matrix = measured()
    copy = restore(matrix)
    copy.count(0, 10, after_task=1, on_task=0)
    assert copy.compute()[1, 0] == 0.35
    assert matrix.compute()[1, 0] == 0.7


def test_a_loaded_state_counts_on_and_leaves_the_saved_one_alone() -> None:
    saved = measured().state_dict()
    loaded = AccuracyMatrix(2)
    loaded.load_state_dict(saved)
    assert same(loaded.compute(), measured().compute())
    loaded.count(0, 10, after_task=1, on_task=0)
    loaded.clear(after_task=0)
    assert loaded.compute()[1, 0] == 0.35
    assert saved["correct"].tolist() == [[1, 2], [9, 3], [7, 8]]


def test_counting_goes_on_after_inference_mode() -> None:
    matrix = AccuracyMatrix(1)
    with torch.inference_mode():
        matrix.count(1, 2, after_task=0, on_task=0)
    matrix.count(1, 2, after_task=0, on_task=0)
    matrix.clear(after_task=-1)
    assert matrix.compute().tolist() == [[0.5]]


def test_counts_are_summed_over_processes_for_the_answer_alone() -> None:
    def gather(counts: Tensor, group: object) -> list[Tensor]:
        return [counts, torch.ones_like(counts)]  # the other process had one sample a cell, and was right

    matrix = AccuracyMatrix(1, dist_sync_fn=gather, distributed_available_fn=lambda: True)
    matrix.count(2, 3, after_task=0, on_task=0)
    assert matrix.compute().tolist() == [[3 / 4]]
    assert matrix.baseline().tolist() == [1.0]
    assert matrix.total.tolist() == [[0], [3]]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m: AccuracyMatrix(0), "n_tasks: expected 1 or more, got 0"),
        (lambda m: m.count(1, 2, after_task=-2, on_task=0), "after_task: expected a task from -1 to 1, got -2"),
        (lambda m: m.count(1, 2, after_task=2, on_task=0), "after_task: expected a task from -1 to 1, got 2"),
        (lambda m: m.count(1, 2, after_task=0, on_task=-1), "on_task: expected a task from 0 to 1, got -1"),
        (lambda m: m.count(1, 2, after_task=0, on_task=2), "on_task: expected a task from 0 to 1, got 2"),
        (
            lambda m: m.count(3, 2, after_task=0, on_task=0),
            "correct, total: expected 0 <= correct <= total, got 3 of 2",
        ),
        (lambda m: m.clear(after_task=2), "after_task: expected a task from -1 to 1, got 2"),
        (lambda m: m.update(torch.zeros(2, 3), torch.zeros(3), 0, 0), r"of shape \(2, 3\) for \(3,\)"),
        (lambda m: m.update(torch.zeros(3), torch.zeros(3), 0, 0), r"torch.float32 of shape \(3,\) for \(3,\)"),
        (lambda m: m.update(torch.zeros(2, 3), torch.zeros(2, 1), 0, 0), r"of shape \(2, 3\) for \(2, 1\)"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_is_counted(act: Callable[[AccuracyMatrix], None], message: str) -> None:
    matrix = AccuracyMatrix(2)
    with pytest.raises(ValueError, match=message):
        act(matrix)
    assert matrix.total.sum() == 0


def test_plot_draws_the_computed_matrix_or_a_given_one_on_new_or_given_axes() -> None:
    figure, ax = measured().plot()
    assert ax.figure is figure
    assert [text.get_text() for text in ax.texts] == ["90.0", "30.0", "70.0", "80.0"]
    ax.clear()
    again, same_ax = measured().plot(torch.tensor([[0.5]]), ax)
    assert (again, same_ax) == (figure, ax)
    assert [text.get_text() for text in ax.texts] == ["50.0"]
    plt.close()


def test_a_stream_counts_its_one_test_after_each_part() -> None:
    matrix = AccuracyMatrix(3, n_tested=1)
    for trained, correct in enumerate([1, 5, 7, 9], start=-1):
        matrix.count(correct, 10, trained, 0)
    assert same(matrix.compute(), torch.tensor([[0.5], [0.7], [0.9]], dtype=torch.float64))
    assert same(matrix.baseline(), torch.tensor([0.1], dtype=torch.float64))
    with pytest.raises(ValueError, match="on_task: expected a task from 0 to 0, got 1"):
        matrix.count(1, 1, 0, 1)
    with pytest.raises(ValueError, match="n_tested: expected 1 or more, got 0"):
        AccuracyMatrix(3, n_tested=0)
