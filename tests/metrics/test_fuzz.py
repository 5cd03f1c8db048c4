"""Metrics given matrices, counts and weights of any shape, type and stride: a documented error, or plain loops.

`METAPLAST_FUZZ=10000` draws that many cases a test.
"""

import math
import os
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from metaplast.metrics import (
    AccuracyMatrix,
    SignFlips,
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    paired_difference,
    positive_signs,
)
from metaplast.metrics.continual import plasticity, retention
from metaplast.metrics.hidden_weights import weight_histogram

fuzz = settings(
    deadline=None,
    max_examples=int(os.environ.get("METAPLAST_FUZZ", "25")),
    suppress_health_check=[HealthCheck.too_slow],
)
Rows = list[list[float]]
FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
ANY = [*FLOATS, torch.int64, torch.int32, torch.uint8, torch.bool]


def through_strides(draw: st.DrawFn, x: Tensor) -> Tensor:
    """`x`, contiguous or seen through other strides."""
    view = draw(st.sampled_from(["as is", "column major", "every other"]))
    if not x.dim() or view == "as is":
        return x
    if view == "column major":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    return torch.stack([x, x], dim=-1)[..., 0]


@st.composite
def tensors(draw: st.DrawFn, dtypes: list[torch.dtype], max_dims: int = 3, special: bool = False) -> Tensor:
    """A tensor of small numbers; `special`: among them NaN and infinity."""
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 6]), max_size=max_dims))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from(dtypes))
    x = torch.randint(0 if dtype == torch.uint8 else -4, 5, shape, generator=generator).to(dtype)
    if special and dtype.is_floating_point and x.numel() and draw(st.booleans()):
        x.view(-1)[0] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    return through_strides(draw, x)


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    """An accuracy matrix, (T, T) or (T, 1), some cells not measured, or something that is none."""
    T = draw(st.integers(0, 5))
    shape = draw(st.sampled_from([(T, T), (T, T), (T, T), (T, 1), (T, 3), (T,), (T, T, T)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    R = torch.randint(0, 9, shape, generator=generator).double() / 8
    if draw(st.booleans()):
        R[torch.rand(shape, generator=generator) < 0.2] = math.nan
    return through_strides(draw, R.to(draw(st.sampled_from(FLOATS))))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def by_loops(R: Rows, baseline: list[float]) -> dict[str, float]:
    """Each metric by its definition."""
    T, square = len(R), len(R[0]) == len(R)
    earlier = range(T - 1) if square else range(0)
    best = [[R[i][j] for i in range(j, T - 1)] for j in earlier]
    worst_nan = [math.nan if any(map(math.isnan, column)) else max(column) for column in best]
    return {
        "average_accuracy": mean(R[-1]),
        "forgetting": mean([worst_nan[j] - R[-1][j] for j in earlier]),
        "backward_transfer": mean([R[-1][j] - R[j][j] for j in earlier]),
        "forward_transfer": mean([R[j][j + 1] - baseline[j + 1] for j in earlier]),
    }


@fuzz
@given(R=matrices(), n_baseline=st.sampled_from(["right", "right", "longer"]))
def test_a_metric_of_a_matrix_is_its_definition_or_refuses(R: Tensor, n_baseline: str) -> None:
    fits = R.dim() == 2 and len(R) > 0 and R.shape[1] in (1, len(R))
    columns = R.shape[-1] if R.dim() else 1
    b = torch.arange(columns + (n_baseline == "longer")).double() / 8
    metrics: dict[str, Callable[[], float]] = {
        "average_accuracy": lambda: average_accuracy(R),
        "forgetting": lambda: forgetting(R),
        "backward_transfer": lambda: backward_transfer(R),
        "forward_transfer": lambda: forward_transfer(R, b),
    }
    expected = by_loops(R.double().tolist(), b.tolist()) if fits else {}
    for name, metric in metrics.items():
        if not fits or (name == "forward_transfer" and n_baseline == "longer"):
            with pytest.raises(ValueError, match=r"^(R|baseline): expected"):
                metric()
        else:
            assert metric() == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name


@fuzz
@given(R=matrices())
def test_retention_and_plasticity_are_their_definitions(R: Tensor) -> None:
    if R.dim() != 2 or len(R) == 0 or R.shape[0] != R.shape[1]:
        return
    rows = R.double().tolist()
    T = len(rows)
    kept = [rows[-1][j] / rows[j][j] if rows[j][j] else rows[-1][j] * math.inf for j in range(T - 1)]
    assert retention(R) == pytest.approx(mean(kept), nan_ok=True)
    assert plasticity(R) == pytest.approx(mean([rows[j][j] for j in range(T)]), nan_ok=True)


@fuzz
@given(
    predictions=tensors(ANY),
    target=tensors([torch.int64, torch.int64, torch.int32, torch.float32], max_dims=2),
    alike=st.booleans(),
    after_task=st.integers(-3, 4),
    on_task=st.integers(-2, 4),
)
def test_answers_are_counted_one_by_one_or_refused(
    predictions: Tensor, target: Tensor, alike: bool, after_task: int, on_task: int
) -> None:
    if alike and predictions.dim():
        target = torch.arange(len(predictions)) % 3
    matrix = AccuracyMatrix(n_tasks=3)
    try:
        matrix.update(predictions, target, after_task=after_task, on_task=on_task)
    except ValueError as error:
        assert ": expected " in str(error)  # noqa: PT017
        assert int(matrix.total.sum()) == 0
        return
    rows, right = predictions.tolist(), 0
    for row, y in zip(rows, target.tolist(), strict=True):
        right += y == (max(range(len(row)), key=row.__getitem__) if isinstance(row, list) else row)
    R = matrix.compute()
    if len(rows):
        measured = matrix.baseline()[on_task] if after_task == -1 else R[after_task, on_task]
        assert float(measured) == pytest.approx(right / len(rows))
    assert int(matrix.total.sum()) == len(rows)
    assert int(R.isfinite().sum()) == (after_task >= 0 and len(rows) > 0)


@fuzz
@given(
    pairs=st.dictionaries(st.integers(0, 4), st.floats(-100, 100)),
    other=st.dictionaries(st.integers(0, 4), st.floats(-100, 100)),
)
def test_a_paired_difference_is_that_of_the_common_keys(pairs: dict[int, float], other: dict[int, float]) -> None:
    difference = paired_difference(pairs, other)
    values = [pairs[key] - other[key] for key in pairs if key in other]
    assert difference.values == tuple(values)
    assert difference.mean == pytest.approx(mean(values), nan_ok=True)
    low, high = difference.interval()
    if len(values) < 2:
        assert (low, high) == (-math.inf, math.inf)
    else:
        t = {2: 12.7062, 3: 4.30265, 4: 3.18245, 5: 2.77645}[len(values)]  # of a table, 97.5 %
        spread = math.sqrt(sum((value - mean(values)) ** 2 for value in values) / (len(values) - 1))
        assert high - low == pytest.approx(2 * t * spread / math.sqrt(len(values)), rel=1e-4, abs=1e-9)
    assert difference.exceeds() in (True, False, None)
    assert str(difference)


@fuzz
@given(weights=st.lists(tensors(FLOATS, special=True), max_size=3), seed=st.integers(0, 2**31))
def test_signs_that_flip_are_counted_one_by_one(weights: list[Tensor], seed: int) -> None:
    named = {f"layer{i}": weight.contiguous() for i, weight in enumerate(weights)}
    before = {name: [value >= 0 for value in weight.flatten().tolist()] for name, weight in named.items()}
    flips = SignFlips(named)
    assert {name: positive_signs(weight).flatten().tolist() for name, weight in named.items()} == before
    generator = torch.Generator().manual_seed(seed)
    for weight in named.values():
        weight.copy_(torch.randint(-1, 2, weight.shape, generator=generator))
    for name, fraction in flips.update().items():
        changed = [(value >= 0) != old for value, old in zip(named[name].flatten().tolist(), before[name], strict=True)]
        assert fraction == pytest.approx(mean([float(c) for c in changed]), nan_ok=True)


@fuzz
@given(weights=tensors(FLOATS, special=True), bins=st.integers(1, 9))
def test_a_histogram_counts_every_finite_weight_once(weights: Tensor, bins: int) -> None:
    histogram = weight_histogram(weights, bins)
    finite = [value for value in weights.flatten().tolist() if math.isfinite(value)]
    assert float(histogram.counts.sum()) == len(finite)
    edges = histogram.edges.tolist()
    assert len(edges) == bins + 1
    assert edges == sorted(edges)
    assert not finite or edges[0] <= min(finite) <= max(finite) <= edges[-1]
