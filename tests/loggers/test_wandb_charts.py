"""The accuracy matrix and hidden weights arrive in W&B's pictures, tables and histograms with the values they have."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaplast.loggers.wandb_charts import matrix_chart, matrix_image, matrix_table, weights_histogram
from metaplast.metrics.hidden_weights import BINS

NAN = math.nan
R = torch.tensor([[0.9, NAN, 0.1], [NAN, NAN, NAN], [0.5, 0.75, 1.0]], dtype=torch.float64)


def test_the_table_has_a_row_after_each_task_and_nothing_where_nothing_was_measured() -> None:
    table = matrix_table(R)
    assert table.columns == ["after task", "task_0", "task_1", "task_2"]
    assert table.data == [[0, 0.9, None, 0.1], [1, None, None, None], [2, 0.5, 0.75, 1.0]]


def test_the_chart_has_a_cell_in_percent_for_each_that_was_measured() -> None:
    chart = matrix_chart(R)
    assert chart.table.data == [
        ["after task 0", "task 0", 90.0],
        ["after task 0", "task 2", 10.0],
        ["after task 2", "task 0", 50.0],
        ["after task 2", "task 1", 75.0],
        ["after task 2", "task 2", 100.0],
    ]
    assert chart.spec.spec_name == "wandb/confusion_matrix/v1"
    assert set(chart.spec.fields.values()) == set(chart.table.columns)


def test_the_picture_of_a_better_matrix_is_lighter() -> None:
    dark, light = (matrix_image(torch.full((2, 2), accuracy)).image for accuracy in (0.1, 0.9))
    assert dark is not None
    assert light is not None
    assert np.asarray(dark.convert("L")).mean() + 10 < np.asarray(light.convert("L")).mean()


@given(st.lists(st.floats(width=32, min_value=-100, max_value=100), max_size=200), st.integers(0, 5))
def test_a_histogram_counts_every_finite_weight_once_within_its_edges(values: list[float], broken: int) -> None:
    weights = torch.tensor(values + [math.nan, math.inf, -math.inf][:broken])
    histogram = weights_histogram(weights)
    counts, edges = np.array(histogram.histogram), np.array(histogram.bins)
    assert (len(counts), len(edges)) == (BINS, BINS + 1)
    assert counts.sum() == len(values)
    assert (np.diff(edges) >= 0).all()
    if values:
        assert edges[0] <= np.float32(min(values)) + 1e-4 * abs(min(values))
        assert edges[-1] >= np.float32(max(values)) - 1e-4 * abs(max(values))


def test_a_histogram_agrees_with_numpys() -> None:
    weights = torch.randn(60, 50, generator=torch.Generator().manual_seed(0))
    counts, edges = np.histogram(weights.numpy(), BINS)
    histogram = weights_histogram(weights.requires_grad_())
    # A weight on an edge may fall to either side: both divide in float32, in their own order.
    assert np.abs(np.cumsum(histogram.histogram) - np.cumsum(counts)).max() <= 2
    np.testing.assert_allclose(histogram.bins, edges, rtol=1e-5, atol=1e-5)
